"""The admin API's server: a thread with an event loop of its own beside the tenants' server.

    server = AdminServer(settings, registry)
    server.startup()        # binds; serves from then on
    server.shutdown()

So that it can't slow completions down it has few threads and a pace (router/admin/gate.py), and
shares neither loop nor port with them.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import structlog
import uvicorn
from fastapi import FastAPI

from registry import Registry
from router.admin.app import create_admin
from router.settings import RouterSettings

_log = structlog.get_logger("router.admin")
_THREADS = 4
_BACKLOG = 64


class PortInUse(Exception):
    """The admin API's port can't be bound."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(
            f"can't serve the admin API on {host}:{port}: {why}. Stop what listens there, or set "
            "another SWITCHYARD_ROUTER_ADMIN_PORT"
        )


class AdminServer:
    """Does nothing where the settings have no admin key, and says so once, at `startup`."""

    def __init__(self, settings: RouterSettings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._server: uvicorn.Server | None = None

    @property
    def url(self) -> str | None:
        """Where it listens; None where it doesn't."""
        if self._socket is None:
            return None
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def startup(self) -> None:
        """Bind the port and serve. Raises PortInUse."""
        settings = self._settings
        if settings.admin_key is None:
            _log.info("no admin API: SWITCHYARD_ROUTER_ADMIN_KEY is not set")
            return
        self._socket = _bind(settings.admin_host, settings.admin_port)
        app = create_admin(settings.admin_key, self._registry)
        app.router.lifespan_context = _few_threads
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                loop="asyncio",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=2,
            )
        )
        context = contextvars.copy_context()  # log lines say which process this is
        self._thread = threading.Thread(
            target=context.run, args=(self._run,), name="admin", daemon=True
        )
        self._thread.start()
        _log.info("admin API listens", url=self.url)

    def shutdown(self, timeout: float = 5.0) -> None:
        """Let requests under way finish, and free the port."""
        if self._server is None or self._thread is None or self._socket is None:
            return
        self._server.should_exit = True
        self._thread.join(timeout)
        self._socket.close()
        self._socket = None

    def _run(self) -> None:
        assert self._server is not None and self._socket is not None
        asyncio.run(self._server.serve(sockets=[self._socket]))


@asynccontextmanager
async def _few_threads(_app: FastAPI) -> AsyncIterator[None]:
    anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
    yield


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is said: asyncio sets TCP_NODELAY only where it is, and without an answer to a
    # connection that is kept waits 40 ms for the client's acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise PortInUse(host, port, why or str(error)) from error
    return listener
