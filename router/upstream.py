"""Engines over HTTP: one keep-alive connection pool, one request at a time on each connection.

Knows engine URLs and the engine key; nothing about tenants, versions or what an answer means.
"""

from __future__ import annotations

import aiohttp
from yarl import URL

from router.settings import RouterSettings
from router.view import Replica


class EngineUnreachable(Exception):
    """The engine refused, dropped or timed out before it answered: nothing reached the client."""

    def __init__(self, engine: Replica, why: str) -> None:
        super().__init__(f"engine {engine.id} at {engine.url}: {why}")
        self.engine = engine


class Upstream:
    """The HTTP client of a router. Build it anywhere; `startup` needs the running event loop."""

    def __init__(self, settings: RouterSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[tuple[str, str], URL] = {}
        self._headers = {"Content-Type": "application/json"}
        if settings.engine_api_key:
            self._headers["Authorization"] = f"Bearer {settings.engine_api_key}"

    async def startup(self) -> None:
        """Open the pool."""
        settings = self._settings
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=settings.keepalive_s),
            timeout=aiohttp.ClientTimeout(
                total=None,
                sock_connect=settings.connect_timeout_s,
                sock_read=settings.read_timeout_s,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
        )

    async def shutdown(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(
        self, engine: Replica, path: str, body: bytes, request_id: str
    ) -> aiohttp.ClientResponse:
        """Send a request; the response's status and headers are in, its body is not.

        Closing the response before its end drops the connection, which makes the engine stop
        working on it. Raises EngineUnreachable.
        """
        if self._session is None:
            raise RuntimeError("Upstream.startup() was not awaited")
        url = self._urls.get((engine.url, path))
        if url is None:
            url = self._urls[engine.url, path] = URL(engine.url + path)
        headers = {**self._headers, "X-Request-Id": request_id}
        try:
            try:
                return await self._session.post(url, data=body, headers=headers)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                if isinstance(error, aiohttp.ClientConnectorError):
                    raise
                # An idle connection that the engine closed meanwhile looks like this; a second
                # failure, on a connection of its own, is the engine's.
                return await self._session.post(url, data=body, headers=headers)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise EngineUnreachable(engine, type(error).__name__) from error
