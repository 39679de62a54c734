"""A connection to an engine: HTTP/1.1, kept alive, one exchange at a time.

httptools parses, the event loop's transport carries; nothing else. Why not aiohttp: its client
alone takes about as long as everything else that a request costs here (docs/adr/008).
Knows nothing about engines, tenants or what the bytes mean.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools

_HIGH = 1 << 18
_LOW = 1 << 16
"""Bytes of an answer kept for a client that reads slowly, before the engine has to wait."""


class ConnectionBroken(Exception):
    """The connection ended, or said something that is not HTTP, before the answer was complete."""


class Silence(ConnectionBroken):
    """Nothing came for too long."""


class Connection(asyncio.Protocol):
    """`send` a request, then `head`, then `read` or `chunk` until it is `complete`.

    An exchange that is left before it is complete must be ended with `close`: that is how the
    engine learns that nobody wants the answer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._whole = False
        self._error: ConnectionBroken | None = None
        self._parser: Any = None
        self._writable: asyncio.Future[None] | None = None
        self.status = 0
        """0 until the head of the answer is in."""
        self.complete = True
        """Whether the last exchange is over and another may begin."""
        self.reusable = False
        self.answered = False
        """Whether a byte of an answer came since `send`."""
        self.used_at = loop.time()
        """When something last happened here, on the loop's clock."""

    # What the pool and requests call

    @property
    def closed(self) -> bool:
        """Whether this can't be used any more."""
        return self._transport is None or self._error is not None

    def send(self, head: bytes, body: bytes) -> None:
        """Begin an exchange. `head` is everything up to the empty line, which it includes."""
        self._parser = httptools.HttpResponseParser(self)
        self._chunks = []
        self._buffered = self.status = 0
        self._whole = self.complete = self.answered = self.reusable = False
        self.used_at = self._loop.time()
        self._transport.writelines((head, body))

    async def head(self) -> int:
        """The answer's status. Raises ConnectionBroken."""
        while not self.status:
            await self._more()
        return self.status

    async def read(self) -> bytes:
        """Everything of the answer's body that was not read yet. Raises ConnectionBroken."""
        self._whole = True
        if self._paused:
            self._resume()
        while not self.complete:
            await self._more()
        data, self._chunks, self._buffered = b"".join(self._chunks), [], 0
        return data

    async def chunk(self) -> bytes:
        """What came since the last call; b"" at the end of the answer. Raises ConnectionBroken."""
        while not self._chunks:
            if self.complete:
                return b""
            await self._more()
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks, self._buffered = [], 0
        if self._paused:
            self._resume()
        return data

    def close(self) -> None:
        """Drop the connection; an engine that was still answering stops working on it."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def fail(self, error: ConnectionBroken) -> None:
        """End the exchange with an error for whoever waits for it."""
        if self._error is None:
            self._error = error
        self.close()
        self._wake()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.used_at = self._loop.time()
        if self.complete:  # said without being asked
            self.fail(ConnectionBroken("bytes outside of an exchange"))
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(ConnectionBroken(f"not HTTP: {type(error).__name__}"))
            return
        if not self._whole or self.complete:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._error is None:
            self._error = ConnectionBroken("the engine closed the connection")
        self._wake()

    # httptools

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # else an interim answer: the real one follows
            self.status = status

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > _HIGH and not self._whole and not self._paused:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        if self.status:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()

    # Waiting

    async def _more(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._error is not None and not self.complete and not self._chunks:
            raise self._error

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
