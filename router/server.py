"""A router process: uvicorn with uvloop and httptools, and the metrics on a port of their own.

Server(settings, registry, metrics).run()      # until SIGTERM or SIGINT, then drains
"""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import threading
from functools import partial
from typing import cast

import structlog
import uvicorn

from monitoring import exposition
from monitoring.labels import NOBODY
from monitoring.metrics import Metrics
from monitoring.slate import evaluate
from registry import Registry
from router.admin.server import AdminServer
from router.admin.server import PortInUse as AdminPortInUse
from router.app import create_app
from router.drain import DrainingServer
from router.errors import ApiError
from router.health import Health
from router.listener import BACKLOG, PortInUse, bind
from router.reception import Reception
from router.seat import Seat
from router.settings import RouterSettings

__all__ = ["PortInUse", "Server"]

_log = structlog.get_logger("router.server")
_access = structlog.get_logger("router.access")
_EVALUATE_S = 0.5


class Server:
    """One router. `startup` binds its ports, so that a taken one shows at once; `run` serves.

    With a `seat` it is one worker of several: it answers at the seat's socket, and its parent
    (router/workers.py) shows metrics and the admin API for all of them.
    Raises PortInUse, monitoring.exposition.PortInUse, router.admin.server.PortInUse.
    """

    def __init__(
        self,
        settings: RouterSettings,
        registry: Registry,
        metrics: Metrics,
        *,
        seat: Seat | None = None,
    ) -> None:
        self.settings = settings
        self._metrics = metrics
        self._seat = seat
        report = None if seat is None else seat.report_alive
        self.health = Health(metrics, settings.stall_s, on_turn=report)
        books = None if seat is None else seat.books()
        self.app = create_app(settings, registry, metrics, health=self.health, books=books)
        self._socket: socket.socket | None = None
        self._exposition: exposition.Server | None = None
        self._admin = AdminServer(settings, registry)
        self._uvicorn = DrainingServer(
            uvicorn.Config(
                self.app,
                loop="uvloop",
                http=cast("type[asyncio.Protocol]", partial(Reception, refused=self._refused)),
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
            ),
            self.health,
            settings,
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

    @property
    def admin_url(self) -> str | None:
        """Where the admin API listens; None where there is none."""
        return self._admin.url

    def startup(self) -> None:
        """Bind the ports. Raises PortInUse."""
        settings = self.settings
        if self._seat is not None:
            self._socket = self._seat.socket()
            return
        self._socket = bind(settings.host, settings.port)
        try:
            self._exposition = exposition.serve(
                self._metrics,
                settings.metrics_port,
                settings.metrics_host,
                health=self.health.trouble,
            )
            self._admin.startup()
        except (exposition.PortInUse, AdminPortInUse):
            self._socket.close()
            if self._exposition is not None:
                self._exposition.close()
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
        evaluating: threading.Event | None = None
        if self._seat is None:
            _log.info("router listens", url=self.url, metrics=self.metrics_url)
        else:
            evaluating = self._evaluate_gauges()
        try:
            with asyncio.Runner(loop_factory=self._uvicorn.config.get_loop_factory()) as runner:
                runner.run(self._uvicorn.serve(sockets=[self._socket]))
        finally:
            if evaluating is not None:
                evaluating.set()
            self._socket.close()
            if self._exposition is not None:
                self._exposition.close()
            self._admin.shutdown()

    def shutdown(self) -> None:
        """Ask `run` to end; callable from any thread."""
        self._uvicorn.ask_to_end()

    def _refused(self, request_id: str, error: ApiError) -> None:
        """What came on a connection was no request."""
        self._metrics.errors_total.labels(NOBODY, error.code).inc()
        if self.settings.access_log:
            _access.info("refused", request=request_id, status=error.status, code=error.code)

    def _evaluate_gauges(self) -> threading.Event:
        """Gauges with a function are asked at a scrape; the parent, which answers that, can't."""
        over = threading.Event()

        def run() -> None:
            while not over.wait(_EVALUATE_S):
                evaluate(self._metrics.registry)

        threading.Thread(target=run, name="gauges", daemon=True).start()
        return over
