"""The supervisor with real, tiny child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from cli.child import Child, Spec
from cli.errors import ProcessFailed
from cli.supervisor import Supervisor

SERVER = """
import pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
def end(*_):
    with (folder / "ended").open("a") as out: out.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
(folder / (name + ".ready")).touch()
print(name, "is up", flush=True)
while True: time.sleep(0.02)
"""


said: dict[int, list[str]] = {}
"""What each supervisor told."""


def spec(name: str, folder: Path, code: str = SERVER, drain_s: float = 5.0) -> Spec:
    return Spec(
        name,
        (sys.executable, "-c", textwrap.dedent(code), name, str(folder)),
        ready=(folder / f"{name}.ready").exists,
        drain_s=drain_s,
    )


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervisor]]:
    """Makes supervisors, and leaves none of their processes behind."""
    made: list[Supervisor] = []
    said.clear()

    def make(*specs: Spec, order: tuple[str, ...] = ()) -> Supervisor:
        lines: list[str] = []
        supervisor = Supervisor(
            specs, tmp_path / "logs", order, say=lines.append, first_delay_s=0.02
        )
        said[id(supervisor)] = lines
        made.append(supervisor)
        return supervisor

    yield make
    for supervisor in made:
        supervisor.shutdown(timeout=0)


def until(condition: Callable[[], bool], tick: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come true within 20 s"
        tick()
        time.sleep(0.01)


def test_everything_starts_and_is_ready_when_it_says_so(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = supervise(spec("engine", tmp_path), spec("router", tmp_path))
    supervisor.startup()
    assert not supervisor.ready
    assert supervisor.wait_ready(20)
    assert (tmp_path / "logs" / "engine.log").read_text() == "engine is up\n"


def test_what_dies_is_started_again(supervise: Callable[..., Supervisor], tmp_path: Path) -> None:
    supervisor = supervise(spec("engine", tmp_path), spec("router", tmp_path))
    supervisor.startup()
    assert supervisor.wait_ready(20)
    first = supervisor.watched["engine"].child.pid
    router = supervisor.watched["router"].child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    until(lambda: supervisor.watched["engine"].restarts == 1, supervisor.tick)
    until(lambda: supervisor.ready, supervisor.tick)
    assert supervisor.watched["engine"].child.pid != first
    assert supervisor.watched["router"].child.pid == router
    assert any("was ended by SIGKILL; starting it again" in line for line in said[id(supervisor)])


def test_the_delay_between_restarts_grows_and_is_bounded(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    supervisor = supervise(spec("engine", tmp_path))
    at = 0.0
    supervisor.clock = lambda: at
    supervisor.first_delay_s = 0.5
    supervisor.startup()
    watched = supervisor.watched["engine"]
    until(lambda: watched.state == "ready", supervisor.tick)
    delays = []
    for _ in range(9):
        watched.child.kill()
        supervisor.tick()
        assert watched.state == "waiting"
        delays.append(watched.start_at - at)
        supervisor.tick()
        assert not watched.child.alive(), "it was started before its time"
        at = watched.start_at
        supervisor.tick()
        assert watched.child.alive()
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    until(lambda: watched.state == "ready", supervisor.tick)
    at += 61
    supervisor.tick()
    assert watched.failures == 0


def test_a_process_that_is_never_ready_is_given_up_with_its_last_words(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    code = "import sys; print('no such base', file=sys.stderr); sys.exit(3)"
    supervisor = supervise(spec("engine", tmp_path, code))
    supervisor.startup()
    with pytest.raises(ProcessFailed, match=r"exit code 3, 5 time\(s\)(.|\n)*no such base"):
        until(lambda: False, supervisor.tick)


def test_draining_goes_in_order_and_one_at_a_time(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    names = ["engine", "controller", "worker", "router"]
    order = ("router", "worker", "controller", "engine")
    supervisor = supervise(*(spec(name, tmp_path) for name in names), order=order)
    supervisor.startup()
    assert supervisor.wait_ready(20)
    supervisor.shutdown()
    assert (tmp_path / "ended").read_text().split() == list(order)


def test_one_that_overstays_is_killed_with_its_children(
    supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    stubborn = """
    import pathlib, signal, subprocess, sys, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    (pathlib.Path(sys.argv[2]) / "grandchild").write_text(str(child.pid))
    (pathlib.Path(sys.argv[2]) / "router.ready").touch()
    time.sleep(1000)
    """
    supervisor = supervise(spec("router", tmp_path, stubborn, drain_s=0.2))
    supervisor.startup()
    assert supervisor.wait_ready(20)
    grandchild = int((tmp_path / "grandchild").read_text())
    supervisor.shutdown()
    assert not supervisor.watched["router"].child.alive()
    until(lambda: _gone(grandchild))
    assert any("not done within" in line for line in said[id(supervisor)])


def test_children_end_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    code = f"""
    import pathlib, time
    from cli.child import Child, Spec
    folder = pathlib.Path({str(tmp_path)!r})
    spec = Spec("router", {spec("router", tmp_path).command!r}, lambda: True)
    child = Child(spec, folder / "router.log")
    child.start()
    (folder / "pid").write_text(str(child.pid))
    time.sleep(1000)
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    until((tmp_path / "router.ready").exists)
    pid = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    until(lambda: _gone(pid))
    assert (tmp_path / "ended").read_text() == "router\n"


def test_a_child_that_is_not_running_has_no_pid(tmp_path: Path) -> None:
    child = Child(spec("router", tmp_path), tmp_path / "router.log")
    assert (child.pid, child.alive(), child.last_words()) == (None, False, "")
    child.kill()


def _gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
