"""The front: what every request passes first. Lean endpoints straight on, the rest to FastAPI.

The outermost ASGI callable: even an empty chain of middleware around it would cost each request.
Gives each response its `x-request-id` and turns whatever escaped an endpoint into an OpenAI error
without its insides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import InternalError, ShuttingDown
from router.http import ClientLeft, cut_off, new_id, resume, send_error
from router.traces import trace

_log = structlog.get_logger("router.front")


class Front:
    """An ASGI application. `lean` maps a path to the endpoint that answers POST there by itself."""

    def __init__(self, app: FastAPI, lean: Mapping[str, ASGIApp]) -> None:
        self._app = app
        self.state = app.state
        self._lean = lean

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        endpoint = self._lean.get(scope["path"])
        if endpoint is not None and scope["method"] == "POST":
            await endpoint(scope, receive, send)
            return
        request_id = new_id()
        header = (b"x-request-id", b"req_" + request_id.encode())
        started = False

        async def with_id(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), header]
            await send(message)

        try:
            await self._app(scope, receive, with_id)
        except ClientLeft:
            return
        except asyncio.CancelledError as error:
            if not cut_off(error) or started:
                raise
            resume()
            await send_error(send, ShuttingDown(), [header])
        except Exception as error:  # the edge: a bug of ours must not show its insides
            _log.error("request failed", request=request_id, traceback=trace(error))
            if not started:
                await send_error(send, InternalError(), [header])
