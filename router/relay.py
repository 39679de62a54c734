"""Relaying: an engine's open answer to a client, whole or as a stream.

A stream that breaks ends with an error event, never cleanly: no `[DONE]` was said that the engine
did not say. What was wrong before the first byte is a plain HTTP error instead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.types import Send

from router.answer import completion
from router.call import Call
from router.connection import ConnectionBroken
from router.errors import EngineFailed, EngineUnavailable
from router.http import JSON, send_whole
from router.reach import Reached
from router.settings import RouterSettings
from router.sse import Relay, StreamBroken

_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_TAIL_S = 1.0
Over = Callable[[Call], None]
"""Called once, with the call complete, before its last bytes leave: whoever has seen an answer's
end can already give feedback on it."""

_LOST = (ConnectionBroken, TimeoutError, OSError)


async def whole(
    call: Call, reached: Reached, send: Send, over: Over, settings: RouterSettings
) -> None:
    """Raises EngineFailed and EngineUnavailable, before anything was sent."""
    try:
        data = await reached.response.read()
    except _LOST:
        raise _lost(settings) from None
    body, call.outcome = completion(data, reached.names)
    call.status = 200
    if call.tenant is not None and call.tenant.store_text:
        call.kept.append(body)
    over(call)
    await send_whole(send, 200, body, [JSON, *call.headers()])


async def stream(
    call: Call,
    reached: Reached,
    send: Send,
    over: Over,
    settings: RouterSettings,
    *,
    show_usage: bool,
) -> None:
    """Raises EngineFailed and EngineUnavailable, only before anything was sent."""
    relay = Relay(reached.names, show_usage=show_usage)
    call.outcome = relay.outcome
    keeps = call.tenant is not None and call.tenant.store_text
    kept = settings.record_text_bytes if keeps else 0
    try:
        block = await _next(reached, relay)
    except StreamBroken:
        raise _lost(settings) from None
    call.first_byte = time.monotonic()
    call.status = 200
    await send(
        {"type": "http.response.start", "status": 200, "headers": [*_EVENTS, *call.headers()]}
    )
    try:
        while not relay.done:
            kept = _keep(call, block, kept)
            await send({"type": "http.response.body", "body": block, "more_body": True})
            block = await _next(reached, relay)
        _keep(call, block, kept)
    except EngineFailed as error:
        call.status, call.code = error.status, error.code
        block = error.event()
    over(call)
    await send({"type": "http.response.body", "body": block})
    if relay.done:
        await _drain(reached)


def _lost(settings: RouterSettings) -> EngineUnavailable:
    return EngineUnavailable(
        "The engine broke off before it answered. Please try again shortly.",
        retry_after_s=settings.retry_after_s,
    )


async def _next(reached: Reached, relay: Relay) -> bytes:
    """The next events for the client, or what came with the stream's end. Raises EngineFailed."""
    while True:
        try:
            data = await reached.response.chunk()
        except _LOST:
            data = b""
        if not data:
            raise StreamBroken("The engine's stream broke off before the answer was complete.")
        block = relay.feed(data)
        if block or relay.done:
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


def _keep(call: Call, block: bytes, room: int) -> int:
    if room > 0:
        call.kept.append(block)
    return room - len(block)
