"""The controller: reads exchanges, tests for drift, and turns evidence into decisions and jobs.

Three verbs: `startup`, `tick`, `shutdown`. It blocks (database), so an async caller runs `tick` in
a thread. What it knows it keeps in the registry: killed at any moment, it goes on where it stood,
and no retraining is asked for twice. Writes `watch`, `retrain` and `hold` receipts; the swapper
(serve/) writes those of promotion.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable

import structlog

from monitoring import evidence, standing
from monitoring.forgetting import Forgetting
from monitoring.labels import OTHER
from monitoring.metrics import JOB_STATES, Metrics
from monitoring.receipts import realised_gain, score
from monitoring.rest import Rest
from monitoring.retraining import Proposal, Retraining
from monitoring.rollouts import Rollouts
from monitoring.settings import ControllerSettings
from monitoring.situation import artifact_of
from monitoring.watcher import Watcher
from registry import Registry
from registry.adapters import Adapter
from registry.decisions import Decision
from registry.rooms import CONTROLLER
from registry.tenants import Tenant

log = structlog.get_logger("switchyard.controller")
_WEEK_S = 7 * 86_400.0


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
        self._rest = Rest(registry)
        self._watchers: dict[tuple[str, str], Watcher] = {}
        self._born: dict[tuple[str, str], float] = {}  # when each adapter was made
        self._engine_starts: dict[str, float] = {}
        self._controls: dict[tuple[str, str], tuple[int, float]] = {}
        """(alarms, promised) of each adapter's stream without drift that are counted."""
        self._artifacts: dict[str, tuple[str | None, float | None]] = {}
        """What is wrong with a live digest, and when it was asked."""
        self._share = 1.0  # of the budget of false alarms, for each adapter with a live version

    def startup(self) -> None:
        """Say what is decided by, and show the gauges before the first tick; one that never ends
        shows, too."""
        self._metrics.last_tick_timestamp_seconds.set(self._clock())
        self._registry.rooms.start(CONTROLLER, self._settings.json(), at=self._clock())
        self._show_registry()

    def tick(self) -> None:
        """Look at every adapter once. An adapter's trouble is logged and leaves the others be."""
        tenants = {tenant.name: tenant for tenant in self._registry.tenants.all()}
        adapters = self._registry.adapters.all()
        self._forget_gone(adapters)
        aliases = self._registry.aliases.all()
        live = {(a.tenant, a.adapter) for a in aliases if a.live is not None}
        self._share = 1 / max(len(live), 1)
        versions = self._registry.news.versions()
        self._artifacts = {
            v.digest: (artifact_of(v.again), (v.again or {}).get("at"))
            for v in versions
            if v.state == "live"
        }
        self._rest.read(adapters, aliases, versions)
        unscored: dict[tuple[str, str], list[Decision]] = {}
        for receipt in self._registry.news.unscored():
            unscored.setdefault((receipt.tenant, receipt.adapter), []).append(receipt)
        proposals: list[Proposal] = []
        now = self._clock()
        for adapter in adapters:
            names = (adapter.tenant, adapter.name)
            open_ = unscored.get(names, [])
            if not open_ and not self._is_planned(names) and self._rest.has(names, now):
                continue
            try:
                wanted = self._attend(tenants[adapter.tenant], adapter, open_)
                proposals += [wanted] if wanted is not None else []
                self._settle(adapter)
            except Exception:
                self._skip(adapter.tenant, adapter.name)
        self._spend(proposals)
        self._show_registry()
        self._show_drift()
        self._forgetting.tick()
        self._show_controls()
        self._metrics.last_tick_timestamp_seconds.set(self._clock())

    def shutdown(self, timeout: float = 10.0) -> None:
        """Nothing to wait for: every tick leaves the registry complete."""

    def _attend(
        self, tenant: Tenant, adapter: Adapter, unscored: Iterable[Decision]
    ) -> Proposal | None:
        """Look at one adapter; the retraining that it wants, if nothing but the budget is in its
        way. `unscored`: its receipts of which it is not known yet what came of them."""
        key = (adapter.tenant, adapter.name)
        watcher = self._watchers.get(key)
        if watcher is None:
            watcher = Watcher(self._registry, self._settings, *key)
            self._watchers[key] = watcher
            # What a process before this one counted is not counted again.
            kept = watcher.control.alarms, watcher.control.promised
            self._controls.setdefault(key, kept)
        self._retraining.go_on(watcher)  # killed between deciding and doing
        self._follow(watcher)
        self._check(watcher)
        watcher.read(self._settings.read_limit, self._share)
        self._rollouts.attend(tenant, adapter, watcher.broken)
        self._score(unscored)  # before anything is proposed: failures and their corrections count
        self._follow(watcher)
        if watcher.live is None:
            return None
        if watcher.crossed and not watcher.memory.get("watched"):
            watcher.memory["watched"] = True
            self._retraining.record(watcher, "watch", "drift-crossed-threshold")
        wish = watcher.wished()
        if wish is not None:
            with self._registry.whole():
                watcher.memory["accepted"] = wish.id
                reason = f"{wish.by} asked for it"
                self._retraining.record(watcher, "watch", "accepted", {"reason": reason})
                watcher.begin()
                watcher.save()
        since = watcher.pipeline_at
        if since is not None and self._clock() - since >= self._settings.pipeline_patience_s:
            reason = f"it stayed so since {since:.0f}: from now on it is the usual one"
            with self._registry.whole():
                self._retraining.record(watcher, "watch", "pipeline-accepted", {"reason": reason})
                watcher.begin()
                watcher.save()
        return self._retraining.propose(tenant, adapter, watcher)

    def _forget_gone(self, adapters: Iterable[Adapter]) -> None:
        """Nothing of what was deleted is known any more, least of all to another of its name."""
        born = {(adapter.tenant, adapter.name): adapter.created_at for adapter in adapters}
        for names, at in self._born.items():
            if born.get(names) != at:
                self._watchers.pop(names, None)
                self._controls.pop(names, None)
                self._rest.wake(names)
                # A look that was under way may have saved the old one's under the new one's name.
                self._registry.decisions.forget_drift_state(*names)
        self._born = born

    def _is_planned(self, names: tuple[str, str]) -> bool:
        """Whether something was written down for it that is not carried out yet."""
        watcher = self._watchers.get(names)
        return watcher is not None and not watcher.memory.keys().isdisjoint(("back", "pending"))

    def _settle(self, adapter: Adapter) -> None:
        """Let an adapter rest of which nothing can come before something new does."""
        watcher = self._watchers[adapter.tenant, adapter.name]
        if watcher.live is not None and self._retraining.anything(adapter, watcher):
            return
        age_s, since = self._settings.retrain_age_s, watcher.memory.get("since")
        until = float(since) + age_s if age_s and since is not None else math.inf
        names = (adapter.tenant, adapter.name)
        self._rest.settle(names, watcher.cursor, watcher.memory, until)

    def _follow(self, watcher: Watcher) -> None:
        names = (watcher.tenant, watcher.adapter)
        if watcher.follow(self._registry.aliases.of_adapter(*names)):
            self._check(watcher)
            log.info("new drift reference", tenant=names[0], adapter=names[1], epoch=watcher.epoch)

    def _check(self, watcher: Watcher) -> None:
        watcher.check(*self._artifacts.get(watcher.live or "", (None, None)))

    def _spend(self, proposals: list[Proposal]) -> None:
        """Begin the retrainings that are worth most, as many as the budget has room for."""
        if not proposals:
            return
        active = self._registry.jobs.all(active=True)
        room = self._settings.jobs_at_once - sum(job.trigger == "controller" for job in active)
        spent = self._spent()
        most = self._settings.jobs_at_once
        full = f"{most} retrainings are under way, and that is the most"
        if spent is None and 0 < room < len(proposals):  # else their order says nothing
            proposals = self._ranked(proposals)
        for proposal in proposals:
            watcher = proposal.watcher
            try:
                if spent is not None or room <= 0:
                    self._retraining.hold(watcher, "budget", spent or full)
                elif self._retraining.go(proposal):
                    room -= 1
            except Exception:
                self._skip(watcher.tenant, watcher.adapter)

    def _ranked(self, proposals: list[Proposal]) -> list[Proposal]:
        """Those that are worth most first."""
        found: list[tuple[float, Proposal]] = []
        for proposal in proposals:
            try:
                found.append((self._retraining.worth(proposal), proposal))
            except Exception:
                self._skip(proposal.watcher.tenant, proposal.watcher.adapter)
        return [proposal for _, proposal in sorted(found, key=lambda one: -one[0])]

    def _spent(self) -> str | None:
        """Why the week's hours of training are used up; None while some are left."""
        most, now = self._settings.train_hours_per_week, self._clock()
        if most == 0:
            return None
        hours = self._registry.news.trained_s(now - _WEEK_S, now) / 3600
        if hours < most:
            return None
        return f"retrainings took {hours:.1f} hours in seven days, and {most:g} are the most"

    def _skip(self, tenant: str, adapter: str) -> None:
        """Until the next tick, and then from what the registry holds: what was not kept is not
        known."""
        self._watchers.pop((tenant, adapter), None)
        self._rest.wake((tenant, adapter))
        self._metrics.tick_errors_total.inc()
        log.exception("adapter skipped", tenant=tenant, adapter=adapter)

    def _score(self, receipts: Iterable[Decision]) -> None:
        for receipt in receipts:
            realised = realised_gain(self._registry, receipt)
            if realised is not None:
                score(self._registry, receipt, realised)

    def _show_registry(self) -> None:
        """Gauges that say what the registry holds."""
        registry, metrics = self._registry, self._metrics
        metrics.know_tenants(tenant.name for tenant in registry.tenants.all())
        standing.show(registry, metrics, self._clock())
        states = registry.news.jobs()
        for state in JOB_STATES:
            metrics.jobs.labels(state).set(states.get(state, 0))
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
        """By tenant, the worst of its adapters: a series for each adapter would be too many. Of all
        tenants that have no series of their own, the worst too."""
        metrics, shown = self._metrics, self._metrics.tenants.admit
        worst: dict[str, Watcher] = {}
        changed: dict[str, bool] = {}
        down: dict[str, bool] = {}
        pending: Counter[str] = Counter()
        waiting = self._registry.news.corrections()
        for names, watcher in self._watchers.items():
            tenant = shown(watcher.tenant)
            pending[tenant] += waiting.get(names, 0)
            if watcher.live is None:
                continue
            changed[tenant] = changed.get(tenant, False) or watcher.integrity.changed
            down[tenant] = down.get(tenant, False) or watcher.worse is not None
            other = worst.get(tenant)
            if other is None or _rank(watcher) > _rank(other):
                worst[tenant] = watcher
        for tenant, watcher in worst.items():
            detector = watcher.detector
            metrics.drift_statistic.labels(tenant).set(detector.statistic)
            metrics.drift_threshold.labels(tenant).set(detector.threshold)
            metrics.drift_active.labels(tenant).set(watcher.drifted)
            metrics.pipeline_changed.labels(tenant).set(changed[tenant])
            metrics.quality_down.labels(tenant).set(down[tenant])
            metrics.drift_reference_prompts.labels(tenant).set(detector.reference_size)
        evidence.show(metrics, self._watchers.values())
        for tenant, count in pending.items():
            metrics.corrections_pending.labels(tenant).set(count)
        if OTHER not in worst:  # none is beyond the cap any more
            for family in metrics.of_adapters:
                family.forget(tenant=OTHER)

    def _show_controls(self) -> None:
        """What the streams without drift did since the last tick."""
        for key, watcher in self._watchers.items():
            self._count(*key, watcher.control.alarms, watcher.control.promised)

    def _count(self, tenant: str, adapter: str, alarms: int, promised: float) -> None:
        before = self._controls.get((tenant, adapter), (0, 0.0))
        self._metrics.drift_control_alarms_total.inc(max(alarms - before[0], 0))
        self._metrics.drift_control_promised_total.inc(max(promised - before[1], 0.0))
        self._controls[tenant, adapter] = max(alarms, before[0]), max(promised, before[1])


def _rank(watcher: Watcher) -> tuple[bool, float]:
    return watcher.drifted, watcher.detector.statistic
