"""The stage: a real `switchyard up` as a child process in the demo's home, on free ports.

Knows how to start it, look into it and end it; nothing about the story.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from cli import ports
from cli.child import Child, Spec
from cli.errors import CliError, ProcessFailed
from cli.home import Home, read_json
from cli.lock import HomeLock
from cli.platform import PROGRAM

if TYPE_CHECKING:
    from registry import Registry

# A demo shows in minutes what a platform sees in weeks: small references, short patience. What each
# means is said where it is declared; an environment that sets one of them wins.
QUICK = {
    "SWITCHYARD_SWAP_DRAIN_S": "5",
    "SWITCHYARD_CONTROLLER_POLL_S": "0.5",
    "SWITCHYARD_CONTROLLER_MIN_CORRECTIONS": "200",
    # A rollout in a minute: every request is copied, and the smallest canary is 10 %.
    "SWITCHYARD_CONTROLLER_ROLLOUT_SHADOW": "20",
    "SWITCHYARD_CONTROLLER_ROLLOUT_SHADOW_SHARE": "1",
    "SWITCHYARD_CONTROLLER_ROLLOUT_WEIGHTS": "0.1,0.5",
    "SWITCHYARD_CONTROLLER_ROLLOUT_REQUESTS": "15",
    "SWITCHYARD_CONTROLLER_ROLLOUT_PATIENCE_S": "60",
    "SWITCHYARD_UP_WORKERS": "2",
    "SWITCHYARD_WORKER_THREADS": "1",
}


MARK = ".made-by-the-demo"
"""A file that says: what lies in this folder may be wiped by the next demo."""


def home_of(outer: Home) -> Home:
    """The demo's home inside another, with a registry of its own whatever the environment says:
    the demo's tenants have no place in anybody's PostgreSQL."""
    registry = "SWITCHYARD_REGISTRY_"
    environ = {k: v for k, v in outer.environ.items() if not k.startswith(registry)}
    return Home(outer.demo, environ)


def wipe(home: Home) -> None:
    """Empty the demo's home, all but its lock. Raises CliError where something else lies in it."""
    found = [path for path in home.folder.iterdir() if path != home.run]
    mark = home.folder / MARK
    if found and not mark.exists():
        raise CliError(
            f"{home.folder} holds files that no demo made (there is no {MARK} in it): the demo "
            "would wipe them; name another home by --home"
        )
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    mark.touch()


@dataclass
class Stage:
    """`open` starts the platform, `close` drains it."""

    home: Home
    program: tuple[str, ...] = PROGRAM
    _child: Child | None = None
    _registry: Registry | None = None
    urls: dict[str, str] = field(default_factory=dict)

    @property
    def registry(self) -> Registry:
        """The platform's registry, opened a second time from here."""
        assert self._registry is not None, "the stage is not open"
        return self._registry

    @property
    def url(self) -> str:
        """The router's."""
        return self.urls["router"]

    def open(self) -> None:
        """Wipe what an earlier demo left, start `up`. Raises AlreadyRunning, CliError."""
        lock = HomeLock(self.home.folder)
        lock.acquire()  # refuses to wipe the floor under a platform that runs
        wipe(self.home)
        self._registry = self.home.open_registry(migrate=True)
        lock.release()
        names = ["router", "engine", "router metrics", "controller metrics", "worker metrics"]
        # Each with a free one behind it: the second worker's metrics are one port further.
        numbers = dict(zip(names, ports.pick_free(len(names)), strict=True))
        chosen = {
            "SWITCHYARD_ROUTER_PORT": numbers["router"],
            "SWITCHYARD_ENGINE_PORT": numbers["engine"],
            "SWITCHYARD_ROUTER_METRICS_PORT": numbers["router metrics"],
            "SWITCHYARD_CONTROLLER_METRICS_PORT": numbers["controller metrics"],
            "SWITCHYARD_WORKER_METRICS_PORT": numbers["worker metrics"],
        }
        self.urls = {name: f"http://127.0.0.1:{number}" for name, number in numbers.items()}
        environ = {**QUICK, **self.home.environ, **{k: str(v) for k, v in chosen.items()}}
        command = (*self.program, "--home", str(self.home.folder), "up")
        spec = Spec("up", command, lambda: True, drain_s=90.0, environ=environ)
        self._child = Child(spec, self.home.logs / "up.log")
        self._child.start()

    def close(self) -> None:
        """Drain the platform."""
        if self._child is not None:
            self._child.ask_to_end()
            deadline = time.monotonic() + self._child.spec.drain_s
            while self._child.alive() and time.monotonic() < deadline:
                time.sleep(0.1)
            self._child.kill()
        if self._registry is not None:
            self._registry.close()

    def wait(
        self,
        what: str,
        condition: Callable[[], bool],
        timeout: float,
        each: Callable[[], object] = lambda: None,
        interval: float = 0.25,
    ) -> float:
        """Look until a condition is true; the seconds it took. Raises ProcessFailed, also when the
        platform ends meanwhile."""
        began = time.monotonic()
        while not condition():
            self.require_alive()
            if time.monotonic() - began > timeout:
                raise ProcessFailed(
                    f"{what}: not within {timeout:.0f} s; logs are in {self.home.logs}"
                )
            each()
            time.sleep(interval)
        return time.monotonic() - began

    def require_alive(self) -> None:
        """Raises ProcessFailed with the last words of a platform that has ended."""
        if self._child is None or not self._child.alive():
            words = self._child.last_words(8) if self._child else ""
            raise ProcessFailed(f"the platform has ended; its log ends with:\n{words}")

    def processes(self) -> dict[str, dict[str, Any]]:
        """{name: {"pid", "state", …}} from the run file."""
        state = read_json(self.home.run / "up.json")
        return {process["name"]: process for process in state.get("processes", [])}

    def kill_engine(self) -> list[int]:
        """SIGKILL to vLLM: its server and everything below it; their pids.

        `switchyard engine run`, which watches over it, is left alive, as when a kernel's
        out-of-memory killer takes the biggest process.
        """
        watcher = self.processes().get("engine", {}).get("pid")
        if watcher is None:
            raise ProcessFailed("the engine's process is not in the run file")
        victims = psutil.Process(watcher).children(recursive=True)
        if not victims:
            raise ProcessFailed("the engine's process has no vLLM below it")
        for victim in victims:
            os.kill(victim.pid, signal.SIGKILL)
        return [victim.pid for victim in victims]
