"""A process's metrics on a port of their own, for Prometheus to scrape.

prometheus_client's WSGI server in a daemon thread: it answers while the process is busy, and never
shares a port with what tenants can reach. So it is also where a process can be asked whether it
lives (`/health`): an event loop that has much to do answers late, this thread does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

Health = Callable[[], str | None]
"""What keeps the process from doing its work for good, or None while it lives."""


class Shown(Protocol):
    """What a scrape shows: monitoring.metrics.Metrics, or several workers' gathered."""

    @property
    def registry(self) -> CollectorRegistry: ...


class PortInUse(Exception):
    """The metrics port can't be bound."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(
            f"can't serve metrics on {host}:{port}: {why}. Stop what listens there, or choose "
            "another metrics port"
        )
        self.host = host
        self.port = port


class Server:
    """A running exposition server; `port` is the one really bound."""

    def __init__(self, httpd: WSGIServer) -> None:
        self._httpd = httpd
        self.host, self.port = str(httpd.server_address[0]), int(httpd.server_address[1])
        self._thread = threading.Thread(
            target=httpd.serve_forever, args=(0.05,), name="metrics", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where Prometheus finds the metrics."""
        return f"http://{self.host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop answering and free the port."""
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join(timeout=5)


def serve(
    metrics: Shown, port: int, host: str = "127.0.0.1", *, health: Health | None = None
) -> Server:
    """Show `metrics` at http://host:port/metrics; port 0 takes a free one. With `health` there is
    /health too: 200, or 503 with what it says. Raises PortInUse."""
    app = make_wsgi_app(metrics.registry)
    if health is not None:
        app = _with_health(app, health)
    try:
        httpd = make_server(host, port, app, _Server, handler_class=_Quiet)
    except OSError as error:
        raise PortInUse(host, port, error.strerror or str(error)) from error
    return Server(httpd)


def _with_health(metrics: Any, health: Health) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/health":
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        trouble = health()
        status = "200 OK" if trouble is None else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [(trouble or "ok").encode() + b"\n"]

    return app


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # WSGIServer's own asks DNS for the host's name, which can take seconds without a network.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """A scrape every few seconds is not news."""
