"""The supervisor, with the fake engine as its child process: real processes, ports and signals."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from monitoring.metrics import Metrics
from registry import Registry
from serve.engine import BaseMissing, EngineStartFailed, EngineSupervisor
from serve.process import PortInUse
from serve.settings import EngineSettings
from tests.serve.making import BASE, KEY, engine_settings

OWN = Path(__file__).parents[2] / "train" / "base" / BASE
FAKE = [sys.executable, "-m", "tests.fake_engine", "--base", BASE, "--api-key", KEY]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(tmp_path: Path, port: int) -> EngineSettings:
    return engine_settings(tmp_path, port=port)


def supervisor(
    settings: EngineSettings, registry: Registry, command: list[str] | None = None
) -> EngineSupervisor:
    return EngineSupervisor(
        settings,
        registry,
        Metrics(),
        command=command or [*FAKE, "--port", str(settings.port)],
        environ=os.environ,
    )


def state(registry: Registry) -> str:
    return registry.engines.all()[0].state


async def tick_until(engine: EngineSupervisor, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await engine.tick()


async def test_an_engine_is_starting_then_ready_then_down(
    settings: EngineSettings, sqlite_registry: Registry
) -> None:
    engine = supervisor(settings, sqlite_registry)
    await engine.startup()
    assert state(sqlite_registry) == "starting"

    await tick_until(engine, lambda: engine.state == "ready")
    (row,) = sqlite_registry.engines.ready()
    assert (row.url, row.base) == (settings.url, BASE)
    assert (row.max_loras, row.max_lora_rank) == (16, 16)

    pid = engine.pid
    await engine.shutdown()
    assert state(sqlite_registry) == "down"
    assert pid is not None and not psutil.pid_exists(pid)


async def test_a_heartbeat_is_written_with_every_tick(
    settings: EngineSettings, sqlite_registry: Registry
) -> None:
    engine = supervisor(settings, sqlite_registry)
    await engine.startup()
    await tick_until(engine, lambda: engine.state == "ready")
    before = sqlite_registry.engines.all()[0].heartbeat_at

    await engine.tick()

    assert sqlite_registry.engines.all()[0].heartbeat_at > before
    await engine.shutdown()


async def test_a_killed_engine_is_down_at_once_and_comes_back(
    tmp_path: Path, port: int, sqlite_registry: Registry
) -> None:
    settings = engine_settings(tmp_path, port=port, base=str(OWN))
    engine = supervisor(settings, sqlite_registry)
    await engine.startup()
    await tick_until(engine, lambda: engine.state == "ready")
    first = engine.pid
    assert first is not None
    await tick_until(engine, lambda: sqlite_registry.engines.meaning(BASE) is not None)
    sqlite_registry.engines.place(settings.id, "d" * 64, "warm")

    ticking = asyncio.create_task(engine.tick())
    os.kill(first, signal.SIGKILL)
    await ticking
    assert state(sqlite_registry) == "down"
    assert sqlite_registry.engines.placements() == []

    await tick_until(engine, lambda: engine.state == "ready")
    assert engine.pid != first
    assert engine.starts == 2
    (row,) = sqlite_registry.engines.ready()
    assert row.id == settings.id
    assert row.meaning, "what its base's words mean outlives it"
    await engine.shutdown()


async def test_an_engine_that_hangs_is_replaced(
    tmp_path: Path, port: int, sqlite_registry: Registry
) -> None:
    settings = engine_settings(tmp_path, port=port, health_timeout_s=0.3, shutdown_timeout_s=0)
    engine = supervisor(settings, sqlite_registry)
    await engine.startup()
    await tick_until(engine, lambda: engine.state == "ready")
    first = engine.pid
    assert first is not None

    os.kill(first, signal.SIGSTOP)
    await tick_until(engine, lambda: engine.starts == 2 and engine.state == "ready")

    assert not psutil.pid_exists(first)
    await engine.shutdown()


async def test_a_port_in_use_is_named_before_anything_starts(
    settings: EngineSettings, sqlite_registry: Registry
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.port))
        taken.listen()
        engine = supervisor(settings, sqlite_registry)

        with pytest.raises(PortInUse, match=rf":{settings.port} is in use"):
            await engine.startup()

    assert sqlite_registry.engines.all() == []


async def test_a_base_that_is_not_there_is_named_before_anything_starts(
    tmp_path: Path, sqlite_registry: Registry
) -> None:
    settings = engine_settings(tmp_path, base=str(tmp_path / "nothing"))

    with pytest.raises(BaseMissing, match=r"no base model at .*nothing"):
        await supervisor(settings, sqlite_registry).startup()


async def test_an_engine_that_never_starts_is_given_up_with_its_last_lines(
    settings: EngineSettings, sqlite_registry: Registry
) -> None:
    crash = [sys.executable, "-c", "import sys; sys.exit('RuntimeError: no kernel for this CPU')"]
    engine = supervisor(settings, sqlite_registry, crash)
    await engine.startup()

    with pytest.raises(EngineStartFailed, match="no kernel for this CPU") as caught:
        await tick_until(engine, lambda: False)

    assert str(settings.log_file) in str(caught.value)
    assert engine.starts == 3
    await engine.shutdown()
    assert state(sqlite_registry) == "down"


async def test_the_key_is_in_no_log_and_no_argument(
    settings: EngineSettings, sqlite_registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = EngineSupervisor(
        settings,
        sqlite_registry,
        Metrics(),
        command=[sys.executable, "-m", "tests.fake_engine", "--port", str(settings.port)],
    )
    await engine.startup()
    await tick_until(engine, lambda: engine.state == "ready")
    assert engine.pid is not None
    arguments = " ".join(psutil.Process(engine.pid).cmdline())
    await engine.shutdown()

    printed = capsys.readouterr()
    assert KEY not in arguments + printed.out + printed.err + settings.log_file.read_text()


def test_the_engine_dies_with_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """And what the engine itself started dies too, however it was spawned."""
    grandchild = (
        "import multiprocessing as m, time\n"
        "from serve.child import die_with_parent\n"
        "def core(parent, pids):\n"
        "    die_with_parent(parent)\n"
        "    pids.put(m.current_process().pid)\n"
        "    time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        "    import os, pathlib, sys\n"
        "    context = m.get_context('spawn')\n"
        "    pids = context.Queue()\n"
        "    context.Process(target=core, args=(os.getpid(), pids)).start()\n"
        "    pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()} {pids.get()}')\n"
        "    time.sleep(600)\n"
    )
    (tmp_path / "engine.py").write_text(grandchild)
    script = (
        "import asyncio, os, pathlib, sys\n"
        "from serve.process import EngineProcess\n"
        "async def main():\n"
        f"    command = [sys.executable, '{tmp_path}/engine.py', '{tmp_path}/pids']\n"
        f"    process = EngineProcess(command, os.environ, pathlib.Path('{tmp_path}/log'))\n"
        "    await process.start()\n"
        "    await process.exited(600)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    pids: list[int] = []
    try:
        _wait_for(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text())
        pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]

        parent.kill()
        parent.wait()

        _wait_for(lambda: not any(_alive(pid) for pid in pids))
    finally:
        parent.kill()
        for pid in filter(_alive, pids):
            os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _wait_for(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "waited for 60 s"
        time.sleep(0.05)


async def test_the_fake_engine_runs_as_a_program(port: int) -> None:
    child = await asyncio.create_subprocess_exec(
        *FAKE, "--port", str(port), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    url = (await child.stdout.readline()).decode().strip()
    async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as response:
        assert response.status == 200
    child.kill()
    await child.communicate()
