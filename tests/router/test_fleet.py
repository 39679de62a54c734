"""Two routers, two engines, one Redis, all of them processes: what dies, and what clients see."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.real_redis import RealRedis
from tests.router.conftest import BASE, World, until
from tests.router.fleet import EngineProcess, Load, engines, routers
from tests.router.test_workers import Command

TARGETS = {"acme": "triage", "lex": "clauses", "solo": BASE}
OPEN_WITHIN_S = 2.0
"""What the router promises: an engine's death is known so soon."""
FLOOD_S = 3.0
ASKED = {"model": "triage", "messages": [{"role": "user", "content": "x"}], "max_tokens": 20}
BODY = json.dumps(ASKED).encode()


def targets(world: World) -> dict[str, tuple[str, str]]:
    """What each tenant asks for, and what must answer."""
    served = {version.tenant: version.served_name for version in world.registry.versions.all()}
    return {tenant: (model, served.get(tenant, BASE)) for tenant, model in TARGETS.items()}


@asynccontextmanager
async def loaded(load: Load, started: Sequence[Command]) -> AsyncIterator[None]:
    """Under load from every kind of client at every router; afterwards each has ended by itself."""
    clients = [
        asyncio.create_task(client(router.url, tenant, stream))
        for router in started
        for tenant in TARGETS
        for client in (load.sdk, load.raw)
        for stream in (False, True)
    ]
    try:
        yield
    finally:
        load.stopping = True
        async with asyncio.timeout(40):
            await asyncio.gather(*clients)


async def breaker(router: Command, engine: EngineProcess) -> float | None:
    return await router.value("switchyard_replica_breaker", engine=engine.name)


async def all_closed(started: Sequence[Command], fleet: Sequence[EngineProcess]) -> bool:
    states = [await breaker(router, engine) for router in started for engine in fleet]
    return states == [0.0] * len(states)


