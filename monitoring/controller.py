"""The controller: reads exchanges, tests for drift, and turns evidence into decisions and jobs.

Three verbs: `startup`, `tick`, `shutdown`. It blocks (database), so an async caller runs `tick` in
a thread. What it knows it keeps in the registry: killed at any moment, it goes on where it stood,
and no retraining is asked for twice. Writes `watch`, `retrain` and `hold` receipts; the swapper
(serve/) writes those of promotion.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import structlog

from monitoring import evidence, standing
from monitoring.forgetting import Forgetting
from monitoring.metrics import JOB_STATES, Metrics
from monitoring.receipts import realised_gain, score
from monitoring.retraining import Proposal, Retraining
from monitoring.rollouts import Rollouts
from monitoring.settings import ControllerSettings
from monitoring.situation import artifact_of
from monitoring.watcher import Watcher
from registry import Registry
from registry.adapters import Adapter
from registry.decisions import Decision
from registry.tenants import Tenant

log = structlog.get_logger("switchyard.controller")


class Controller:
    """One controller for all tenants. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        registry: Registry,
        settings: ControllerSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._retraining = Retraining(registry, settings, metrics, clock=clock)
        self._rollouts = Rollouts(registry, settings, metrics, clock=clock)
        self._forgetting = Forgetting(registry, settings, clock=clock)
        self._watchers: dict[tuple[str, str], Watcher] = {}
        self._engine_starts: dict[str, float] = {}
        self._controls: dict[tuple[str, str], tuple[int, float]] = {}  # (alarms, promised) counted
        self._artifacts: dict[str, str | None] = {}  # what is wrong with a live digest
        self._share = 1.0  # of the budget of false alarms, for each adapter with a live version

    def startup(self) -> None:
        """Show the gauges before the first tick."""
        self._show_registry()
        for row in self._registry.decisions.drift_states():
            kept = row.state.get("control", {})
            if "promised" in kept:  # before the first tick, or the count would seem to jump by it
                self._count(row.tenant, row.adapter, kept["alarms"], kept["promised"])

    def tick(self) -> None:
        """Look at every adapter once. An adapter's trouble is logged and leaves the others be."""
        tenants = {tenant.name: tenant for tenant in self._registry.tenants.all()}
        adapters = self._registry.adapters.all()
        aliases = self._registry.aliases.all()
        live = {(a.tenant, a.adapter) for a in aliases if a.live is not None}
        self._share = 1 / max(len(live), 1)
        self._artifacts = {
            version.digest: artifact_of(version)
            for version in self._registry.versions.all(state="live")
        }
        unscored = {(r.tenant, r.adapter) for r in self._unscored()}
        proposals: list[Proposal] = []
        for adapter in adapters:
            try:
                scored = (adapter.tenant, adapter.name) not in unscored
                wanted = self._attend(tenants[adapter.tenant], adapter, scored)
                proposals += [wanted] if wanted is not None else []
            except Exception:
                self._skip(adapter.tenant, adapter.name)
        self._spend(proposals)
        there = {(adapter.tenant, adapter.name) for adapter in adapters}
        self._watchers = {key: w for key, w in self._watchers.items() if key in there}
        self._show_registry()
        self._show_drift()
        self._forgetting.tick()
        self._show_controls()
        self._metrics.last_tick_timestamp_seconds.set(self._clock())

    def shutdown(self, timeout: float = 10.0) -> None:
        """Nothing to wait for: every tick leaves the registry complete."""

    def _attend(self, tenant: Tenant, adapter: Adapter, scored: bool) -> Proposal | None:
        """Look at one adapter; the retraining that it wants, if nothing but the budget is in its
        way."""
        key = (adapter.tenant, adapter.name)
        watcher = self._watchers.get(key)
        if watcher is None:
            watcher = Watcher(self._registry, self._settings, *key)
            self._watchers[key] = watcher
        self._retraining.go_on(watcher)  # killed between deciding and doing
        self._rollouts.attend(tenant, adapter)
        if not scored:  # before anything is proposed: a failure, and its corrections, count in that
            self._score_receipts(*key)
        if watcher.follow(self._registry.aliases.of_adapter(*key)):
            log.info("new drift reference", tenant=key[0], adapter=key[1], epoch=watcher.epoch)
        watcher.read(self._settings.read_limit, self._share)
        if watcher.live is None:
            return None
        watcher.artifact = self._artifacts.get(watcher.live)
        if watcher.crossed and not watcher.memory.get("watched"):
            watcher.memory["watched"] = True
            self._retraining.record(watcher, "watch", "drift-crossed-threshold")
        since = watcher.pipeline_at
        if since is not None and self._clock() - since >= self._settings.pipeline_patience_s:
            reason = f"it stayed so since {since:.0f}: from now on it is the usual one"
            with self._registry.whole():
                self._retraining.record(watcher, "watch", "pipeline-accepted", {"reason": reason})
                watcher.begin()
                watcher.save()
        return self._retraining.propose(tenant, adapter, watcher)

    def _spend(self, proposals: list[Proposal]) -> None:
        """Begin the retrainings that are worth most, as many as the budget has room for."""
        active = self._registry.jobs.all(active=True)
        room = self._settings.jobs_at_once - sum(job.trigger == "controller" for job in active)
        for proposal in sorted(proposals, key=lambda p: -p.worth):
            watcher = proposal.watcher
            try:
                if room > 0:
                    self._retraining.go(proposal)
                    room -= 1
                else:
                    most = self._settings.jobs_at_once
                    self._retraining.hold(
                        watcher, "budget", f"{most} retrainings are under way, and that is the most"
                    )
            except Exception:
                self._skip(watcher.tenant, watcher.adapter)

    def _skip(self, tenant: str, adapter: str) -> None:
        """Until the next tick, and then from what the registry holds: what was not kept is not
        known."""
        self._watchers.pop((tenant, adapter), None)
        self._metrics.tick_errors_total.inc()
        log.exception("adapter skipped", tenant=tenant, adapter=adapter)

    def _unscored(self, tenant: str | None = None, adapter: str | None = None) -> list[Decision]:
        receipts = self._registry.decisions.all(tenant, adapter, "retrain")
        return [receipt for receipt in receipts if receipt.realised is None]

    def _score_receipts(self, tenant: str, adapter: str) -> None:
        for receipt in self._unscored(tenant, adapter):
            realised = realised_gain(self._registry, receipt)
            if realised is not None:
                score(self._registry, receipt, realised)

    def _show_registry(self) -> None:
        """Gauges that say what the registry holds."""
        registry, metrics = self._registry, self._metrics
        metrics.know_tenants(tenant.name for tenant in registry.tenants.all())
        standing.show(registry, metrics, self._clock())
        states = Counter(job.state for job in registry.jobs.all())
        for state in JOB_STATES:
            metrics.jobs.labels(state).set(states[state])
        ready = {engine.id for engine in registry.engines.ready()}
        engines = registry.engines.all()
        for engine in engines:
            metrics.engine_up.labels(engine.id).set(engine.id in ready)
            if self._engine_starts.get(engine.id, engine.started_at) != engine.started_at:
                metrics.engine_restarts_total.inc()
        for gone in self._engine_starts.keys() - {engine.id for engine in engines}:
            metrics.engine_up.forget(engine=gone)
            metrics.loop.forget_engine(gone)
        self._engine_starts = {engine.id: engine.started_at for engine in engines}

    def _show_drift(self) -> None:
        """By tenant, the worst of its adapters: a series for each adapter would be too many."""
        worst: dict[str, Watcher] = {}
        changed: dict[str, bool] = {}
        down: dict[str, bool] = {}
        pending: Counter[str] = Counter()
        for watcher in self._watchers.values():
            pending[watcher.tenant] += len(
                self._registry.exchanges.corrections(watcher.tenant, watcher.adapter)
            )
            if watcher.live is None:
                continue
            tenant = watcher.tenant
            changed[tenant] = changed.get(tenant, False) or watcher.integrity.changed
            down[tenant] = down.get(tenant, False) or watcher.worse is not None
            other = worst.get(watcher.tenant)
            if other is None or _rank(watcher) > _rank(other):
                worst[watcher.tenant] = watcher
        for tenant, watcher in worst.items():
            detector = watcher.detector
            self._metrics.drift_statistic.labels(tenant).set(detector.statistic)
            self._metrics.drift_threshold.labels(tenant).set(detector.threshold)
            self._metrics.drift_active.labels(tenant).set(watcher.drifted)
            self._metrics.pipeline_changed.labels(tenant).set(changed[tenant])
            self._metrics.quality_down.labels(tenant).set(down[tenant])
            self._metrics.drift_reference_prompts.labels(tenant).set(detector.reference_size)
        evidence.show(self._metrics, self._watchers.values())
        for tenant, count in pending.items():
            self._metrics.corrections_pending.labels(tenant).set(count)

    def _show_controls(self) -> None:
        """What the streams without drift did since the last tick."""
        for key, watcher in self._watchers.items():
            self._count(*key, watcher.control.alarms, watcher.control.promised)

    def _count(self, tenant: str, adapter: str, alarms: int, promised: float) -> None:
        before = self._controls.get((tenant, adapter), (0, 0.0))
        self._metrics.drift_control_alarms_total.inc(max(alarms - before[0], 0))
        self._metrics.drift_control_promised_total.inc(max(promised - before[1], 0.0))
        self._controls[tenant, adapter] = alarms, promised


def _rank(watcher: Watcher) -> tuple[bool, float]:
    return watcher.drifted, watcher.detector.statistic
