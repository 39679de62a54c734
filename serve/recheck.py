"""Canary prompts: is what is live still what it was when it was certified?

A version's probes are held-out conversations, with the log-probabilities that its trainer noted.
Every `recheck_s` seconds each engine that has it is asked about them again. The same prompts that
get other answers say that the artifact changed (the engine's base, its build, the adapter's files),
whatever tenants send meanwhile. The finding stays in the version's certificate, under `again`;
monitoring reads it there. What could not be asked says nothing.

One version at a time, the one that waited longest: an engine has better things to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from monitoring.metrics import Metrics
from registry import Registry
from registry.engines import Engine
from registry.versions import Version
from serve.client import EngineClient, EngineError, EngineFault
from serve.inspection import Rejected, Subject, Transient, inspect, measure
from serve.settings import SwapSettings

_log = structlog.get_logger()
_PATIENCE_S = 60.0
"""Before what could not be asked is asked again."""


class Recheck:
    """`client_for` gives the client of an engine's row."""

    def __init__(
        self,
        registry: Registry,
        settings: SwapSettings,
        metrics: Metrics,
        client_for: Callable[[Engine], EngineClient],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._client_for = client_for
        self._clock = clock
        self._tried: dict[str, float] = {}

    async def tick(self, engines: Sequence[Engine], live: Sequence[str]) -> None:
        """Ask about one of the `live` digests, if it is time. Raises what the registry raises."""
        version = await self._due(live)
        if version is None or not engines:
            return
        self._tried[version.digest] = self._clock()
        placed = await asyncio.to_thread(self._registry.engines.placements, version.digest)
        warm = {placement.engine_id for placement in placed if placement.state == "warm"}
        having = [engine for engine in engines if engine.id in warm]
        if not having:
            return
        try:
            found = await self._ask(version, having)
        except Transient as trouble:
            _log.warning("recheck.waits", version=version.served_name, why=str(trouble))
            return
        current = await asyncio.to_thread(self._registry.versions.get, version.digest)
        certificate = {**current.certificate, "again": {"at": self._clock(), **found}}
        await asyncio.to_thread(self._registry.versions.certify, version.digest, certificate)
        if not found["passed"]:
            _log.error("recheck.changed", version=version.served_name, tenant=version.tenant,
                       why=found["reason"])  # fmt: skip

    async def _due(self, live: Sequence[str]) -> Version | None:
        every = self._settings.recheck_s
        if every <= 0:
            return None
        now, longest = self._clock(), None
        self._tried = {digest: at for digest, at in self._tried.items() if digest in live}
        for digest in live:
            if now - self._tried.get(digest, -_PATIENCE_S) < min(every, _PATIENCE_S):
                continue
            version = await asyncio.to_thread(self._registry.versions.get, digest)
            certificate = version.certificate
            at = certificate.get("again", certificate).get("at")
            if not certificate.get("passed") or certificate.get("flip") == "pending" or at is None:
                continue  # the swap has not done with it
            if now - at >= every and (longest is None or at < longest[0]):
                longest = (at, version)
        return None if longest is None else longest[1]

    async def _ask(self, version: Version, engines: Sequence[Engine]) -> dict[str, Any]:
        """{"passed", "reason", "engines": figures by engine}. Raises Transient."""
        figures: dict[str, Any] = {}
        try:
            subject = await asyncio.to_thread(
                inspect, self._registry.store, version, self._settings, engines
            )
            reasons = [
                f"on {engine.id}: {reason}"
                for engine in engines
                if (reason := await self._one(version, engine, subject, figures))
            ]
        except Rejected as refusal:
            reasons = [str(refusal)]
        return {"passed": not reasons, "reason": "; ".join(reasons), "engines": figures}

    async def _one(
        self, version: Version, engine: Engine, subject: Subject, figures: dict[str, Any]
    ) -> str:
        """What is wrong, or nothing. Raises Transient."""
        try:
            certificate = await measure(
                self._client_for(engine), engine.base, version.served_name, subject, self._settings
            )
        except EngineError as error:
            if error.transient:
                raise Transient(str(error)) from None
            return str(error)
        except EngineFault as fault:
            raise Transient(str(fault)) from None
        self._metrics.parity_abs_logprob.labels(version.tenant).set(certificate.parity_mean)
        self._metrics.effect_abs_logprob.labels(version.tenant).set(certificate.effect_mean)
        figures[engine.id] = certificate.figures()
        return certificate.reason
