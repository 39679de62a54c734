"""Relaying: an engine's open answer to a client, whole or as a stream.

A stream that breaks ends with an error event, never cleanly: no `[DONE]` was said that the engine
did not say. What was wrong before the first byte is a plain HTTP error instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import Send

from router.body import Request
from router.call import Call
from router.connection import ConnectionBroken
from router.errors import EngineFailed, EngineUnavailable, ShuttingDown
from router.http import JSON, cut_off, resume, send_whole
from router.kinds import Stream
from router.reach import Reached
from router.settings import RouterSettings
from router.sse import StreamBroken

_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_TAIL_S = 1.0
_BYTES_A_TOKEN = 4
"""Of a prompt whose tokens nobody counted: English, roughly."""
Over = Callable[[Call], None]
"""Called once, with the call complete, before its last bytes leave: whoever has seen an answer's
end can already give feedback on it."""

_LOST = (ConnectionBroken, TimeoutError, OSError)


async def whole(
    call: Call,
    reached: Reached,
    send: Send,
    over: Over,
    settings: RouterSettings,
    request: Request,
) -> None:
    """Raises EngineFailed and EngineUnavailable, before anything was sent."""
    try:
        data = await reached.response.read()
    except _LOST:
        call.status = EngineFailed.status  # for the breaker; what the client gets can be retried
        raise _lost(settings) from None
    body, call.outcome = request.kind.whole(data, reached.names)
    call.status = 200
    if request.kind.says:
        call.keep(body, settings.text_room(call.tenant))
    over(call)
    await send_whole(send, 200, body, [JSON, *call.headers()])


async def stream(
    call: Call,
    reached: Reached,
    send: Send,
    over: Over,
    settings: RouterSettings,
    request: Request,
) -> None:
    """Raises EngineFailed and EngineUnavailable, only before anything was sent. However it ends
    after that, `call.outcome` has what is known of its tokens."""
    assert request.kind.relay is not None
    relay = request.kind.relay(reached.names, request.wants_usage, request.tokens_a_chunk)
    call.outcome = relay.outcome
    room = settings.text_room(call.tenant)
    cut: ShuttingDown | None = None
    try:
        block = await _next(reached, relay)
        if relay.broken is not None and not block:
            raise _lost(settings) if isinstance(relay.broken, StreamBroken) else relay.broken
        call.first_byte = time.monotonic()
        call.status = 200
        headers = [*_EVENTS, *call.headers()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while not relay.done and relay.broken is None:
            room = call.keep(block, room)
            await send({"type": "http.response.body", "body": block, "more_body": True})
            block = await _next(reached, relay)
        call.keep(block, room)
    except asyncio.CancelledError as error:
        if not cut_off(error) or call.first_byte is None:
            raise
        resume()
        cut, block = ShuttingDown(), b""
    finally:  # the client may have left
        if call.first_byte is not None and not relay.outcome.told:
            relay.outcome.settle(call.prompt_estimate or 1 + len(request.prompt) // _BYTES_A_TOKEN)
    broken = cut or relay.broken
    if broken is not None:
        call.status, call.code = broken.status, broken.code
        block += relay.last(broken)
    over(call)
    await send({"type": "http.response.body", "body": block})
    if relay.done and cut is None:
        await _drain(reached)


def _lost(settings: RouterSettings) -> EngineUnavailable:
    return EngineUnavailable(
        "The engine broke off before it answered. Please try again shortly.",
        retry_after_s=settings.retry_after_s,
    )


async def _next(reached: Reached, relay: Stream) -> bytes:
    """The next events for the client, or what came with the stream's end, good or bad."""
    while True:
        try:
            data = await reached.response.chunk()
        except _LOST:
            data = b""
        if not data:
            relay.broken = StreamBroken(
                "The engine's stream broke off before the answer was complete."
            )
            return b""
        block = relay.feed(data)
        if block or relay.done or relay.broken is not None:
            return block


async def _drain(reached: Reached) -> None:
    """Read the few bytes behind `[DONE]`, so that the connection can be used again."""
    response = reached.response
    if response.complete:
        return
    try:
        async with asyncio.timeout(_TAIL_S):
            while await response.chunk():
                pass
    except _LOST:
        return  # it is closed instead
