"""The process commands as real processes: they come up, answer, survive a bad tick, and drain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import ports
from cli.errors import NotStartable
from cli.home import Home
from cli.loops import LONGEST_PAUSE_S, Signals, pause, repeat, repeat_blocking, stop_event
from cli.loops import until as until_stopped

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(home: Home, tmp_path: Path) -> Iterator[Start]:
    """Starts `switchyard NAME run` in the home folder; ends what a test leaves running."""
    started: list[subprocess.Popen[str]] = []

    def begin(name: str, **settings: object) -> subprocess.Popen[str]:
        environ = {**os.environ, **{key: str(value) for key, value in settings.items()}}
        with (tmp_path / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "--home", str(home.folder), name, "run"],
                env=environ,
                stdout=log,
                stderr=log,
                text=True,
            )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come true within {seconds} s"
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["worker", "controller"])
def test_it_shows_its_metrics_and_ends_well_on_sigterm(name: str, start: Start) -> None:
    (number,) = ports.pick_free(1)
    process = start(name, **{f"SWITCHYARD_{name.upper()}_METRICS_PORT": number})
    until(lambda: ports.accepts("127.0.0.1", number))
    with urllib.request.urlopen(f"http://127.0.0.1:{number}/metrics", timeout=5) as answer:
        assert b"switchyard_" in answer.read()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_the_router_is_alive_but_not_ready_without_an_engine(start: Start) -> None:
    number, metrics = ports.pick_free(2)
    process = start("router", SWITCHYARD_ROUTER_PORT=number, SWITCHYARD_ROUTER_METRICS_PORT=metrics)
    until(lambda: ports.accepts("127.0.0.1", number))
    with urllib.request.urlopen(f"http://127.0.0.1:{number}/health", timeout=5) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"http://127.0.0.1:{number}/ready", timeout=5)
    assert caught.value.code == 503
    assert json.loads(caught.value.read())["error"]["message"]
    caught.value.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


@pytest.mark.parametrize("name", ["router", "worker", "controller"])
def test_a_taken_port_ends_it_with_the_code_for_needless_to_try_again(
    name: str, start: Start, tmp_path: Path
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        (free,) = ports.pick_free(1)
        settings = {f"SWITCHYARD_{name.upper()}_METRICS_PORT": taken}
        if name == "router":
            settings["SWITCHYARD_ROUTER_PORT"] = free
        process = start(name, **settings)
        assert process.wait(60) == NotStartable.exit_code
    said = (tmp_path / f"{name}.log").read_text()
    assert f"127.0.0.1:{taken}" in said
    assert "Traceback" not in said


async def test_a_tick_that_fails_is_logged_and_the_loop_goes_on() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 1:
            raise RuntimeError("the database is away")
        if ticks == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_event() as stop:
        await asyncio.wait_for(until_stopped(stop, repeat("swap", tick, 0.001)), 20)
    assert ticks >= 3


async def test_a_fatal_error_ends_all_loops() -> None:
    ended = asyncio.Event()

    async def other() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def tick() -> None:
        raise KeyError("engine")

    with pytest.raises(KeyError):
        await until_stopped(
            asyncio.Event(), repeat("engine", tick, 0.001, fatal=(KeyError,)), other()
        )
    assert ended.is_set()


def test_a_blocking_loop_goes_on_after_a_failure_and_ends_on_a_signal() -> None:
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == 1:
            raise RuntimeError("the store is away")
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        repeat_blocking("worker", tick, 0.001, signals)
    assert ticks == 2
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_loop_that_keeps_failing_slows_down_to_a_bound() -> None:
    assert pause(0.5, 0) == 0.5
    assert pause(0.5, 1) == 1.0
    assert pause(0.5, 100) == LONGEST_PAUSE_S
