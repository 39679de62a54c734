"""The four processes of the platform as specs for the supervisor: commands, ports, readiness.

Knows which processes there are and how to tell that each does its work; starts nothing itself.
"""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli import ports, room_settings
from cli.child import Spec
from cli.home import Home
from cli.ports import Port

if TYPE_CHECKING:
    from registry import Registry

PROGRAM = (sys.executable, "-m", "cli.main")

DRAIN_ORDER = ("router", "worker", "controller", "engine")
"""The router first: nobody new is let in, and those inside still have everything behind it."""


@dataclass(frozen=True)
class Platform:
    """What `up` runs in a home folder; build it with `read`."""

    home: Home
    settings: dict[str, Any]
    program: tuple[str, ...] = PROGRAM
    """What runs the processes; a rehearsal hands in its own."""

    @classmethod
    def read(cls, home: Home, program: tuple[str, ...] = PROGRAM) -> Platform:
        """Raises SettingsError with everything that is wrong in the environment."""
        return cls(home, room_settings.everything(home), program)

    @property
    def url(self) -> str:
        """Where clients reach the router."""
        router = self.settings["router"]
        host = "127.0.0.1" if router.host in ("0.0.0.0", "::") else router.host
        return f"http://{host}:{router.port}"

    def ports(self) -> list[Port]:
        """Every port that will be listened on, with the setting that chooses it."""
        engine, router = self.settings["engine"], self.settings["router"]
        found = [
            Port("the router", router.host, router.port, room_settings.ROUTER + "PORT"),
            Port("the engine", engine.host, engine.port, room_settings.ENGINE + "PORT"),
        ]
        for name in ("router", "controller", "worker"):
            room = self.settings[name]
            setting = f"SWITCHYARD_{name.upper()}_METRICS_PORT"
            found.append(
                Port(f"the {name}'s metrics", room.metrics_host, room.metrics_port, setting)
            )
        return found

    def specs(self, registry: Registry) -> list[Spec]:
        """The processes, in the order in which they are started."""
        engine, worker = self.settings["engine"], self.settings["worker"]
        controller = self.settings["controller"]
        return [
            self._spec("engine", self._engine_ready(registry), engine.shutdown_timeout_s + 10),
            self._spec("router", self._router_ready, self.settings["router"].drain_s + 5),
            self._spec(
                "controller", listening(controller.metrics_host, controller.metrics_port), 20.0
            ),
            self._spec("worker", listening(worker.metrics_host, worker.metrics_port), 30.0),
        ]

    def _spec(self, name: str, ready: Callable[[], bool], drain_s: float) -> Spec:
        command = (*self.program, "--home", str(self.home.folder), name, "run")
        return Spec(name, command, ready, drain_s, self.home.environ)

    def _engine_ready(self, registry: Registry) -> Callable[[], bool]:
        ours = self.settings["engine"].id
        since = time.time()  # a heartbeat from before is that of an engine that is gone

        def ready() -> bool:
            return any(
                engine.id == ours and engine.heartbeat_at > since
                for engine in registry.engines.ready()
            )

        return ready

    def _router_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def listening(host: str, port: int) -> Callable[[], bool]:
    """A process is there once its metrics are."""
    return lambda: ports.accepts(host, port)
