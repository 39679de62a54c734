"""Reaching an engine: attempts in the policy's order, each on the replicas that may serve it.

Ends with an engine's open 200 response, or with the error that the client gets. Nothing has been
sent to the client before that, so everything here may be tried again elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from registry.exchanges import CONTROL
from registry.versions import Version
from router import fallback
from router.answer import Names, engine_error
from router.body import Request, for_engine
from router.call import Call
from router.connection import ConnectionBroken
from router.errors import (
    ApiError,
    EngineFailed,
    EngineOverloaded,
    EngineRefusedRequest,
    EngineUnavailable,
    RateLimited,
    VersionUnavailable,
)
from router.refusals import blames_request, refuse
from router.replicas import Replicas
from router.select import CANARY, LIVE, Target, choose, select
from router.settings import RouterSettings
from router.snapshots import Snapshots
from router.station import Crowded, EngineGone, Station, WaitedTooLong, weighted
from router.tickets import Ticket
from router.upstream import EngineUnreachable, Exchange, Upstream
from router.view import Replica

_log = structlog.get_logger("router.reach")
_WAIT_STEP_S = 0.05
_CANT_LOAD = b"was found but could not be loaded"  # vLLM 0.32 says this with status 400
_NOBODY = "No engine is available at the moment. Please try again shortly."


@dataclass(frozen=True, slots=True)
class Reached:
    """An engine that is answering. `Reach.release` must follow."""

    station: Station
    ticket: Ticket
    response: Exchange
    version: Version | None
    names: Names
    fallback: str

    @property
    def engine(self) -> Replica:
        """Which."""
        return self.station.engine


class _Unserved(Exception):
    """No replica could serve this attempt, though at least one could be reached."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


