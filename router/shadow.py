"""Shadows: a share of an alias's traffic, sent to another version as well. Never answers anybody.

What the shadow version says is recorded as an exchange of its own (`role` "shadow") and otherwise
thrown away. It may not cost others anything: copies go only where seats and a slot are free and
nobody waits, few at a time, and are dropped (and counted) instead of waiting.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import structlog

from monitoring.metrics import Metrics
from router.answer import Names
from router.body import Request, for_engine
from router.call import Call
from router.connection import ConnectionBroken
from router.conversation import number
from router.errors import EngineFailed
from router.reach import Reach
from router.recorder import Recorder
from router.select import SHADOW, Target
from router.settings import RouterSettings
from router.station import Station, weighted
from router.tickets import Ticket
from router.traces import trace
from router.upstream import EngineUnreachable

_log = structlog.get_logger("router.shadow")
_ROOM = 0.5
"""A replica that is fuller than this gets no copies."""
SENT, SKIPPED, FAILED = "sent", "skipped", "failed"


class Shadows:
    """`offer` never waits; `shutdown` ends what is under way."""

    def __init__(
        self, settings: RouterSettings, reach: Reach, recorder: Recorder, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._reach = reach
        self._recorder = recorder
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    def offer(self, call: Call, request: Request, target: Target) -> None:
        """Copy a request that an engine is answering, when it is one of the share."""
        version, alias = target.shadow, target.alias
        assert version is not None and alias is not None and call.tenant is not None
        # Another number than the canary's, or only the canary's conversations would be copied.
        if number(b"shadow%d" % call.key) / 2**64 >= alias.shadow_share:
            return
        now = time.monotonic()
        station = self._reach.replicas.choose(
            self._reach.snapshots.view, now, base=target.base, digest=version.digest
        )
        if station is None or not self._has_room(station, version.digest):
            self._metrics.replicas.shadows_total.labels(SKIPPED).inc()
            return
        cost = weighted(call.prompt_estimate, call.completion_estimate)
        ticket = Ticket(call.tenant.name, call.tenant.weight, version.digest, cost, now)
        if not station.enter(ticket, now):
            station.withdraw(ticket)
            self._metrics.replicas.shadows_total.labels(SKIPPED).inc()
            return
        copy = Call(
            id=call.id,
            completion_id=f"{call.completion_id}-shadow",
            started=now,
            created_at=call.created_at,
            tenant=call.tenant,
            target=target,
            engine=station.engine,
            version=version,
            role=SHADOW,
            shadow_of=call.completion_id,
            client=call.client,
            messages=call.messages,
        )
        task = asyncio.create_task(self._copy(copy, request, station, ticket))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def shutdown(self) -> None:
        """Nobody waits for a shadow: end them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _has_room(self, station: Station, digest: str) -> bool:
        lane = station.lane
        slot = digest in lane.active or len(lane.active) < lane.slots - 1
        return (
            len(self._tasks) < self._settings.shadow_concurrent
            and not lane.queued
            and station.load < _ROOM
            and slot
        )

    async def _copy(self, call: Call, request: Request, station: Station, ticket: Ticket) -> None:
        outcome = FAILED
        try:
            outcome = await self._ask(call, request, station)
        except (EngineUnreachable, ConnectionBroken):
            pass  # counted; the requests that people wait for tell the breaker
        except Exception as error:  # the edge of a task: it must not end in silence
            _log.error("shadow failed", request=call.id, traceback=trace(error))
        finally:
            call.ended = time.monotonic()
            said = call.outcome
            cost = weighted(said.prompt_tokens, said.completion_tokens)
            station.leave(ticket, call.ended, cost)
            self._metrics.replicas.shadows_total.labels(outcome).inc()
            if outcome == SENT:
                self._recorder.offer(call)

    async def _ask(self, call: Call, request: Request, station: Station) -> str:
        assert call.tenant is not None and call.version is not None
        fields = {k: v for k, v in request.fields.items() if k not in ("stream", "stream_options")}
        whole = replace(request, fields=fields, stream=False)
        body = for_engine(whole, call.version.served_name, call.tenant.cache_salt)
        response = await self._reach.upstream.post(station.engine, request.kind.path, body, call.id)
        try:
            data = await response.read()
        finally:
            response.close()
        call.status = response.status
        if response.status != 200:
            return FAILED
        served = call.version.served_name
        try:
            answer, call.outcome = request.kind.whole(data, Names(served, served, call.id))
        except EngineFailed:
            return FAILED
        if request.kind.says:
            call.keep(answer, self._settings.text_room(call.tenant))
        return SENT
