"""A router of several processes: one port, one set of metrics, and nobody's death is the end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

import router
from monitoring.metrics import Metrics
from router.listener import PortInUse, bind
from router.seat import Seat
from router.settings import RouterSettings
from router.workers import Workers, WorkersFailed
from tests.fake_engine import FakeEngine
from tests.router.conftest import ENGINE_KEY, World, until
from tests.router.test_chat import HELLO

ROOT = Path(router.__file__).parents[1]
BODY = json.dumps({"model": "triage", "messages": HELLO}).encode()
STARTED_S = 60.0


@dataclass
class Command:
    """`switchyard router run --workers N` as a process of its own."""

    process: asyncio.subprocess.Process
    world: World
    url: str
    metrics_url: str
    lines: list[dict[str, Any]]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    async def serving(self, count: int) -> bool:
        return await self.value("switchyard_router_workers") == count

    async def ask(self, session: aiohttp.ClientSession) -> int:
        headers = {"authorization": f"Bearer {self.world.keys['acme']}"}
        url = f"{self.url}/v1/chat/completions"
        async with session.post(url, data=BODY, headers=headers) as response:
            await response.read()
            return response.status

    async def value(self, name: str, **labels: str) -> float | None:
        def scrape() -> str:
            with urllib.request.urlopen(self.metrics_url, timeout=10) as answer:
                return str(answer.read().decode())

        text = await asyncio.to_thread(scrape)
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None


@asynccontextmanager
async def command(
    world: World, home: Path, count: int, **settings: object
) -> AsyncIterator[Command]:
    options = {"port": 0, "metrics_port": 0, "engine_stale_s": 600, "record_interval_s": 0.05}
    environ = {
        **os.environ,
        "SWITCHYARD_REGISTRY_DATABASE_URL": world.registry.database.url,
        "SWITCHYARD_REGISTRY_STORE_URL": world.registry.store.url,
        "SWITCHYARD_ENGINE_API_KEY": ENGINE_KEY,
        **{f"SWITCHYARD_ROUTER_{k.upper()}": str(v) for k, v in (options | settings).items()},
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "--home", str(home), "router", "run"),
        *("--workers", str(count)),
        cwd=ROOT, env=environ, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    lines: list[dict[str, Any]] = []

    async def read() -> None:
        assert process.stderr
        async for line in process.stderr:
            lines.append(json.loads(line) if line.startswith(b"{") else {"raw": line.decode()})

    reading = asyncio.create_task(read())
    try:
        listens = await until(
            lambda: [x for x in lines if x.get("event") == "router listens"], "a start", STARTED_S
        )
        running = Command(process, world, listens[0]["url"], listens[0]["metrics"], lines)
        if count > 1:
            await until(lambda: running.serving(count), "all workers", STARTED_S)
        yield running
    finally:
        left = []
        if process.returncode is None:
            left = psutil.Process(process.pid).children()
            process.kill()
        await process.wait()
        for child in left:
            if child.is_running():
                child.kill()
        await reading


async def test_a_worker_killed_under_load_costs_no_count_and_only_its_own_requests(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    async with command(world, tmp_path, 2) as started, aiohttp.ClientSession() as session:
        answered = 0
        lost = 0
        stop = asyncio.Event()

        async def client() -> None:
            nonlocal answered, lost
            while not stop.is_set():
                try:
                    assert await started.ask(session) == 200
                    answered += 1
                except aiohttp.ClientError:
                    lost += 1

        clients = [asyncio.create_task(client()) for _ in range(16)]
        await until(lambda: answered >= 200, "traffic")
        victim = started.workers()[0]
        victim.kill()
        before = answered
        await until(lambda: answered >= before + 200, "the other worker to go on")

        async def again() -> bool:
            return await started.value("switchyard_router_worker_restarts_total") == 1

        await until(again, "the restart to be counted")
        await until(lambda: started.serving(2), "the seat to be filled again", STARTED_S)
        stop.set()
        await asyncio.gather(*clients)
        assert lost <= 16, "what was under way in the one that was killed, and no more"
        counted = await started.value(
            "switchyard_requests_total", tenant="acme", served="adapter", status="200"
        )
        assert counted is not None and answered <= counted <= answered + lost
        assert await started.value("switchyard_in_flight", tenant="acme") == 0
        assert victim.pid not in {worker.pid for worker in started.workers()}
        age = await started.value("switchyard_snapshot_age_seconds")
        assert age is not None and age < 60


async def test_connections_are_dealt_to_all_workers(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        command(world, tmp_path, 2) as started,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        for _ in range(40):
            assert await started.ask(session) == 200
        await until(
            lambda: len([x for x in started.lines if x.get("event") == "request"]) == 40, "lines"
        )
        seen = {x["worker"] for x in started.lines if x.get("event") == "request"}
        assert seen == {0, 1}


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_every_worker_and_ends_with_exit_code_0(
    world: World, engine: FakeEngine, tmp_path: Path, sign: signal.Signals
) -> None:
    async with command(world, tmp_path, 2) as started:
        engine.slow_ms = 100
        clients = [
            openai.AsyncOpenAI(base_url=f"{started.url}/v1", api_key=world.keys["acme"])
            for _ in range(6)
        ]
        streams = [
            await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
            for client in clients
        ]
        workers = started.workers()
        started.process.send_signal(sign)
        for stream in streams:
            chunks = [chunk async for chunk in stream]
            assert chunks[-1].choices[0].finish_reason == "stop"
        assert await asyncio.wait_for(started.process.wait(), 20) == 0
        assert not any(worker.is_running() for worker in workers)
        for client in clients:
            await client.close()
    odd = [x for x in started.lines if x.get("level") not in ("info", None)]
    assert len(world.registry.exchanges.since(0)) == 6, odd


async def test_a_second_signal_ends_all_workers_at_once(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    async with (
        command(world, tmp_path, 2, drain_s=600) as started,
        aiohttp.ClientSession() as session,
    ):
        engine.hang = True
        asked = asyncio.create_task(started.ask(session))
        await until(lambda: engine.in_flight == 1, "the engine to have it")
        started.process.terminate()

        async def refused() -> bool:
            try:
                async with session.get(f"{started.url}/health"):
                    return False
            except aiohttp.ClientError:
                return True

        await until(refused, "the drain to begin")
        started.process.terminate()
        assert await asked == 503
        assert await asyncio.wait_for(started.process.wait(), 20) == 0


async def test_workers_end_with_a_parent_that_was_killed(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    async with command(world, tmp_path, 2) as started:
        workers = started.workers()
        started.process.kill()
        await started.process.wait()
        await until(lambda: not any(w.is_running() for w in workers), "the workers to end")


async def test_a_worker_that_is_stuck_is_replaced(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    async with command(world, tmp_path, 2, stall_s=3) as started:
        victim = started.workers()[0]
        victim.send_signal(signal.SIGSTOP)
        await until(lambda: not victim.is_running(), "the stuck one to be killed", 30)
        await until(lambda: started.serving(2), "another one", STARTED_S)
        with urllib.request.urlopen(started.metrics_url.replace("/metrics", "/health")) as answer:
            assert answer.status == 200


async def asked_at_once(started: Command, count: int) -> list[asyncio.Task[int]]:
    """So many requests, each over a connection of its own."""

    async def ask() -> int:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            return await started.ask(session)

    return [asyncio.create_task(ask()) for _ in range(count)]


async def test_a_minutes_limit_holds_over_all_workers(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    world.registry.tenants.update("acme", requests_per_minute=60)
    async with command(world, tmp_path, 3) as started:
        began = time.monotonic()
        statuses = await asyncio.gather(*await asked_at_once(started, 200))
        refilled = time.monotonic() - began
        assert {*statuses} == {200, 429}
        assert 60 <= statuses.count(200) <= 60 + refilled
        refused = await started.value(
            "switchyard_rate_limited_total", tenant="acme", limit="requests_per_minute"
        )
        assert refused == statuses.count(429)

        def lines() -> list[dict[str, Any]]:
            return [x for x in started.lines if x.get("event") == "request"]

        await until(lambda: len(lines()) == 200, "a line for each")
        assert {x["worker"] for x in lines()} == {0, 1, 2}


async def test_places_at_once_hold_over_all_workers_and_those_of_a_killed_one_come_free(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    world.registry.tenants.update("acme", max_concurrent=12)
    async with command(world, tmp_path, 2) as started:
        engine.hang = True
        first = await asked_at_once(started, 30)
        await until(lambda: sum(task.done() for task in first) == 18, "the others to be refused")
        assert {task.result() for task in first if task.done()} == {429}
        await until(lambda: engine.in_flight == 12, "the twelve to have reached the engine")
        assert engine.most_in_flight == 12
        under_way = [task for task in first if not task.done()]
        started.workers()[0].kill()
        await until(lambda: started.serving(1), "the kill to be noticed", STARTED_S)
        await until(lambda: started.serving(2), "the seat to be filled again", STARTED_S)
        lost = [task for task in under_way if task.done()]
        assert all(isinstance(task.exception(), aiohttp.ClientError) for task in lost)
        second = await asked_at_once(started, 30)
        left = 30 - len(lost)
        await until(lambda: sum(task.done() for task in second) == left, "the others again")
        assert {task.result() for task in second if task.done()} == {429}
        kept = [task for task in (*under_way, *second) if not task.done()]
        assert len(kept) == 12
        for task in kept:
            task.cancel()
        await asyncio.gather(*kept, return_exceptions=True)


async def test_one_worker_is_no_extra_process(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    async with command(world, tmp_path, 1) as started:
        assert started.workers() == []


def failing(code: int) -> Callable[[Seat], list[str]]:
    return lambda _seat: [sys.executable, "-c", f"raise SystemExit({code})"]


def test_a_start_that_fails_again_and_again_ends_the_parent_with_the_reason() -> None:
    settings = RouterSettings(port=0, metrics_port=0, workers=2)
    parent = Workers(settings, Metrics(), failing(7))
    with pytest.raises(WorkersFailed, match=r"code 7, 3 time\(s\) without having served"):
        parent.run()


def test_what_no_further_start_would_mend_ends_the_parent_at_once() -> None:
    settings = RouterSettings(port=0, metrics_port=0, workers=2)
    parent = Workers(settings, Metrics(), failing(3), final=frozenset({3}))
    with pytest.raises(WorkersFailed, match=r"ended with code 3, 1 time\(s\)"):
        parent.run()


def test_a_port_in_use_is_named_even_where_its_owner_would_share_it() -> None:
    with bind("127.0.0.1", 0, shared=True) as taken:
        port = taken.getsockname()[1]
        settings = RouterSettings(port=port, metrics_port=0, workers=2)
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port}: the port is in use"):
            Workers(settings, Metrics(), failing(1)).startup()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        settings = RouterSettings(port=port, metrics_port=0, workers=2)
        with pytest.raises(PortInUse):
            Workers(settings, Metrics(), failing(1)).startup()


def test_a_seat_says_on_the_command_line_what_it_is() -> None:
    seat = Seat(1, 4, 5, 6, 7, 8, 9, 999)
    assert Seat.decode(seat.encode()) == seat
    with pytest.raises(ValueError, match="not a seat"):
        Seat.decode('{"index": 1}')
