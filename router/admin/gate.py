"""The gate: what every request to the admin API passes first. Pace, key, size of the body, id.

Plain ASGI in front of FastAPI, which would read and judge a body before it asked for the key.
A request here costs about 3 ms of the process in which tenants are served, so there is a pace, for
everybody together: who comes faster waits, and is told to come back when too many wait.
Changes are logged with who is known to have made them: nobody but the key's holder, so the log has
the request's id, its path and what came of it; never a body, which may hold a secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.admin.errors import Busy, TooSlow
from router.budget import Budget
from router.errors import ApiError, InternalError, InvalidKey
from router.http import JSON, ClientLeft, header, new_id, read_body, send_error
from router.traces import trace

_log = structlog.get_logger("router.admin")

OPEN = frozenset({"/health", "/openapi.json"})
"""Paths that need no key: a probe has none, and the description is no secret."""
BODY_BYTES = 64 << 10
BODY_S = 10.0
AT_ONCE = 64
PER_SECOND, BURST = 50.0, 20.0


class Gate:
    """ASGI middleware in front of the admin application. `key` is the only one that opens it."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._key = _digest(key.encode())
        self._inside = 0
        self._pace = Budget(PER_SECOND, BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = new_id()
        status = 0

        async def with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _say(scope, request_id, status)
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", b"req_" + request_id.encode()),
                    (b"cache-control", b"no-store"),
                ]
            await send(message)

        try:
            await self._enter(scope, receive, with_id)
        except ClientLeft:
            return
        except ApiError as error:
            await send_error(with_id, error, [])
        except Exception as error:  # the edge: a bug of ours must not show its insides
            _log.error("request failed", request=request_id, traceback=trace(error))
            if not status:
                await send_error(with_id, InternalError(), [])

    async def _enter(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._inside >= AT_ONCE:
            raise Busy
        self._inside += 1
        try:
            clock = asyncio.get_running_loop().time
            while wait := self._pace.take(clock()):
                await asyncio.sleep(wait)
            if scope["path"] not in OPEN:
                self._require_key(header(scope, b"authorization"))
            body = await _body(scope, receive)
            await self._app(_as_json(scope), _replay(body, receive), send)
        finally:
            self._inside -= 1

    def _require_key(self, authorization: bytes | None) -> None:
        if authorization is None:
            raise InvalidKey(
                "You didn't provide the admin key. Send it in an Authorization header: "
                "`Authorization: Bearer SWITCHYARD_ROUTER_ADMIN_KEY`."
            )
        scheme, _, secret = authorization.partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(
            _digest(secret.strip()), self._key
        ):
            raise InvalidKey("Incorrect admin key provided.")


def _say(scope: Scope, request_id: str, status: int) -> None:
    """Log a change before it is answered: whoever has the answer finds the line."""
    if scope["method"] not in ("GET", "HEAD") or status >= 500:
        _log.info(
            "admin request",
            request=request_id,
            method=scope["method"],
            path=scope["path"][:300],
            status=status,
        )


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()  # of one length, so that comparing tells nothing of it


async def _body(scope: Scope, receive: Receive) -> bytes:
    try:
        async with asyncio.timeout(BODY_S):
            return await read_body(scope, receive, BODY_BYTES)
    except TimeoutError:
        raise TooSlow(f"The request's body did not arrive within {BODY_S:g} s.") from None


def _as_json(scope: Scope) -> Scope:
    """Every body is read as JSON, whatever its sender calls it: curl says "form" of its own."""
    headers = [pair for pair in scope["headers"] if pair[0] != b"content-type"]
    return {**scope, "headers": [*headers, JSON]}


def _replay(body: bytes, receive: Receive) -> Receive:
    message: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replayed() -> Message:
        nonlocal message
        if message is None:
            return await receive()
        first, message = message, None
        return first

    return replayed
