"""Shadows: copies that nobody waits for, nobody sees and nothing suffers from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import openai
import pytest

from registry.exchanges import Exchange
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.test_chat import HELLO

CONCURRENT = 2


@dataclass
class Shadowed:
    """A router whose alias `triage` has a shadow for all of its traffic."""

    router: Running
    engine: FakeEngine
    live: str
    shadow: str

    def count(self, outcome: str) -> float:
        return self.router.value("switchyard_shadows_total", outcome=outcome)

    def copies(self) -> int:
        return sum(body["model"] == self.shadow for body in self.engine.asked())

    async def over(self, copies: int) -> None:
        """Wait until so many copies have come to an end, one way or another."""
        await until(
            lambda: sum(map(self.count, ("sent", "skipped", "failed"))) >= copies,
            f"{copies} copies to end",
        )

    async def rows(self) -> list[Exchange]:
        await self.router.server.app.state.recorder.flush()
        return self.router.world.registry.exchanges.since(0)


@pytest.fixture
async def shadowed(world: World, engine: FakeEngine) -> AsyncIterator[Shadowed]:
    live = next(v for v in world.registry.versions.all("acme") if v.state == "live")
    made = world.version("acme", "triage", "triage two")
    world.registry.versions.certify(made.digest, {"passed": True})
    world.registry.aliases.update("acme", "triage", shadow=made.digest, shadow_share=1.0)
    engine.adapters.add(made.served_name)
    async with running(world, shadow_concurrent=CONCURRENT) as router:
        yield Shadowed(router, engine, live.served_name, made.served_name)


async def ask(client: openai.AsyncOpenAI, text: str = "hello", **options: object) -> object:
    return await client.chat.completions.create(
        model="triage", messages=[{"role": "user", "content": text}], **options
    )  # type: ignore[call-overload]


async def test_the_clients_answer_is_the_live_versions_and_the_copy_is_recorded(
    shadowed: Shadowed,
) -> None:
    async with shadowed.router.client() as client:
        raw = await client.chat.completions.with_raw_response.create(
            model="triage", messages=HELLO, temperature=0.5
        )
    answer = raw.parse()
    assert raw.headers["x-switchyard-version"] == shadowed.live
    assert answer.choices[0].message.content == f"{shadowed.live} says: my parcel is late"
    await shadowed.over(1)
    live, copy = sorted(await shadowed.rows(), key=lambda row: row.role)
    assert (live.role, live.shadow_of, live.id) == ("live", None, answer.id)
    assert (copy.role, copy.shadow_of) == ("shadow", answer.id)
    assert copy.digest != live.digest and copy.completion_tokens > 0 and copy.status == 200
    assert copy.answer == f"{shadowed.shadow} says: my parcel is late"
    assert live.sketch is not None and copy.sketch is None, "a prompt counts once for drift"
    first, second = (request.body for request in shadowed.engine.requests if request.body)
    assert first["cache_salt"] == second["cache_salt"] and second["temperature"] == 0.5


async def test_a_copy_of_a_stream_is_not_one(shadowed: Shadowed) -> None:
    async with shadowed.router.client() as client:
        stream = await client.chat.completions.create(
            model="triage", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert text == f"{shadowed.live} says: my parcel is late"
    await shadowed.over(1)
    (copy,) = [body for body in shadowed.engine.asked() if body["model"] == shadowed.shadow]
    assert "stream_options" not in copy and not copy.get("stream")
    assert shadowed.count("sent") == 1


async def test_a_copy_that_fails_is_not_seen(shadowed: Shadowed) -> None:
    shadowed.engine.adapters.discard(shadowed.shadow)
    async with shadowed.router.client() as client:
        for _ in range(3):
            await ask(client)
            await until(lambda: not shadowed.engine.in_flight, "the copy to end")
    await shadowed.over(3)
    assert shadowed.count("failed") >= 1 and shadowed.count("sent") == 0
    assert {row.role for row in await shadowed.rows()} == {"live"}
    assert shadowed.router.value("switchyard_replica_breaker", engine="engine-0") == 0


async def test_no_more_copies_at_once_than_was_said(shadowed: Shadowed) -> None:
    real_answer = shadowed.engine.answer
    shadowed.engine.slow_ms = 100
    most = 0

    def answer(model: str, messages: list[dict[str, object]]) -> str:
        nonlocal most
        most = max(most, shadowed.copies() - int(shadowed.count("sent")))
        return real_answer(model, messages)

    shadowed.engine.answer = answer
    async with shadowed.router.client() as client:
        await asyncio.gather(*(ask(client, f"q {n}") for n in range(12)))
    await shadowed.over(12)
    assert 1 <= most <= CONCURRENT
    assert shadowed.count("skipped") >= 1
    assert shadowed.count("sent") + shadowed.count("skipped") == 12


async def test_no_copy_goes_where_the_engine_is_busy(
    world: World, shadowed: Shadowed, engine: FakeEngine
) -> None:
    world.registry.engines.register(
        "engine-0", engine.url, engine.base, max_loras=4, max_lora_rank=16, max_num_seqs=2
    )
    world.registry.engines.heartbeat("engine-0", "ready")
    await until(
        lambda: shadowed.router.server.app.state.snapshots.view.ready[0].seats == 2,
        "the smaller engine to be known",
    )
    async with shadowed.router.client() as client:
        await ask(client)
    await shadowed.over(1)
    assert shadowed.count("skipped") == 1 and shadowed.copies() == 0


async def test_text_of_copies_is_kept_only_where_the_tenant_opted_in(
    world: World, shadowed: Shadowed
) -> None:
    world.registry.tenants.update("acme", store_text=False)
    await until(
        lambda: shadowed.router.value("switchyard_snapshot_revision") >= world.registry.revision(),
        "the change to be known",
    )
    async with shadowed.router.client() as client:
        await ask(client)
    await shadowed.over(1)
    rows = await shadowed.rows()
    assert {row.role for row in rows} == {"live", "shadow"}
    assert all(row.answer is None and row.messages is None for row in rows)


async def test_a_share_of_conversations_is_copied(world: World, shadowed: Shadowed) -> None:
    world.registry.aliases.update("acme", "triage", shadow_share=0.25)
    await until(
        lambda: shadowed.router.value("switchyard_snapshot_revision") >= world.registry.revision(),
        "the share to be known",
    )
    async with shadowed.router.client() as client:
        for number in range(120):
            await ask(client, f"ticket {number}")
    await until(lambda: not shadowed.engine.in_flight, "the copies to end")
    copies = shadowed.copies() + shadowed.count("skipped")
    assert 30 - 19 <= copies <= 30 + 19  # four standard deviations
