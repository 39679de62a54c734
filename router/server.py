"""The router process: uvicorn with uvloop and httptools, and the metrics on a port of their own.

Server(settings, registry, metrics).run()      # until SIGTERM or SIGINT, then drains
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import socket
import sys
from collections.abc import Generator

import structlog
import uvicorn

from monitoring import exposition
from monitoring.metrics import Metrics
from registry import Registry
from router.app import create_app
from router.settings import RouterSettings

_log = structlog.get_logger("router.server")
_BACKLOG = 2048


class PortInUse(Exception):
    """The router's port can't be bound."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(
            f"can't listen on {host}:{port}: {why}. Stop what listens there, or set another "
            "SWITCHYARD_ROUTER_PORT"
        )


class Server:
    """One router. `startup` binds both ports, so that a taken one shows at once; `run` serves.

    Raises PortInUse, monitoring.exposition.PortInUse.
    """

    def __init__(self, settings: RouterSettings, registry: Registry, metrics: Metrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self.app = create_app(settings, registry, metrics)
        self._socket: socket.socket | None = None
        self._exposition: exposition.Server | None = None
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                self.app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=max(1, round(settings.drain_s)),
            )
        )

    @property
    def url(self) -> str:
        """Where the router listens, once it was started."""
        if self._socket is None:
            raise RuntimeError("the router was not started")
        host, port = self._socket.getsockname()[:2]
        return f"http://{host}:{port}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds its metrics, once it was started."""
        if self._exposition is None:
            raise RuntimeError("the router was not started")
        return self._exposition.url

    def startup(self) -> None:
        """Bind the ports. Raises PortInUse."""
        settings = self.settings
        self._socket = _bind(settings.host, settings.port)
        try:
            self._exposition = exposition.serve(
                self._metrics, settings.metrics_port, settings.metrics_host
            )
        except exposition.PortInUse:
            self._socket.close()
            raise

    def run(self) -> None:
        """Serve until a signal or `shutdown`, then let requests under way finish (`drain_s`)."""
        if self._socket is None:
            self.startup()
        assert self._socket is not None
        # A thread that writes records gives way to requests after this long; Python's own 5 ms
        # would be what a request waits for each of its turns.
        sys.setswitchinterval(0.0005)
        gc.collect()
        gc.freeze()
        gc.set_threshold(20000, 50, 1000)
        _log.info("router listens", url=self.url, metrics=self.metrics_url)
        try:
            with asyncio.Runner(loop_factory=self._uvicorn.config.get_loop_factory()) as runner:
                runner.run(self._uvicorn.serve(sockets=[self._socket]))
        finally:
            self._socket.close()
            if self._exposition is not None:
                self._exposition.close()

    def shutdown(self) -> None:
        """Ask `run` to end; callable from any thread."""
        self._uvicorn.should_exit = True


class _Uvicorn(uvicorn.Server):
    """A signal asks for a drain. uvicorn would raise it again afterwards and the process would die
    of it, before whoever composed the process could close what it opened and exit with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise PortInUse(host, port, why or str(error)) from error
    return listener