@dataclass
class Reach:
    """The edge between a decision and an engine."""

    settings: RouterSettings
    snapshots: Snapshots
    replicas: Replicas
    upstream: Upstream

    async def open(self, call: Call, request: Request) -> Reached:
        """Raises ApiError."""
        target = call.target
        assert target is not None and call.tenant is not None
        self.replicas.retries.earn()
        deadline = time.monotonic() + target.wait_ms / 1000
        while True:
            try:
                return await self._in_order(call, target, request)
            except (EngineUnavailable, VersionUnavailable):
                left = deadline - time.monotonic()
                if not fallback.waits(target) or left <= 0:
                    raise
            await self.snapshots.changed(min(left, _WAIT_STEP_S))
            if target.version is None:  # nothing was live when it came: what is now will do
                target = call.target = select(call.tenant, target.asked, self.snapshots.view)

    def release(self, reached: Reached, call: Call) -> None:
        """The exchange is over; a connection with an unread rest is closed, not reused."""
        reached.response.close()
        outcome = call.outcome
        cost = weighted(outcome.prompt_tokens, outcome.completion_tokens)
        if not cost:  # nothing is known of what the engine did, but it had begun
            cost = reached.ticket.cost
        now = time.monotonic()
        reached.station.leave(reached.ticket, now, cost, outcome.completion_tokens)
        if call.status == EngineFailed.status:
            self.replicas.failed(reached.station, now, unreachable=False)

    async def _in_order(self, call: Call, target: Target, request: Request) -> Reached:
        version, call.role = choose(target, call.key)
        if call.role == CONTROL:
            try:
                return await self._on_replicas(call, target, request, None, "")
            except (_Unserved, EngineFailed, EngineUnavailable):
                version, call.role = target.version, LIVE  # whom the client asked for: no fallback
        reason, retry_after_s = "", None
        if target.version is None and not target.wants_base:
            reason = fallback.NO_LIVE_VERSION
        for attempt in fallback.attempts(target, version):
            try:
                return await self._on_replicas(
                    call, target, request, attempt.version, reason if attempt.fallback else ""
                )
            except _Unserved as unserved:
                if call.role == CANARY:  # what answers from now on is not the canary
                    call.role, reason = LIVE, fallback.CANARY_UNAVAILABLE
                elif reason in ("", fallback.CANARY_UNAVAILABLE):
                    reason = unserved.reason
                retry_after_s = unserved.retry_after_s or retry_after_s
        raise self._not_served(target, reason, retry_after_s)

    async def _on_replicas(
        self, call: Call, target: Target, request: Request, version: Version | None, why: str
    ) -> Reached:
        """Ask one replica after the other. Raises _Unserved, ApiError."""
        without: set[str] = set()
        reason = fallback.VERSION_UNAVAILABLE
        digest = version.digest if version else None
        while True:
            view, now = self.snapshots.view, time.monotonic()
            station = self.replicas.choose(
                view, now, base=target.base, digest=digest, without=without, key=call.replica_key
            )
            if station is None:
                if self.replicas.reachable(view, now, target.base):
                    raise _Unserved(reason)
                raise EngineUnavailable(_NOBODY, retry_after_s=self.settings.retry_after_s)
            if without and not self.replicas.retries.take(now):
                raise EngineUnavailable(_NOBODY, retry_after_s=self.settings.retry_after_s)
            ticket = await self._enter(call, station, digest, now)
            if ticket is None:
                continue
            if not station.breaker.allows(time.monotonic()):  # it broke while this one waited
                station.leave(ticket, time.monotonic(), 0.0)
                continue
            served = version.served_name if version else station.engine.base
            answer = await self._ask(call, station, ticket, request, served)
            if isinstance(answer, Exchange):
                names = Names(served, target.asked, call.completion_id)
                return Reached(station, ticket, answer, version, names, why)
            if answer is not None:
                status, data = answer
                refuse(request, target.asked, status, data)
                if version is None or not _is_the_versions(status, data):
                    raise self._translated(status, data, Names(served, target.asked, ""))
                if status >= 500:
                    reason = fallback.ENGINE_ERROR
                station.ledger.forget(version.digest)
                _log.warning(
                    "version not served", engine=station.engine.id, version=served, status=status
                )
            without.add(station.engine.id)

    async def _enter(
        self, call: Call, station: Station, digest: str | None, now: float
    ) -> Ticket | None:
        """A place in the engine; None when the engine broke meanwhile. Raises _Unserved, ApiError.

        What a request may cost is what was estimated for it when it came in.
        """
        tenant = call.tenant
        assert tenant is not None
        cost = weighted(call.prompt_estimate, call.completion_estimate)
        ticket = Ticket(tenant.name, tenant.weight, digest, cost, now)
        if digest is not None:
            self.replicas.placement.note(digest, cost)
        try:
            if station.enter(ticket, now):
                return ticket
            patience_s = call.patience_s - (now - call.started)
            await station.wait(ticket, max(0.0, min(self.settings.queue_timeout_s, patience_s)))
        except Crowded as crowded:
            if crowded.own:
                raise RateLimited(
                    "Too many of this tenant's requests are waiting for the engine.",
                    limit="queue",
                    retry_after_s=crowded.retry_after_s,
                ) from None
            raise _Unserved(fallback.DEADLINE, crowded.retry_after_s) from None
        except WaitedTooLong:
            raise _Unserved(fallback.DEADLINE, station.retry_after_s()) from None
        except EngineGone:
            return None
        finally:
            call.queued_s += time.monotonic() - now
        return ticket

    async def _ask(
        self, call: Call, station: Station, ticket: Ticket, request: Request, served: str
    ) -> Exchange | tuple[int, bytes] | None:
        """A 200 response, an error's (status, body), or None when the engine can't be reached."""
        assert call.tenant is not None
        engine, breaker = station.engine, station.breaker
        body = for_engine(request, served, call.tenant.cache_salt)
        probe = breaker.begin(time.monotonic())
        call.sent = True
        call.asked_at = time.monotonic()
        try:
            response = await self.upstream.post(
                engine, request.kind.path, body, call.id, call.upstream_headers
            )
            if response.status == 200:
                breaker.succeeded()
                return response
            try:
                data = await response.read()
            finally:
                response.close()
        except (EngineUnreachable, ConnectionBroken) as error:
            now = time.monotonic()
            _log.warning("engine unreachable", engine=engine.id, error=type(error).__name__)
            self.replicas.failed(station, now, unreachable=True)
            station.leave(ticket, now, 0.0)
            return None
        except BaseException:  # cancelled: the client left
            if probe:
                breaker.abandoned()
            station.leave(ticket, time.monotonic(), ticket.cost)
            raise
        now = time.monotonic()
        station.leave(ticket, now, 0.0)
        if response.status >= 500 and not blames_request(request, response.status):
            self.replicas.failed(station, now, unreachable=False)
        else:
            breaker.succeeded()
        return response.status, data

    def _not_served(self, target: Target, reason: str, retry_after_s: float | None) -> ApiError:
        if reason == fallback.ENGINE_ERROR:
            return EngineFailed("The engine failed while it served this model.")
        if reason == fallback.DEADLINE:
            return EngineOverloaded(
                "The engine is busy and no place came free in time. Please try again later.",
                retry_after_s=retry_after_s or self.settings.retry_after_s,
            )
        message = f"The model `{target.asked}` can't be served at the moment."
        soon = reason != fallback.NO_LIVE_VERSION
        if not soon:
            message = f"The model `{target.asked}` has no live version yet."
        return VersionUnavailable(message, retry_after_s=self.settings.retry_after_s, soon=soon)

    def _translated(self, status: int, data: bytes, names: Names) -> ApiError:
        """An engine's error as the client may see it."""
        message, param = engine_error(data, names)
        if status in (400, 413, 422):
            code = "context_length_exceeded" if "maximum context length" in message else None
            text = message or "The engine refused the request."
            return EngineRefusedRequest(status, text, param=param, code=code)
        _log.warning("engine failed", status=status)
        if status in (429, 503):
            return EngineUnavailable(
                "The engine is overloaded or not ready. Please try again shortly.",
                retry_after_s=self.settings.retry_after_s,
            )
        return EngineFailed("The engine failed to serve the request.")


def _is_the_versions(status: int, data: bytes) -> bool:
    """Whether an error means that this engine can't serve this version, whatever the request."""
    return status in (404, 500) or (status == 400 and _CANT_LOAD in data)
