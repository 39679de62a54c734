"""The little of HTTP that the lean path needs: a body in, a response out, a client that left.

Plain ASGI messages; knows nothing about tenants or models.
"""

from __future__ import annotations

import asyncio
import os

from starlette.types import Message, Receive, Scope, Send

from monitoring.client import LOOKED_AT
from router.errors import ApiError, BodyTooLarge, Headers, RequestTimeout, UnsupportedEncoding

JSON = (b"content-type", b"application/json")


_IDS: list[str] = []


def new_id() -> str:
    """32 random hex digits: a request's id, in `x-request-id`, in the completion's id and in logs.

    Drawn 256 at a time: a call of the system lets another thread have the interpreter, and under
    load that is gone for up to half a millisecond.
    """
    try:
        return _IDS.pop()
    except IndexError:
        drawn = os.urandom(16 * 256).hex()
        _IDS.extend(drawn[at : at + 32] for at in range(32, len(drawn), 32))
        return drawn[:32]


def header(scope: Scope, name: bytes) -> bytes | None:
    """A request header by lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def client_of(scope: Scope) -> tuple[bytes, bytes, bytes]:
    """What `monitoring.client` reads, in its order; empty where a header is missing."""
    agent = (header(scope, b"user-agent") or b"")[:LOOKED_AT]
    if b"OpenAI/" in agent:  # OpenAI's own say the library's version there
        return agent, b"", b""
    language = header(scope, b"x-stainless-lang") or b""
    library = header(scope, b"x-stainless-package-version") or b""
    return agent, language[:LOOKED_AT], library[:LOOKED_AT]


CUT_OFF = "the router ends and the request outlasted its drain"


def cut_off(error: asyncio.CancelledError) -> bool:
    """Whether a task was cancelled because the router ends. The client is still there: whoever
    catches this calls `resume` and says so to it, within a second."""
    return error.args == (CUT_OFF,)


def resume() -> None:
    """A cancellation was caught, and the task goes on."""
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()


class ClientLeft(Exception):
    """The client closed the connection before it had its answer."""


def refuse_packed(scope: Scope) -> None:
    """Why a body could not be read, perhaps. Raises UnsupportedEncoding."""
    said = header(scope, b"content-encoding")
    if said not in (None, b"", b"identity"):
        raise UnsupportedEncoding(said.decode("latin-1"))


LATE = "switchyard.late"
"""In a request's scope: its body takes too long to come (router.reception says so)."""


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises BodyTooLarge (without reading on), RequestTimeout and ClientLeft."""
    length = header(scope, b"content-length")
    if length is not None and (len(length) > 15 or int(length) > limit):
        raise BodyTooLarge(limit)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body", False):
            return b"".join((*parts, part)) if parts else part
        if LATE in scope:
            raise RequestTimeout
        parts.append(part)


async def send_whole(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """A response in one piece. `headers` has the content type."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [*headers, (b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, error: ApiError, headers: Headers) -> None:
    """An error in OpenAI's shape."""
    await send_whole(send, error.status, error.body(), [JSON, *headers, *error.headers()])


class Watch:
    """Cancels the task that makes it when its client leaves; `left` then says why.

    Costs a timer for quick requests; only those older than `after_s` get a task of their own.
    """

    def __init__(self, receive: Receive, after_s: float) -> None:
        self.left = False
        self._receive = receive
        self._watched = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(after_s, self._begin)

    def stop(self) -> None:
        """From now on a closed connection is nobody's loss."""
        self._timer.cancel()
        self._watched = None
        if self._watcher is not None:
            self._watcher.cancel()

    def _begin(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._wait())

    async def _wait(self) -> None:
        message: Message = {"type": ""}
        while message["type"] != "http.disconnect":
            message = await self._receive()
        if self._watched is not None:
            self.left = True
            self._watched.cancel()
