"""Reaching an engine: attempts in the policy's order, each on the replicas that may serve it.

Ends with an engine's open 200 response, or with the error that the client gets. Nothing has been
sent to the client before that, so everything here may be tried again elsewhere.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import structlog

from registry.tenants import Tenant
from registry.versions import Version
from router import fallback
from router.answer import Names, engine_error
from router.body import Request, for_engine
from router.connection import ConnectionBroken
from router.errors import (
    ApiError,
    EngineFailed,
    EngineRefusedRequest,
    EngineUnavailable,
    VersionUnavailable,
)
from router.replicas import Replicas
from router.select import Target, select
from router.settings import RouterSettings
from router.snapshots import Snapshots
from router.upstream import EngineUnreachable, Exchange, Upstream
from router.view import Replica

_log = structlog.get_logger("router.reach")
_WAIT_STEP_S = 0.05
_CANT_LOAD = "was found but could not be loaded"  # vLLM 0.32 says this with status 400


@dataclass(frozen=True, slots=True)
class Reached:
    """An engine that is answering. `release()` must follow."""

    engine: Replica
    response: Exchange
    version: Version | None
    names: Names
    fallback: str


class _Unserved(Exception):
    """No replica could serve this attempt, though at least one could be reached."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class Reach:
    """The edge between a decision and an engine."""

    settings: RouterSettings
    snapshots: Snapshots
    replicas: Replicas
    upstream: Upstream

    async def open(
        self, tenant: Tenant, target: Target, request: Request, path: str, call_id: str, shown: str
    ) -> Reached:
        """`shown` is the completion's id. Raises ApiError."""
        deadline = time.monotonic() + target.wait_ms / 1000
        while True:
            try:
                return await self._in_order(tenant, target, request, path, call_id, shown)
            except (EngineUnavailable, VersionUnavailable):
                left = deadline - time.monotonic()
                if not fallback.waits(target) or left <= 0:
                    raise
            await self.snapshots.changed(min(left, _WAIT_STEP_S))
            if target.version is None:  # nothing was live when it came: what is now will do
                target = select(tenant, target.asked, self.snapshots.view)

    def release(self, reached: Reached) -> None:
        """The exchange is over; a connection with an unread rest is closed, not reused."""
        reached.response.close()
        self.replicas.end(reached.engine)

    async def _in_order(
        self, tenant: Tenant, target: Target, request: Request, path: str, call_id: str, shown: str
    ) -> Reached:
        reason = ""
        if target.version is None and not target.wants_base:
            reason = fallback.NO_LIVE_VERSION
        for attempt in fallback.attempts(target):
            try:
                engine, response, served = await self._on_replicas(
                    attempt.version, target, tenant, request, path, call_id
                )
            except _Unserved as unserved:
                reason = reason or unserved.reason
                continue
            names = Names(served, target.asked, shown)
            return Reached(
                engine, response, attempt.version, names, reason if attempt.fallback else ""
            )
        raise self._not_served(target, reason)

    async def _on_replicas(
        self,
        version: Version | None,
        target: Target,
        tenant: Tenant,
        request: Request,
        path: str,
        call_id: str,
    ) -> tuple[Replica, Exchange, str]:
        """Ask one replica after the other. Raises _Unserved, ApiError."""
        without: set[str] = set()
        reason = fallback.VERSION_UNAVAILABLE
        digest = version.digest if version else None
        while True:
            engine = self.replicas.choose(
                self.snapshots.view,
                time.monotonic(),
                base=target.base,
                digest=digest,
                without=without,
            )
            if engine is None:
                if self.replicas.reachable(self.snapshots.view, time.monotonic(), target.base):
                    raise _Unserved(reason)
                raise EngineUnavailable(
                    "No engine is available at the moment. Please try again shortly.",
                    retry_after_s=self.settings.retry_after_s,
                )
            served = version.served_name if version else engine.base
            body = for_engine(request, served, tenant.cache_salt)
            answer = await self._ask(engine, path, body, call_id)
            if isinstance(answer, tuple):
                status, data = answer
                if version is None or not _is_the_versions(status, data):
                    raise self._translated(status, data, Names(served, target.asked, ""))
                if status >= 500:
                    reason = fallback.ENGINE_ERROR
                _log.warning("version not served", engine=engine.id, version=served, status=status)
            elif answer is not None:
                return engine, answer, served
            without.add(engine.id)

    async def _ask(
        self, engine: Replica, path: str, body: bytes, call_id: str
    ) -> Exchange | tuple[int, bytes] | None:
        """A 200 response, an error's (status, body), or None when the engine can't be reached."""
        self.replicas.begin(engine)
        try:
            response = await self.upstream.post(engine, path, body, call_id)
            if response.status == 200:
                return response
            try:
                data = await response.read()
            finally:
                response.close()
        except (EngineUnreachable, ConnectionBroken) as error:
            _log.warning("engine unreachable", engine=engine.id, error=type(error).__name__)
            self.replicas.cool(engine, time.monotonic())
            self.replicas.end(engine)
            return None
        except BaseException:  # cancelled: the client left
            self.replicas.end(engine)
            raise
        self.replicas.end(engine)
        return response.status, data

    def _not_served(self, target: Target, reason: str) -> ApiError:
        if reason == fallback.ENGINE_ERROR:
            return EngineFailed("The engine failed while it served this model.")
        message = f"The model `{target.asked}` can't be served at the moment."
        if reason == fallback.NO_LIVE_VERSION:
            message = f"The model `{target.asked}` has no live version yet."
        return VersionUnavailable(message, retry_after_s=self.settings.retry_after_s)

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
    return status in (404, 500) or (status == 400 and _CANT_LOAD.encode() in data)
