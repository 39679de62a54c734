"""Completions: the lean ASGI endpoint behind `/v1/chat/completions` and `/v1/completions`.

Key → tenant → target (once) → engine → answer. No framework code runs for such a request: at
thousands a second, FastAPI's own share would be most of its cost (docs/adr/004).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from starlette.types import Message, Receive, Scope, Send

from monitoring.labels import NOBODY
from monitoring.metrics import Metrics
from router import relay
from router.body import parse
from router.call import CLIENT_LEFT, Call
from router.errors import ApiError, InternalError
from router.http import ClientLeft, Watch, header, new_id, read_body, send_error
from router.keys import authenticate
from router.reach import Reach
from router.recorder import Recorder
from router.select import select
from router.settings import RouterSettings
from router.traces import trace

_access = structlog.get_logger("router.access")
_log = structlog.get_logger("router.completions")


@dataclass(frozen=True)
class Kind:
    """What tells the two endpoints apart."""

    path: str
    prompt_field: str
    id_prefix: str


CHAT = Kind("/v1/chat/completions", "messages", "chatcmpl-")
TEXT = Kind("/v1/completions", "prompt", "cmpl-")


@dataclass
class Completions:
    """An ASGI callable. `clock` gives seconds since the epoch."""

    kind: Kind
    settings: RouterSettings
    reach: Reach
    recorder: Recorder
    metrics: Metrics
    clock: Callable[[], float] = time.time

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_id()
        call = Call(request_id, self.kind.id_prefix + request_id, time.monotonic(), self.clock())
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        watch: Watch | None = None
        try:
            tenant = authenticate(
                header(scope, b"authorization"), self.reach.snapshots.view.snapshot, call.created_at
            )
            call.tenant = tenant
            self.metrics.in_flight.labels(tenant.name).inc()
            raw = await read_body(scope, receive, self.settings.max_body_bytes)
            request = parse(raw, self.kind.prompt_field)
            call.messages = request.messages
            target = call.target = select(tenant, request.model, self.reach.snapshots.view)
            watch = Watch(receive, self.settings.watch_after_s)
            reached = await self.reach.open(
                tenant, target, request, self.kind.path, call.id, call.completion_id
            )
            try:
                call.engine, call.version = reached.engine, reached.version
                call.fallback = reached.fallback
                if request.stream:
                    await relay.stream(
                        call,
                        reached,
                        noting_send,
                        self._over,
                        self.settings,
                        show_usage=request.wants_usage,
                    )
                else:
                    await relay.whole(call, reached, noting_send, self._over, self.settings)
            finally:
                self.reach.release(reached)
        except ApiError as error:
            call.status, call.code = error.status, error.code
            self._over(call)
            await send_error(send, error, call.headers())
        except ClientLeft:
            call.status = CLIENT_LEFT
        except asyncio.CancelledError:
            call.status = CLIENT_LEFT
            if watch is None or not watch.left:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        except Exception as error:  # the edge: a bug of ours must not show its insides
            _log.error("request failed", request=call.id, traceback=trace(error))
            internal = InternalError()
            call.status, call.code = internal.status, internal.code
            self._over(call)
            if not started:
                await send_error(send, internal, call.headers())
            else:
                raise ConnectionAbortedError(call.id) from error
        finally:
            if watch is not None:
                watch.stop()
            self._over(call)

    def _over(self, call: Call) -> None:
        """Account for a call, once."""
        if call.over:
            return
        call.over = True
        now = time.monotonic()
        tenant = NOBODY if call.tenant is None else call.tenant.name
        metrics = self.metrics
        metrics.requests_total.labels(tenant, call.served, call.status).inc()
        if call.tenant is not None:
            metrics.in_flight.labels(tenant).dec()
            metrics.request_duration_seconds.labels(tenant).observe(now - call.started)
        if call.code is not None or call.status >= 400:
            metrics.errors_total.labels(tenant, call.code or str(call.status)).inc()
        if call.engine is not None:
            if call.first_byte is not None:
                metrics.time_to_first_token_seconds.labels(tenant).observe(
                    call.first_byte - call.started
                )
            metrics.tokens_total.labels(tenant, "prompt").inc(call.outcome.prompt_tokens)
            metrics.tokens_total.labels(tenant, "completion").inc(call.outcome.completion_tokens)
            if call.fallback:
                metrics.fallbacks_total.labels(tenant, call.fallback).inc()
            record = call.record(now)
            if record is not None:
                self.recorder.offer(record)
        if self.settings.access_log:
            _access.info(
                "request",
                request=call.id,
                tenant=tenant,
                asked=call.target.asked if call.target else None,
                version=call.served_name if call.engine else None,
                engine=call.engine.id if call.engine else None,
                fallback=call.fallback or None,
                status=call.status,
                code=call.code,
                ms=round((now - call.started) * 1000, 2),
            )
