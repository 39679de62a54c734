"""Alive and ready are two questions: only what a restart mends is a reason to be killed."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request

import pytest

from monitoring.metrics import Metrics
from registry.snapshot import Snapshot
from router.errors import EngineUnavailable, RegistryUnavailable, ShuttingDown
from router.health import Health
from router.view import View
from tests.fake_engine import FakeEngine
from tests.router.conftest import World, running, until


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def probe(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_busy_is_not_stuck() -> None:
    clock = Clock()
    health = Health(Metrics(), 60.0, clock=clock)
    assert health.trouble() is None, "not started is not stuck"
    health.turn(0.0)
    clock.now += 59.0
    assert health.trouble() is None
    clock.now += 2.0
    assert health.trouble() == "the event loop has not turned for 61 s"
    health.turn(61.0)
    assert health.trouble() is None, "it turns again: nothing to mend"


def test_the_longest_stall_is_shown_for_a_while_and_then_forgotten() -> None:
    clock, metrics = Clock(), Metrics()
    health = Health(metrics, 60.0, clock=clock)
    health.turn(0.2)
    for _ in range(14):
        clock.now += 1.0
        health.turn(0.001)
    assert metrics.registry.get_sample_value("switchyard_event_loop_lag_seconds") == 0.2
    for _ in range(30):
        clock.now += 1.1
        health.turn(0.001)
    assert metrics.registry.get_sample_value("switchyard_event_loop_lag_seconds") == 0.001


async def test_a_loop_that_ended_is_trouble_and_one_that_was_ended_is_not() -> None:
    async def ends() -> None:
        return

    health = Health(Metrics(), 60.0)
    loop = asyncio.create_task(ends())
    health.watch("snapshots", loop)
    assert health.trouble() is None
    await loop
    assert health.trouble() == "the snapshots loop ended"
    health.draining = True
    assert health.trouble() is None


@pytest.mark.parametrize(
    ("draining", "view", "reason"),
    [
        (True, View(), ShuttingDown),
        (False, View(), RegistryUnavailable),
        (False, View(snapshot=Snapshot(taken_at=1.0)), EngineUnavailable),
    ],
)
def test_ready_names_what_is_missing(draining: bool, view: View, reason: type[Exception]) -> None:
    health = Health(Metrics(), 60.0)
    health.draining = draining
    assert type(health.not_ready(view, 1)) is reason


def test_the_event_loop_says_about_once_a_second_that_it_turns() -> None:
    clock, said = Clock(), []
    health = Health(Metrics(), 60.0, clock=clock, on_turn=lambda: said.append(clock.now))
    for _ in range(31):
        health.turn(0.0)
        clock.now += 0.1
    assert len(said) == 3 or len(said) == 4


async def test_the_metrics_port_tells_a_stuck_loop_from_a_busy_one(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, stall_s=0.6) as router:
        url = router.metrics_url.replace("/metrics", "/health")
        assert await asyncio.to_thread(probe, url) == (200, "ok\n")
        loop = next(iter(router.server.health._loops.values())).get_loop()
        release = threading.Event()
        loop.call_soon_threadsafe(release.wait, 20)

        async def stuck() -> bool:
            status, said = await asyncio.to_thread(probe, url)
            return status == 503 and "has not turned" in said

        await until(stuck, "the probe to say so")
        release.set()
        await until(lambda: router.server.health.trouble() is None, "it to turn again")
        assert (await router.get("/health"))[0] == 200
        assert router.value("switchyard_event_loop_lag_seconds") > 0.5


async def test_a_router_whose_loop_died_says_so_in_openais_shape(
    world: World, engine: FakeEngine
) -> None:
    async with running(world) as router:
        loops = router.server.health._loops
        loop = loops["snapshots"].get_loop()
        loop.call_soon_threadsafe(loops["snapshots"].cancel)
        await until(loops["snapshots"].done, "its end")
        status, body, _ = await router.get("/health")
        assert status == 503
        assert body["error"]["code"] == "unhealthy"
        assert "the snapshots loop ended" in body["error"]["message"]


async def test_a_registry_and_engines_that_are_away_are_no_reason_to_be_killed(
    world: World,
) -> None:
    async with running(world) as router:
        status, body, headers = await router.get("/ready")
        assert status == 503 and body["error"]["code"] == "engine_unavailable"
        assert headers["retry-after"] == "1"
        assert (await router.get("/health"))[0] == 200