@asynccontextmanager
async def long_stream(router: Command, key: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """One that has begun and, before slow engines, goes on for minutes."""
    said = {"role": "user", "content": "on and on " * 20_000}
    body = {"model": "triage", "messages": [said], "stream": True}
    async with (
        aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session,
        session.post(f"{router.url}/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200 and await answer.content.readline()
        yield answer


async def test_an_engine_killed_under_load_loses_no_answer_without_an_error(
    world: World, redis: RealRedis, tmp_path: Path
) -> None:
    options = {"redis_url": redis.url, "redis_prefix": "fleet-kill", "cooldown_s": 0.5}
    async with (
        engines(world, 2, slow_ms=3) as fleet,
        routers(world, tmp_path, 2, **options) as started,
    ):
        await until(lambda: all_closed(started, fleet), "both routers to know both engines", 20)
        load = Load(world, targets(world))
        async with long_stream(started[0], world.keys["acme"]) as stream:
            (victim,) = [engine for engine in fleet if await engine.running()]
            async with loaded(load, started):
                await until(lambda: load.outcomes["right"] > 200, "traffic", 60)
                await victim.kill()
                killed = time.monotonic()
                for router in started:

                    async def opened(router: Command = router) -> bool:
                        return (await breaker(router, victim) or 0) > 0

                    left = killed + OPEN_WITHIN_S - time.monotonic()
                    await until(opened, "the breaker to open", left)
                rest = (await stream.text()).rstrip()
                assert '"code":"stream_interrupted"' in rest.rpartition("data: ")[2], rest[-500:]
                before = load.outcomes["right"]
                await until(lambda: load.outcomes["right"] > before + 200, "the other engine", 60)
                told = load.outcomes["told"]

                await victim.start()
                victim.announce(world)
                await until(lambda: all_closed(started, fleet), "the engine to be taken back", 40)

                for router in started:

                    async def back(router: Command = router) -> bool:
                        return bool(
                            await router.value("switchyard_replica_running", engine=victim.name)
                        )

                    await until(back, "traffic to come back", 40)
                assert load.outcomes["told"] == told, "nobody pays for its return"
    assert load.wrong == []
    assert load.refused == [], "a router never hangs up on anybody"
    assert set(load.told) <= {"engine_unavailable", "stream_interrupted", "engine_overloaded"}, (
        load.told
    )


async def test_a_router_told_to_end_under_load_finishes_what_it_has(
    world: World, tmp_path: Path
) -> None:
    async with engines(world, 1, slow_ms=3) as fleet, routers(world, tmp_path, 2) as started:
        await until(lambda: all_closed(started, fleet), "both routers to know the engine", 20)
        load = Load(world, targets(world))
        async with loaded(load, started):
            await until(lambda: load.outcomes["right"] > 200, "traffic", 60)
            leaving, staying = started
            leaving.process.terminate()
            assert await asyncio.wait_for(leaving.process.wait(), 30) == 0
            before = load.outcomes["right"]
            await until(lambda: load.outcomes["right"] > before + 100, "the other router", 60)
        assert load.wrong == [] and load.outcomes["told"] == 0, load.told
        assert not [why for why in load.refused if why.startswith(staying.url)]
        nobody = ("ConnectError(", "ClientConnectorError(")
        odd = [why for why in load.refused if not any(kind in why for kind in nobody)]
        assert odd == [], "only those that found nobody may have been turned away"


async def flood(started: Sequence[Command], key: str, at_once: int, until_s: float) -> Counter[int]:
    """Ask both routers as fast as they answer; how often each status came."""
    statuses: Counter[int] = Counter()
    headers = {"authorization": f"Bearer {key}"}

    async def client(session: aiohttp.ClientSession, url: str) -> None:
        while time.monotonic() < until_s:
            async with session.post(f"{url}/v1/chat/completions", data=BODY) as answer:
                await answer.read()
                statuses[answer.status] += 1
                if answer.status == 429:
                    await asyncio.sleep(0.01)  # the limit is what is counted, not their speed

    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(
            *(client(session, router.url) for router in started for _ in range(at_once))
        )
    return statuses


async def test_requests_a_minute_are_exact_over_two_routers(
    world: World, redis: RealRedis, tmp_path: Path
) -> None:
    """The whole minute's worth at once, then what flows back: counted over the real time."""
    limit = 1200
    world.registry.tenants.update("acme", requests_per_minute=limit)
    options = {"redis_url": redis.url, "redis_prefix": "fleet-requests"}
    async with (
        engines(world, 2, slow_ms=0) as fleet,
        routers(world, tmp_path, 2, **options) as started,
    ):
        await until(lambda: all_closed(started, fleet), "both routers to know both engines", 20)
        began = time.monotonic()
        answered: Counter[int] = Counter()
        while not answered[429]:  # until it is spent, however slow this machine is
            answered += await flood(started, world.keys["acme"], 8, time.monotonic() + FLOOD_S)
            assert time.monotonic() < began + 60, answered
        took = time.monotonic() - began
        assert answered.keys() == {200, 429}, answered
        allowed = limit * (1 + took / 60)
        assert allowed * 0.99 <= answered[200] <= allowed * 1.01, (allowed, answered)


async def test_tokens_a_minute_are_exact_over_two_routers(
    world: World, redis: RealRedis, tmp_path: Path
) -> None:
    """What the engine's own counts add up to: reservations are settled, so they don't show."""
    limit = 12_000
    world.registry.tenants.update("acme", tokens_per_minute=limit)
    options = {"redis_url": redis.url, "redis_prefix": "fleet-tokens"}
    async with (
        engines(world, 2, slow_ms=0) as fleet,
        routers(world, tmp_path, 2, **options) as started,
    ):
        await until(lambda: all_closed(started, fleet), "both routers to know both engines", 20)
        began = time.monotonic()
        answered: Counter[int] = Counter()
        while not answered[429]:
            answered += await flood(started, world.keys["acme"], 2, time.monotonic() + FLOOD_S)
            assert time.monotonic() < began + 60, answered
        took = time.monotonic() - began
        counts = [
            await router.value("switchyard_tokens_total", tenant="acme", kind=kind) or 0
            for router in started
            for kind in ("prompt", "completion")
        ]
        allowed = limit * (1 + took / 60)
        assert allowed * 0.99 <= sum(counts) <= allowed * 1.01, (allowed, counts, answered)


async def test_places_at_once_are_exact_over_two_routers(
    world: World, redis: RealRedis, tmp_path: Path
) -> None:
    """Forty ask, ten get in, whichever router they asked; each that ends makes room for one."""
    most = 10
    world.registry.tenants.update("acme", max_concurrent=most)
    options = {"redis_url": redis.url, "redis_prefix": "fleet-places"}
    headers = {"authorization": f"Bearer {world.keys['acme']}"}
    async with (
        engines(world, 2, slow_ms=20_000) as fleet,
        routers(world, tmp_path, 2, **options) as started,
        aiohttp.ClientSession(headers=headers) as session,
    ):
        await until(lambda: all_closed(started, fleet), "both routers to know both engines", 20)

        async def ask(url: str) -> int:
            async with session.post(f"{url}/v1/chat/completions", data=BODY) as answer:
                return answer.status

        for _ in range(2):  # those who left have given their places back
            asked = [asyncio.create_task(ask(started[n % 2].url)) for n in range(40)]
            await until(
                lambda asked=asked: sum(task.done() for task in asked) == 40 - most, "refusals", 10
            )
            assert {task.result() for task in asked if task.done()} == {429}
            under_way = [task for task in asked if not task.done()]
            assert await ask(started[0].url) == await ask(started[1].url) == 429
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

            async def none_under_way() -> bool:
                values = [await r.value("switchyard_in_flight", tenant="acme") for r in started]
                return not any(values)

            await until(none_under_way, "those who left to be noticed", 10)
