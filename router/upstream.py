"""Engines over HTTP: a pool of keep-alive connections for each, one exchange at a time on each.

Knows engine URLs and the engine key; nothing about tenants, versions or what an answer means.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from router.connection import Connection, ConnectionBroken, Silence
from router.settings import RouterSettings
from router.view import Replica

_SWEEP_S = 0.5


class EngineUnreachable(Exception):
    """The engine refused, dropped or timed out before it answered: nothing reached the client."""

    def __init__(self, engine: Replica, why: str) -> None:
        super().__init__(f"engine {engine.id} at {engine.url}: {why}")
        self.engine = engine


@dataclass
class _Address:
    """Where an engine listens, and its connections."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    named: bytes
    """For the Host header."""
    idle: list[Connection] = field(default_factory=list)
    busy: set[Connection] = field(default_factory=set)


@dataclass(slots=True)
class Exchange:
    """An engine's open answer. `close` must follow; before the end it drops the connection, which
    makes the engine stop working on it."""

    connection: Connection
    status: int
    _upstream: Upstream
    _address: _Address

    async def read(self) -> bytes:
        """The whole body. Raises ConnectionBroken."""
        return await self.connection.read()

    async def chunk(self) -> bytes:
        """The next bytes, b"" at the end. Raises ConnectionBroken."""
        return await self.connection.chunk()

    @property
    def complete(self) -> bool:
        """Whether all of the answer has come in (not necessarily been read)."""
        return self.connection.complete

    def close(self) -> None:
        """Give the connection back, or drop it."""
        self._upstream._give_back(self._address, self.connection)


class Upstream:
    """The HTTP client of a router. Build it anywhere; `startup` needs the running event loop."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings
        self._addresses: dict[str, _Address] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        key = settings.engine_api_key
        self._key = b"Authorization: Bearer %s\r\n" % key.encode() if key else b""

    async def startup(self) -> None:
        """Ready to connect."""
        self._loop = asyncio.get_running_loop()
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)

    async def shutdown(self) -> None:
        """Close every connection."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for address in self._addresses.values():
            for connection in (*address.idle, *address.busy):
                connection.close()
        self._addresses.clear()
        self._loop = None

    async def post(
        self, engine: Replica, path: str, body: bytes, request_id: str, more: bytes = b""
    ) -> Exchange:
        """Send a request; the answer's status is in, its body is not.

        `more`: further header lines, each ending in CRLF. Raises EngineUnreachable.
        """
        address = self._addresses.get(engine.url) or self._address(engine.url)
        head = (
            b"POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n%s"
            b"X-Request-Id: %s\r\n%sContent-Length: %d\r\n\r\n"
            % (path.encode(), address.named, self._key, request_id.encode(), more, len(body))
        )
        try:
            while True:
                connection = self._idle(address)
                reused = connection is not None
                if connection is None:
                    connection = await self._connect(address)
                address.busy.add(connection)
                try:
                    connection.send(head, body)
                    return Exchange(connection, await connection.head(), self, address)
                except ConnectionBroken as error:
                    address.busy.discard(connection)
                    connection.close()
                    # An idle connection that the engine closed meanwhile looks like this; on one
                    # of its own a failure is the engine's.
                    if not reused or connection.answered or isinstance(error, Silence):
                        raise
                except BaseException:
                    address.busy.discard(connection)
                    connection.close()
                    raise
        except (ConnectionBroken, OSError) as error:
            why = str(error) if isinstance(error, ConnectionBroken) else type(error).__name__
            raise EngineUnreachable(engine, why) from error

    def _address(self, url: str) -> _Address:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        address = _Address(
            host, port, ssl.create_default_context() if secure else None, parts.netloc.encode()
        )
        self._addresses[url] = address
        return address

    def _idle(self, address: _Address) -> Connection | None:
        while address.idle:
            connection = address.idle.pop()
            if not connection.closed:
                return connection
        return None

    async def _connect(self, address: _Address) -> Connection:
        if self._loop is None:
            raise RuntimeError("Upstream.startup() was not awaited")
        loop = self._loop
        async with asyncio.timeout(self._settings.connect_timeout_s):
            _, connection = await loop.create_connection(
                lambda: Connection(loop), address.host, address.port, ssl=address.tls
            )
        return connection

    def _give_back(self, address: _Address, connection: Connection) -> None:
        address.busy.discard(connection)
        if connection.complete and connection.reusable and not connection.closed:
            address.idle.append(connection)
        else:
            connection.close()

    def _sweep(self) -> None:
        """Drop what has been idle, or silent in the middle of an exchange, for too long."""
        assert self._loop is not None
        now = self._loop.time()
        idle_since, silent_since = (
            now - self._settings.keepalive_s,
            now - self._settings.read_timeout_s,
        )
        for address in self._addresses.values():
            while address.idle and address.idle[0].used_at < idle_since:  # oldest first
                address.idle.pop(0).close()
            for connection in [c for c in address.busy if c.used_at < silent_since]:
                connection.fail(Silence("nothing came for too long"))
        self._sweeper = self._loop.call_later(_SWEEP_S, self._sweep)
