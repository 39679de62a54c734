"""The fake engine's scheduler: who may progress, who waits, and that places come back."""

from __future__ import annotations

import asyncio

from tests.fake_slots import Slots


async def hold(slots: Slots, adapter: str | None, until: asyncio.Event) -> None:
    async with slots.place(adapter):
        await until.wait()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_adapters_beyond_the_slots_wait_and_those_that_fit_pass_them() -> None:
    slots, done = Slots(max_loras=2), asyncio.Event()
    names = ("a", "b", "c", "a", None, "c")
    tasks = [asyncio.create_task(hold(slots, name, done)) for name in names]
    await settled()
    assert slots.active == {"a": 2, "b": 1} and slots.running == 4
    assert [adapter for adapter, _ in slots.waiting] == ["c", "c"]
    done.set()
    await asyncio.gather(*tasks)
    assert slots.running == 0 and not slots.active and not slots.waiting
    assert (slots.most_adapters, slots.most_running) == (2, 4)


async def test_no_more_run_than_there_are_places() -> None:
    slots, done = Slots(max_num_seqs=3), asyncio.Event()
    tasks = [asyncio.create_task(hold(slots, None, done)) for _ in range(8)]
    await settled()
    assert slots.running == 3 and len(slots.waiting) == 5
    done.set()
    await asyncio.gather(*tasks)
    assert slots.most_running == 3 and slots.running == 0


async def test_who_leaves_gives_the_place_back_also_while_waiting() -> None:
    slots, done = Slots(max_num_seqs=1), asyncio.Event()
    first, second, third = (asyncio.create_task(hold(slots, None, done)) for _ in range(3))
    await settled()
    second.cancel()
    first.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await settled()
    assert slots.running == 1 and not slots.waiting
    done.set()
    await third
    assert slots.running == 0
