"""More requests than the engine has places for: who waits, who is sent away, and what is said."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.test_chat import HELLO


def small(world: World, engine: FakeEngine, seats: int, slots: int = 4) -> None:
    """The engine says that it works on few requests at once."""
    engines = world.registry.engines
    engines.register(
        "engine-0", engine.url, engine.base, max_loras=slots, max_lora_rank=16, max_num_seqs=seats
    )
    engines.heartbeat("engine-0", "ready")


def ask(client: openai.AsyncOpenAI, model: str = "triage") -> asyncio.Future[Any]:
    return asyncio.ensure_future(
        client.chat.completions.with_raw_response.create(model=model, messages=HELLO)  # type: ignore[arg-type]
    )


def queued(router: Running) -> int:
    stations = router.server.app.state.replicas.stations
    return sum(station.lane.queued for station in stations.values())


def idle(router: Running) -> bool:
    stations = router.server.app.state.replicas.stations.values()
    return all(not s.lane.running and not s.lane.queued and not s.lane.active for s in stations)


async def test_no_more_go_to_the_engine_than_it_has_seats_and_waiting_is_recorded(
    world: World, engine: FakeEngine
) -> None:
    small(world, engine, seats=2)
    engine.slow_ms = 60
    async with running(world) as router, router.client() as client:
        await asyncio.gather(*(ask(client) for _ in range(8)))
        assert engine.most_in_flight == 2
        await router.server.app.state.recorder.flush()
        waits = sorted(row.queue_ms for row in world.registry.exchanges.since(0))
        assert waits[0] < 50 and waits[-1] > 100
        assert all(row.latency_ms > row.queue_ms for row in world.registry.exchanges.since(0))
        assert router.value("switchyard_queue_seconds_count") >= 6
        assert idle(router)


async def test_a_full_queue_refuses_the_flooder_and_nobody_else(
    world: World, engine: FakeEngine
) -> None:
    small(world, engine, seats=1)
    engine.slow_ms = 300
    async with (
        running(world, queue_limit=4) as router,
        router.client("acme") as flooder,
        router.client("lex") as other,
    ):
        flood = [ask(flooder) for _ in range(5)]
        await until(lambda: queued(router) == 4, "the queue to be full")
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(flooder)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        assert (await ask(other, "clauses")).headers["x-switchyard-fallback"] == "none"
        ended = await asyncio.gather(*flood, return_exceptions=True)
        assert [type(end) for end in ended if isinstance(end, Exception)] == [openai.RateLimitError]
        assert idle(router)


async def test_who_waits_too_long_is_told_when_to_come_back(
    world: World, engine: FakeEngine
) -> None:
    small(world, engine, seats=1)
    world.registry.aliases.update("acme", "triage", fallback="fail")
    engine.hang = True
    async with running(world, queue_timeout_s=0.2) as router, router.client() as client:
        first = ask(client)
        await until(lambda: engine.in_flight == 1, "the place to be taken")
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(client)
        assert caught.value.status_code == 503 and caught.value.code == "engine_overloaded"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        first.cancel()
        await until(lambda: idle(router), "the place to be free again")


@pytest.mark.parametrize("policy", ["base", "previous"])
async def test_without_a_slot_in_time_the_policy_decides(
    world: World, engine: FakeEngine, policy: str
) -> None:
    """Seats are free, slots are not: the base needs none, the version before holds the slot."""
    small(world, engine, seats=8, slots=1)
    old = world.registry.versions.all("acme")[0]
    new = world.version("acme", "triage", "triage two")
    engine.adapters.add(new.served_name)
    world.registry.aliases.flip("acme", "triage", new.digest)
    world.registry.aliases.update("acme", "triage", fallback=policy)
    async with running(world, queue_timeout_s=0.2) as router, router.client() as client:
        engine.slow_ms = 1500
        holder = ask(client, old.served_name)
        await until(lambda: engine.in_flight == 1, "the slot to be taken")
        engine.slow_ms = 0
        answer = await ask(client)
        assert answer.headers["x-switchyard-fallback"] == "deadline"
        expected = "base" if policy == "base" else old.served_name
        assert answer.headers["x-switchyard-version"] == expected
        assert router.value("switchyard_fallbacks_total", tenant="acme", reason="deadline") == 1
        await holder
        assert (await ask(client)).headers["x-switchyard-version"] == new.served_name


async def test_clients_that_leave_the_queue_leave_no_seat_taken(
    world: World, engine: FakeEngine
) -> None:
    small(world, engine, seats=2, slots=1)
    engine.slow_ms = 100
    async with running(world, watch_after_s=0.01) as router, router.client() as client:
        asked = [ask(client) for _ in range(12)]
        await until(lambda: queued(router) >= 8, "the queue to fill")
        for number in (3, 5, 7, 9, 11):
            asked[number].cancel()
        ended = await asyncio.gather(*asked, return_exceptions=True)
        served = [end for end in ended if not isinstance(end, BaseException)]
        assert len(served) >= 7
        await until(lambda: idle(router), "every place to be free again")
        assert (await ask(client)).headers["x-switchyard-fallback"] == "none"


async def test_when_one_of_two_engines_dies_under_load_nobody_is_left_without_an_answer(
    world: World, engine: FakeEngine
) -> None:
    small(world, engine, seats=4)
    async with (
        FakeEngine(adapters=set(engine.adapters), api_key=engine.api_key) as other,
        running(world) as router,
        router.client() as client,
    ):
        world.engine(other, "engine-1")
        stations = router.server.app.state.replicas.stations
        await until(lambda: len(router.server.app.state.snapshots.view.ready) == 2, "both engines")
        engine.slow_ms = other.slow_ms = 20
        ended: list[Any] = []
        stop = asyncio.Event()

        async def load(number: int) -> None:
            while not stop.is_set():
                asked = ask(client, "triage" if number % 2 else "switchyard-tiny")
                ended.extend(await asyncio.gather(asked, return_exceptions=True))

        clients = [asyncio.ensure_future(load(number)) for number in range(12)]
        await until(lambda: len(engine.asked()) > 5 and len(other.asked()) > 5, "both to work")
        await engine.die()
        died_at = len(ended)
        await until(
            lambda: stations["engine-0"].breaker.pause_s > 0, "the breaker to open", seconds=2.0
        )
        after = len(other.asked())
        await until(lambda: len(other.asked()) > after + 20, "traffic to go to the other")
        await engine.start()
        engine.requests.clear()
        await until(lambda: len(engine.asked()) > 20, "traffic to come back")
        stop.set()
        await asyncio.gather(*clients)
        failed = [end for end in ended if isinstance(end, BaseException)]
        for error in failed:  # those whose answer had begun when the engine died
            assert isinstance(error, openai.InternalServerError), error
            assert error.code in ("engine_unavailable", "engine_error")
            assert error.response.headers["x-request-id"]
        assert len(failed) <= 12 and len(ended) - died_at > 30
        assert idle(router)
