"""HTTP as bytes: for requests that no client library would send, and answers read without mercy."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """One response. `status` 0: the connection ended without any. `whole`: nothing is missing."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def json(self) -> Any:
        """The body; raises ValueError when it is no JSON."""
        return json.loads(self.body)


NOTHING = Answer(0, {}, b"", whole=False)


class Wire:
    """A connection. `send` bytes, `read` one answer after the other."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname, parts.port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._opened = asyncio.Event()

    async def opened(self) -> None:
        """Wait for the connection that a `send` in another task makes."""
        await self._opened.wait()

    async def send(self, raw: bytes) -> None:
        """All at once; a connection that the other side closed takes it in silence."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                self._host, self._port, limit=1 << 24
            )
            self._opened.set()
        try:
            self._writer.write(raw)
            await self._writer.drain()
        except ConnectionError:
            return

    async def read(self, method: bytes = b"POST") -> Answer:
        """The next answer that is not an interim one."""
        assert self._reader is not None
        reader = self._reader
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return NOTHING
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status < 200:
            return await self.read(method)
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            if name:
                headers[name.lower()] = value.strip()
        if method == b"HEAD" or status in (204, 304):
            return Answer(status, headers, b"")
        parts: list[bytes] = []
        try:
            if headers.get("transfer-encoding") == "chunked":
                while True:
                    size = int(await reader.readuntil(b"\r\n"), 16)
                    parts.append((await reader.readexactly(size + 2))[:-2])
                    if size == 0:
                        break
            elif "content-length" in headers:
                parts.append(await reader.readexactly(int(headers["content-length"])))
            else:
                parts.append(await reader.read())
        except (asyncio.IncompleteReadError, ConnectionError):
            return Answer(status, headers, b"".join(parts), whole=False)
        return Answer(status, headers, b"".join(parts))

    async def ended(self) -> bool:
        """Wait until the other side closes the connection; whether it did so without a word."""
        assert self._reader is not None
        try:
            return await self._reader.read() == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        """Leave at once."""
        if self._writer is not None:
            self._writer.transport.abort()


async def ask(url: str, raw: bytes, *, timeout: float = 30.0) -> Answer:
    """One request on a connection of its own. Raises TimeoutError: nothing may hang."""
    wire = Wire(url)
    try:
        async with asyncio.timeout(timeout):
            await wire.send(raw)
            return await wire.read(raw.split(b" ", 1)[0])
    finally:
        wire.close()


def request(
    body: bytes = b"",
    key: str | bytes | None = None,
    *,
    method: bytes = b"POST",
    path: bytes = b"/v1/chat/completions",
    headers: bytes = b"",
) -> bytes:
    """A request in HTTP/1.1. `headers` are whole lines, as they are; so are path and key."""
    lines = [b"%s %s HTTP/1.1" % (method, path), b"Host: router"]
    if key is not None:
        lines.append(b"Authorization: Bearer " + (key.encode() if isinstance(key, str) else key))
    if body or method == b"POST":
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n" + headers + b"\r\n" + body
