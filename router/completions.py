"""Completions: the lean ASGI endpoint behind everything that an engine answers (router/kinds.py).

Key → tenant → target (once) → engine → answer. No framework code runs for such a request: at
thousands a second, FastAPI's own share would be most of its cost (docs/adr/004).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from starlette.types import Message, Receive, Scope, Send

from monitoring.labels import NOBODY
from registry.tenants import Tenant
from router import conversation, relay
from router.access import AccessLog
from router.admission import Admission
from router.body import Request, parse
from router.call import CLIENT_LEFT, Call
from router.errors import (
    ApiError,
    EngineFailed,
    InternalError,
    InvalidRequest,
    RateLimited,
    ShuttingDown,
)
from router.estimate import Estimator, weigh
from router.http import (
    ClientLeft,
    Watch,
    client_of,
    cut_off,
    header,
    new_id,
    read_body,
    refuse_packed,
    resume,
    send_error,
)
from router.keys import authenticate
from router.kinds import EMBEDDINGS, Kind
from router.limits import Limits
from router.reach import Reach
from router.recorder import Recorder
from router.select import Target, select
from router.settings import RouterSettings
from router.shadow import Shadows
from router.telemetry import Telemetry
from router.traces import trace

_log = structlog.get_logger("router.completions")


@dataclass
class Completions:
    """An ASGI callable. `clock` gives seconds since the epoch."""

    kind: Kind
    settings: RouterSettings
    reach: Reach
    recorder: Recorder
    limits: Limits
    shadows: Shadows
    clock: Callable[[], float] = time.time
    estimator: Estimator = field(default_factory=Estimator)
    """Each endpoint's own: what one takes says little of another."""
    telemetry: Telemetry | None = None
    access: AccessLog | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = new_id()
        call = Call(request_id, self.kind.id_prefix + request_id, time.monotonic(), self.clock())
        started = False
        if self.telemetry is not None:
            call.trace = self.telemetry.begin(header(scope, b"traceparent"))
            call.upstream_headers += call.trace.line()

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        watch: Watch | None = None
        try:
            snapshots = self.reach.snapshots
            tenant = authenticate(header(scope, b"authorization"), snapshots.view, call.created_at)
            call.tenant = tenant
            snapshots.meters(tenant.name).in_flight.inc()
            raw = await read_body(scope, receive, self.settings.max_body_bytes)
            try:
                request = parse(raw, self.kind, self.settings)
            except InvalidRequest:
                refuse_packed(scope)  # not looked for with a body that reads well
                raise
            call.messages, call.client = request.messages, client_of(scope)
            target = call.target = select(tenant, request.model, snapshots.view)
            await self._admit(call, tenant, raw, request)
            self._find_out(call, target, request, scope)
            watch = Watch(receive, self.settings.watch_after_s)
            reached = await self.reach.open(call, request)
            try:
                call.engine, call.version = reached.engine, reached.version
                self.recorder.writing[call.completion_id] = tenant.name
                call.fallback = reached.fallback
                if target.shadow is not None:
                    self.shadows.offer(call, request, target)
                answer = relay.stream if request.stream else relay.whole
                await answer(call, reached, noting_send, self._over, self.settings, request)
            except EngineFailed as error:
                call.status = error.status  # `release` tells the engine's breaker
                raise
            finally:
                self.reach.release(reached, call)
        except ApiError as error:
            call.status, call.code = error.status, error.code
            if call.admission is not None and isinstance(error, RateLimited) and call.tenant:
                snapshots.meters(call.tenant.name).crowded()
            self._over(call)
            await send_error(send, error, call.headers())
        except ClientLeft:
            call.status = CLIENT_LEFT
        except asyncio.CancelledError as error:
            call.status = CLIENT_LEFT
            if cut_off(error) and not started:
                resume()
                ending = ShuttingDown(retry_after_s=self.settings.retry_after_s)
                call.status, call.code = ending.status, ending.code
                self._over(call)
                await send_error(send, ending, call.headers())
            elif watch is None or not watch.left:
                raise
            else:
                resume()
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

    async def _admit(self, call: Call, tenant: Tenant, raw: bytes, request: Request) -> None:
        """Within its limits, by what it may take? Raises RateLimited."""
        call.weight = weigh(raw)
        prompt, completion = self.estimator.estimate(tenant.name, call.weight, request.fields)
        call.prompt_estimate = prompt
        call.completion_estimate = 0 if self.kind is EMBEDDINGS else completion
        call.admission = await self.limits.admit(tenant, prompt + call.completion_estimate)
        call.limits = call.admission.headers

    def _settle(self, call: Call, admission: Admission) -> None:
        """What it really took; 0 where no engine began, or one failed without having said more."""
        outcome = call.outcome
        tokens = outcome.prompt_tokens + outcome.completion_tokens
        unknown = not tokens and call.sent and call.status == CLIENT_LEFT
        self.limits.settle(admission, None if unknown else tokens)
        if outcome.told:
            self.estimator.learn(
                admission.tenant, call.weight, outcome.prompt_tokens, outcome.completion_tokens
            )

    def _find_out(self, call: Call, target: Target, request: Request, scope: Scope) -> None:
        """What choosing a version and a replica goes by, as far as this request needs it."""
        said = header(scope, conversation.HEADER)
        if target.canary is not None or target.shadow is not None or target.control:
            assert target.alias is not None
            call.key = conversation.key(request.fields, said, target.alias.sticky, call.id)
        if len(self.reach.snapshots.view.ready) > 1:
            call.replica_key = conversation.rough(request.fields, said)
        # The SDK says how long it waits for bytes: nobody is there any more after that.
        patience = header(scope, b"x-stainless-read-timeout")
        if patience is not None and patience.isdigit():
            call.patience_s = max(1.0, float(patience))

    def _over(self, call: Call) -> None:
        """Account for a call, once."""
        if call.ended:
            return
        call.ended = time.monotonic()
        tenant = NOBODY if call.tenant is None else call.tenant.name
        meters = self.reach.snapshots.meters(tenant)
        if call.tenant is not None:  # first what would be held for ever if the rest failed
            meters.in_flight.dec()
            if call.admission is not None:
                self._settle(call, call.admission)
            if call.engine is not None:
                del self.recorder.writing[call.completion_id]
                self.recorder.offer(call)
        meters.count(call)
        if self.telemetry is not None:
            self.telemetry.offer(call, self.kind.path)
        if self.access is not None:
            self.access.note(call)
