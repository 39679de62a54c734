"""The swap: how a candidate gets to traffic, and why one that should not never does.

For each candidate: stage → warm on every ready engine → effect and parity check on each → certify
→ flip the aliases → drain → retire. Nothing is remembered between ticks: every tick derives what
is left to do from registry rows, so that a swapper killed at any moment goes on where it was.

The flip has an intent: the certificate says `"flip": "pending"` before the version is moved to
live, and `"done"` after. Moving candidate → live succeeds for one of two swappers only: the other
stands back. A version that is live with a pending flip for longer than GRACE_S lost its swapper:
anyone finishes it.

Trouble that may pass (no engine, no answer) is tried again; trouble in the content is a
rejection. Runs in the controller process; knows nothing about drift or training.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

from monitoring.metrics import Metrics
from monitoring.rollouts import is_staged
from registry import Registry
from registry.aliases import Alias
from registry.engines import Engine
from registry.errors import InvalidTransition, NotFound
from registry.versions import Version
from serve.certificate import Certificate
from serve.client import AdapterUnavailable, EngineClient, EngineError, EngineFault
from serve.inspection import Rejected, Transient, inspect, measure, name_refusal
from serve.recheck import Recheck
from serve.settings import SwapSettings

_log = structlog.get_logger()

GRACE_S = 10.0
RETRY_FAILED_S = 30.0

ClientFor = Callable[[Engine], EngineClient]


class Swapper:
    """`client_for` makes a client for an engine's row; tests and TLS set-ups hand in their own."""

    def __init__(
        self,
        registry: Registry,
        settings: SwapSettings,
        metrics: Metrics,
        *,
        client_for: ClientFor | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._client_for = client_for or self._client
        self._clock = clock
        self._clients: dict[tuple[str, str], EngineClient] = {}
        self._failed: dict[str, float] = {}
        """Digests that can't be brought to traffic just now, and since when."""
        self._recheck = Recheck(registry, settings, metrics, self._client_for, clock)

    async def startup(self) -> None:
        """All state is in the registry; from here on a first look that never ends shows."""
        self._metrics.last_swap_tick_timestamp_seconds.set(self._clock())

    async def shutdown(self, timeout_s: float | None = None) -> None:
        """Close connections. A swap that was cut short goes on with the next swapper."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.close()

    async def tick(self) -> None:
        """Do what the registry says is left to do. Raises only what the registry raises."""
        engines = await asyncio.to_thread(
            self._registry.engines.ready, self._settings.heartbeat_max_age_s
        )
        aliases = await asyncio.to_thread(self._registry.aliases.all)
        await self._finish_interrupted()
        await self._retire_drained(aliases)
        await self._warm_live(engines, aliases)
        trials = dict.fromkeys(d for a in aliases for d in (a.canary, a.shadow) if d)
        for digest in trials:
            await self._consider_trial(digest, engines)
        candidates = await self._candidates()
        for version in candidates:
            await self._consider(version, engines)
        await self._recheck.tick(engines, list(dict.fromkeys(a.live for a in aliases if a.live)))
        self._show(trials.keys() | {version.digest for version in candidates})

    def _show(self, waiting: set[str]) -> None:
        """How the loop itself is. `waiting`: digests on their way to traffic."""
        self._failed = {digest: at for digest, at in self._failed.items() if digest in waiting}
        since = min(self._failed.values(), default=0.0)
        self._metrics.swap_failing_timestamp_seconds.set(since)
        self._metrics.last_swap_tick_timestamp_seconds.set(self._clock())

    def _wait(self, version: Version, trouble: Transient) -> None:
        """It is tried again at the next look, for as long as it takes."""
        if version.digest not in self._failed:
            self._failed[version.digest] = self._clock()
            self._metrics.swaps_total.labels("failed").inc()
        _log.warning("swap.waits", version=version.served_name, why=str(trouble))

    # Candidates

    async def _candidates(self) -> list[Version]:
        """Oldest wish first, so that of two for one alias the later stays."""
        found = await asyncio.to_thread(
            self._registry.versions.all, state="candidate", checkpoints=True
        )
        return sorted(found, key=lambda version: (version.state_at, version.digest))

    async def _consider(self, version: Version, engines: list[Engine]) -> None:
        requested = bool(version.reasons.get("requested_by"))
        by_name = version.step is not None or bool(version.reasons.get("by_name"))
        if version.verdict != "promote" and not requested and not by_name:
            summary = version.reasons.get("summary") or f"the verdict is {version.verdict}"
            await self._reject(version, f"verdict:{version.verdict}", {"summary": summary})
            return
        tenant = await asyncio.to_thread(self._registry.tenants.get, version.tenant)
        worth = version.verdict == "promote" and version.step is None
        if (
            worth
            and not requested
            and await asyncio.to_thread(is_staged, self._registry, tenant, version)
        ):
            self._failed.pop(version.digest, None)
            return  # monitoring's rollouts bring it to traffic; it is checked as shadow or canary
        promoted = requested or (tenant.auto_promote and worth)
        if not (promoted or by_name):
            self._failed.pop(version.digest, None)  # nobody wants it there any more
            return
        if not engines:
            return
        try:
            certificates = await self._check(version, engines)
        except Rejected as refusal:
            evidence = {"summary": str(refusal), **refusal.figures}
            await self._reject(version, refusal.rule, evidence)
        except Transient as trouble:
            self._wait(version, trouble)
        else:
            if promoted:
                await self._promote(version, certificates)
            else:
                await self._hold(version, certificates)

    async def _hold(self, version: Version, certificates: dict[str, Certificate]) -> None:
        """Certify what nobody promoted, so that it answers to its own name."""
        figures = {name: c.figures() for name, c in certificates.items()}
        certificate = {"engines": figures, "passed": True, "at": self._clock()}
        await asyncio.to_thread(self._registry.versions.certify, version.digest, certificate)
        try:
            await asyncio.to_thread(self._registry.versions.move, version.digest, "held")
        except InvalidTransition:  # another swapper, or a human, was faster
            return
        self._failed.pop(version.digest, None)
        _log.info("swap.held", version=version.served_name, tenant=version.tenant,
                  verdict=version.verdict)  # fmt: skip

    async def _consider_trial(self, digest: str, engines: list[Engine]) -> None:
        """A canary or shadow meets traffic once it has passed the engine's check."""
        version = await asyncio.to_thread(self._registry.versions.get, digest)
        if version.certificate or version.state not in ("shadow", "canary"):
            self._failed.pop(digest, None)
            return
        if not engines:
            return
        try:
            certificates = await self._check(version, engines)
        except Rejected as refusal:
            evidence = {"summary": str(refusal), **refusal.figures}
            await self._reject(version, refusal.rule, evidence)
        except Transient as trouble:
            self._wait(version, trouble)
        else:
            self._failed.pop(digest, None)
            figures = {name: c.figures() for name, c in certificates.items()}
            certificate = {"engines": figures, "passed": True, "at": self._clock()}
            await asyncio.to_thread(self._registry.versions.certify, digest, certificate)

    async def _check(self, version: Version, engines: list[Engine]) -> dict[str, Certificate]:
        """{engine id: certificate}, all passed. Raises Rejected, Transient."""
        subject = await asyncio.to_thread(
            inspect, self._registry.store, version, self._settings, engines
        )
        certificates: dict[str, Certificate] = {}
        for engine in engines:
            client = self._client_for(engine)
            await self._warm(client, engine, version)
            try:
                certificate = await measure(
                    client, engine.base, version.served_name, subject, self._settings
                )
            except EngineError as error:
                if error.transient:
                    raise Transient(str(error)) from None
                raise Rejected("effect-and-parity", str(error)) from None
            except EngineFault as fault:
                raise Transient(str(fault)) from None
            self._metrics.parity_abs_logprob.labels(version.tenant).set(certificate.parity_mean)
            self._metrics.effect_abs_logprob.labels(version.tenant).set(certificate.effect_mean)
            if not certificate.passed:
                raise Rejected(
                    "effect-and-parity",
                    f"on {engine.id}: {certificate.reason}",
                    {"engine": engine.id, **certificate.figures()},
                )
            certificates[engine.id] = certificate
        return certificates

    async def _promote(self, version: Version, certificates: dict[str, Certificate]) -> None:
        """Certify, claim, flip. Another swapper that claims first makes this a no-op."""
        versions = self._registry.versions
        figures = {
            "engines": {name: c.figures() for name, c in certificates.items()},
            "passed": True,
            "at": self._clock(),
            "candidate_at": version.state_at,
        }
        current = await asyncio.to_thread(versions.get, version.digest)
        if current.state != "candidate":
            return
        await asyncio.to_thread(versions.certify, version.digest, {**figures, "flip": "pending"})
        try:
            await asyncio.to_thread(versions.move, version.digest, "live")
        except InvalidTransition:
            _log.info("swap.claimed_elsewhere", version=version.served_name)
            return
        await self._flip(version, figures)

    async def _flip(self, version: Version, figures: dict[str, Any]) -> None:
        """Point every alias of the adapter at a version that is certified and claimed."""
        seconds = max(0.0, self._clock() - float(figures["candidate_at"]))
        await asyncio.to_thread(self._flip_rows, version, figures, seconds)
        self._metrics.decisions_total.labels("promote").inc()
        self._metrics.swaps_total.labels("promoted").inc()
        self._metrics.swap_seconds.observe(seconds)
        self._failed.pop(version.digest, None)
        _log.info("swap.promoted", version=version.served_name, tenant=version.tenant,
                  seconds=round(seconds, 2))  # fmt: skip

    def _flip_rows(self, version: Version, figures: dict[str, Any], seconds: float) -> None:
        """Aliases, receipt and the end of the intent: all of them, or none."""
        aliases = self._registry.aliases
        with self._registry.whole():
            names = aliases.of_adapter(version.tenant, version.adapter) or [
                aliases.ensure(version.tenant, version.adapter, version.adapter)
            ]
            before = {alias.name: alias.live for alias in names}
            for alias in names:
                aliases.flip(version.tenant, alias.name, version.digest)
            evidence = {"seconds": round(seconds, 3), "replaced": before, **figures["engines"]}
            self._record(version, "promote", "effect-and-parity", evidence)
            self._registry.versions.certify(version.digest, {**figures, "flip": "done"})

    async def _reject(self, version: Version, rule: str, evidence: dict[str, Any]) -> None:
        try:
            await asyncio.to_thread(self._reject_rows, version, rule, evidence)
        except InvalidTransition:  # another swapper was faster
            return
        self._metrics.decisions_total.labels("reject").inc()
        self._metrics.swaps_total.labels("rejected").inc()
        self._failed.pop(version.digest, None)
        _log.warning("swap.rejected", version=version.served_name, tenant=version.tenant,
                     rule=rule, why=evidence["summary"])  # fmt: skip

    def _reject_rows(self, version: Version, rule: str, evidence: dict[str, Any]) -> None:
        """The state and its receipt: both, or neither."""
        reasons = {"rejected_because": evidence["summary"]}
        with self._registry.whole():
            self._registry.versions.move(version.digest, "rejected", reasons)
            self._record(version, "reject", rule, evidence)

    def _record(self, version: Version, kind: str, rule: str, evidence: dict[str, Any]) -> None:
        self._registry.decisions.record(
            version.tenant,
            version.adapter,
            kind,
            rule,
            by=str(version.reasons.get("requested_by") or "swapper"),
            digest=version.digest,
            job_id=version.job_id,
            evidence=evidence,
        )

    # What is live

    async def _finish_interrupted(self) -> None:
        """Flips that a killed swapper began."""
        for version in await asyncio.to_thread(self._registry.versions.all, state="live"):
            pending = version.certificate.get("flip") == "pending"
            if pending and self._clock() - version.state_at > GRACE_S:
                _log.info("swap.resumed", version=version.served_name)
                await self._flip(version, dict(version.certificate))

    async def _retire_drained(self, aliases: list[Alias]) -> None:
        """Live versions that no alias has pointed at for `drain_s` seconds."""
        pointed = {alias.live for alias in aliases}
        for version in await asyncio.to_thread(self._registry.versions.all, state="live"):
            if version.digest in pointed or version.certificate.get("flip") == "pending":
                continue
            moved = [a.updated_at for a in aliases
                     if (a.tenant, a.adapter) == (version.tenant, version.adapter)]  # fmt: skip
            if self._clock() - max([version.state_at, *moved]) < self._settings.drain_s:
                continue
            if await asyncio.to_thread(self._registry.aliases.retire, version.digest):
                _log.info("swap.retired", version=version.served_name)

    async def _warm_live(self, engines: list[Engine], aliases: list[Alias]) -> None:
        """Load what is live into engines that do not have it: they started after the swap."""
        wanted = {alias.live: None for alias in aliases if alias.live}
        wanted |= {a.previous: None for a in aliases if a.previous and a.fallback == "previous"}
        wanted |= {d: None for a in aliases for d in (a.canary, a.shadow) if d}
        if not wanted or not engines:
            return
        placed = {
            (p.engine_id, p.digest): p
            for p in await asyncio.to_thread(self._registry.engines.placements)
        }
        for engine in engines:
            for digest in wanted:
                known = placed.get((engine.id, digest))
                if known is not None and (
                    known.state == "warm" or self._clock() - known.updated_at < RETRY_FAILED_S
                ):
                    continue
                try:
                    version = await asyncio.to_thread(self._registry.versions.get, digest)
                    await self._warm(self._client_for(engine), engine, version)
                except (NotFound, Rejected, Transient) as trouble:
                    _log.warning("swap.not_warm", engine=engine.id, digest=digest[:12],
                                 why=str(trouble))  # fmt: skip

    async def _warm(self, client: EngineClient, engine: Engine, version: Version) -> None:
        """Make an engine load a version and note it. Raises Rejected, Transient."""
        try:
            load_ms = await client.warm(
                version.served_name, timeout_s=self._settings.warm_timeout_s
            )
        except AdapterUnavailable as refusal:
            reason = await asyncio.to_thread(
                name_refusal, self._registry.store, version, refusal.reason
            )
            await asyncio.to_thread(
                self._registry.engines.place, engine.id, version.digest, "failed", reason=reason
            )
            raise Rejected("engine-refused", f"{engine.id} does not load it: {reason}") from None
        except EngineFault as fault:
            raise Transient(str(fault)) from None
        await asyncio.to_thread(
            self._registry.engines.place, engine.id, version.digest, "warm", load_ms=load_ms
        )
        self._metrics.adapter_load_seconds.observe(load_ms / 1000)

    def _client(self, engine: Engine) -> EngineClient:
        key = (engine.id, engine.url)
        if key not in self._clients:
            self._clients[key] = EngineClient(
                engine.url,
                self._settings.engine_api_key,
                timeout_s=self._settings.request_timeout_s,
            )
        return self._clients[key]
