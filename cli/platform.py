"""The processes of the platform as specs for the supervisor: commands, ports, readiness.

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
WORKER_METRICS_PORT = room_settings.WORKER + "METRICS_PORT"


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

    @property
    def workers(self) -> dict[str, int]:
        """{name: metrics port} of every worker."""
        first = self.settings["worker"].metrics_port
        count = self.settings["up"].workers
        return {f"worker-{n + 1}" if n else "worker": first + n for n in range(count)}

    @property
    def drain_order(self) -> tuple[str, ...]:
        """The router first: nobody new is let in, and those inside still have all behind it."""
        return ("router", *self.workers, "controller", "engine")

    def ports(self) -> list[Port]:
        """Every port that will be listened on, with the setting that chooses it."""
        engine, router = self.settings["engine"], self.settings["router"]
        found = [
            Port("the router", router.host, router.port, room_settings.ROUTER + "PORT"),
            Port("the engine", engine.host, engine.port, room_settings.ENGINE + "PORT"),
        ]
        for name in ("router", "controller"):
            room = self.settings[name]
            setting = f"SWITCHYARD_{name.upper()}_METRICS_PORT"
            found.append(
                Port(f"the {name}'s metrics", room.metrics_host, room.metrics_port, setting)
            )
        if router.admin_key is not None:
            setting = room_settings.ROUTER + "ADMIN_PORT"
            found.append(Port("the admin API", router.admin_host, router.admin_port, setting))
        host = self.settings["worker"].metrics_host
        for name, port in self.workers.items():
            found.append(Port(f"the {name}'s metrics", host, port, WORKER_METRICS_PORT))
        return found

    def specs(self, registry: Registry) -> list[Spec]:
        """The processes, in the order in which they are started."""
        engine, worker = self.settings["engine"], self.settings["worker"]
        controller, router = self.settings["controller"], self.settings["router"]
        return [
            self._spec("engine", self._engine_ready(registry), engine.shutdown_timeout_s + 10),
            self._spec("router", self._router_ready, router.drain_grace_s + router.drain_s + 15),
            self._spec(
                "controller", listening(controller.metrics_host, controller.metrics_port), 20.0
            ),
            *(
                Spec(
                    name,
                    self._command("worker"),
                    listening(worker.metrics_host, port),
                    30.0,
                    {**self.home.environ, WORKER_METRICS_PORT: str(port)},
                )
                for name, port in self.workers.items()
            ),
        ]

    def _command(self, process: str) -> tuple[str, ...]:
        return (*self.program, "--home", str(self.home.folder), process, "run")

    def _spec(self, name: str, ready: Callable[[], bool], drain_s: float) -> Spec:
        return Spec(name, self._command(name), ready, drain_s, self.home.environ)

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
