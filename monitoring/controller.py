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
from typing import Any

import structlog

from monitoring import retrain_set
from monitoring.metrics import JOB_STATES, Metrics
from monitoring.receipts import expected_gain, realised_gain
from monitoring.ruling import Situation, rule
from monitoring.settings import ControllerSettings
from monitoring.watcher import Watcher
from registry import Registry
from registry.adapters import Adapter
from registry.tenants import Tenant

log = structlog.get_logger("switchyard.controller")

ON_ITS_WAY = ("candidate", "shadow", "canary")


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
        self._watchers: dict[tuple[str, str], Watcher] = {}
        self._engine_starts: dict[str, float] = {}
        self._controls: dict[tuple[str, str], tuple[int, float]] = {}  # (alarms, promised) counted
        self._share = 1.0  # of the budget of false alarms, for each adapter with a live version

    def startup(self) -> None:
        """Show the gauges before the first tick."""
        self._show_registry()

    def tick(self) -> None:
        """Look at every adapter once. An adapter's trouble is logged and leaves the others be."""
        tenants = {tenant.name: tenant for tenant in self._registry.tenants.all()}
        adapters = self._registry.adapters.all()
        aliases = self._registry.aliases.all()
        live = {(a.tenant, a.adapter) for a in aliases if a.live is not None}
        self._share = 1 / max(len(live), 1)
        for adapter in adapters:
            try:
                self._attend(tenants[adapter.tenant], adapter)
            except Exception:
                self._metrics.tick_errors_total.inc()
                log.exception("adapter skipped", tenant=adapter.tenant, adapter=adapter.name)
        there = {(adapter.tenant, adapter.name) for adapter in adapters}
        self._watchers = {key: w for key, w in self._watchers.items() if key in there}
        self._score_receipts()
        self._show_registry()
        self._show_drift()
        self._show_controls()
        self._metrics.last_tick_timestamp_seconds.set(self._clock())

    def shutdown(self, timeout: float = 10.0) -> None:
        """Nothing to wait for: every tick leaves the registry complete."""

    def _attend(self, tenant: Tenant, adapter: Adapter) -> None:
        key = (adapter.tenant, adapter.name)
        watcher = self._watchers.get(key)
        if watcher is None:
            watcher = Watcher(self._registry, self._settings.drift, *key)
            self._watchers[key] = watcher
        if "pending" in watcher.memory:  # killed between deciding and doing
            self._carry_out(watcher)
        if watcher.follow(self._registry.aliases.of_adapter(*key)):
            log.info("new drift reference", tenant=key[0], adapter=key[1], epoch=watcher.epoch)
        watcher.read(self._settings.read_limit, self._share)
        if watcher.live is None:
            return
        if watcher.detector.crossed_at is not None and not watcher.memory.get("watched"):
            receipts = self._registry.decisions.all(*key, kind="watch")
            if not any(receipt.evidence.get("epoch") == watcher.epoch for receipt in receipts):
                self._record(watcher, "watch", "drift-crossed-threshold")
            watcher.memory["watched"] = True
            watcher.save()
        self._decide(tenant, adapter, watcher)

    def _decide(self, tenant: Tenant, adapter: Adapter, watcher: Watcher) -> None:
        if not watcher.detector.established:
            return
        live = watcher.live
        assert live is not None
        corrections = self._registry.exchanges.corrections(watcher.tenant, watcher.adapter)
        jobs = self._registry.jobs.all(watcher.tenant, watcher.adapter, active=True)
        versions = self._registry.versions.all(watcher.tenant, watcher.adapter)
        file_id = retrain_set.training_file(self._registry, watcher.tenant, live)
        last = watcher.memory.get("last_retrain")
        ruling = rule(
            Situation(
                established=True,
                corrections=len(corrections),
                active_job=jobs[0].id if jobs else None,
                candidate=next((v.served_name for v in versions if v.state in ON_ITS_WAY), None),
                since_retrain_s=None if last is None else self._clock() - last,
                auto_retrain=tenant.auto_retrain,
                training_file=file_id is not None,
            ),
            self._settings,
        )
        old = None
        if ruling.kind == "retrain" and file_id is not None:
            old = retrain_set.old_rows(self._registry, watcher.tenant, file_id)
        if ruling.kind == "hold" or old is None:
            held = ruling.rule if ruling.kind == "hold" else "training-file-unreadable"
            if watcher.memory.get("held") != held:
                self._record(watcher, "hold", held, extra={"reason": ruling.reason})
                watcher.memory["held"] = held
                watcher.save()
            return
        made = retrain_set.build(old, corrections)
        attempt = int(watcher.memory.get("attempts", 0))
        upload = self._registry.upload(
            watcher.tenant, f"retrain-{watcher.adapter}-{watcher.epoch}.jsonl", made.data
        )
        key = f"retrain:{watcher.tenant}:{watcher.adapter}:{watcher.epoch}"
        watcher.memory["pending"] = {
            "key": key if attempt == 0 else f"{key}:{attempt + 1}",
            "file": upload,
            "spec": {**adapter.training, "parent": live, "keep_good_rows": True},
            "feedback": [row.id for row in corrections],
            "rule": ruling.rule,
            "evidence": {
                **watcher.detector.evidence(),
                "reason": ruling.reason,
                "dataset_sha256": made.digest,
                "rows": made.sources,
                "epoch": watcher.epoch,
                "attempt": attempt + 1,
            },
            "expected": expected_gain(self._registry, watcher.tenant, corrections),
            "at": self._clock(),
        }
        watcher.save()
        self._carry_out(watcher)

    def _carry_out(self, watcher: Watcher) -> None:
        """Do what was decided and written down; each step can be done again without harm."""
        plan: dict[str, Any] = watcher.memory["pending"]
        tenant, adapter = watcher.tenant, watcher.adapter
        job = self._registry.jobs.enqueue(
            tenant,
            adapter,
            plan["file"],
            spec=plan["spec"],
            trigger="controller",
            idempotency_key=plan["key"],
        )
        self._registry.exchanges.mark_used(plan["feedback"], job.id)
        receipts = self._registry.decisions.all(tenant, adapter, "retrain")
        if not any(receipt.job_id == job.id for receipt in receipts):
            self._registry.decisions.record(
                tenant,
                adapter,
                "retrain",
                plan["rule"],
                digest=plan["spec"]["parent"],
                job_id=job.id,
                evidence=plan["evidence"],
                expected=plan["expected"],
            )
            self._metrics.decisions_total.labels("retrain").inc()
        log.info("retraining", tenant=tenant, adapter=adapter, job=job.id, key=plan["key"])
        memory = {k: v for k, v in watcher.memory.items() if k not in ("pending", "held")}
        watcher.memory = {
            **memory,
            "attempts": int(memory.get("attempts", 0)) + 1,
            "last_retrain": plan["at"],
            "held": "job-active",  # that a job works now is no news: its receipt has just said so
        }
        watcher.save()

    def _record(
        self, watcher: Watcher, kind: str, rule_name: str, extra: dict[str, Any] | None = None
    ) -> None:
        self._registry.decisions.record(
            watcher.tenant,
            watcher.adapter,
            kind,
            rule_name,
            digest=watcher.live,
            evidence={**watcher.detector.evidence(), "epoch": watcher.epoch, **(extra or {})},
        )
        self._metrics.decisions_total.labels(kind).inc()
        log.info(kind, tenant=watcher.tenant, adapter=watcher.adapter, rule=rule_name)

    def _score_receipts(self) -> None:
        for receipt in self._registry.decisions.all(kind="retrain"):
            if receipt.realised is None:
                realised = realised_gain(self._registry, receipt)
                if realised is not None:
                    self._registry.decisions.realise(receipt.id, realised)

    def _show_registry(self) -> None:
        """Gauges that say what the registry holds."""
        registry, metrics = self._registry, self._metrics
        metrics.know_tenants(tenant.name for tenant in registry.tenants.all())
        served = {version.digest: version.served_name for version in registry.versions.all()}
        metrics.show_versions(
            {(a.tenant, a.name): served.get(a.live or "") for a in registry.aliases.all()}
        )
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
        self._engine_starts = {engine.id: engine.started_at for engine in engines}

    def _show_drift(self) -> None:
        """By tenant, the worst of its adapters: a series for each adapter would be too many."""
        worst: dict[str, Watcher] = {}
        pending: Counter[str] = Counter()
        for watcher in self._watchers.values():
            pending[watcher.tenant] += len(
                self._registry.exchanges.corrections(watcher.tenant, watcher.adapter)
            )
            if watcher.live is None:
                continue
            other = worst.get(watcher.tenant)
            if other is None or _rank(watcher) > _rank(other):
                worst[watcher.tenant] = watcher
        for tenant, watcher in worst.items():
            detector = watcher.detector
            self._metrics.drift_statistic.labels(tenant).set(detector.statistic)
            self._metrics.drift_threshold.labels(tenant).set(detector.threshold)
            self._metrics.drift_active.labels(tenant).set(detector.established)
            self._metrics.drift_reference_prompts.labels(tenant).set(detector.reference_size)
        for tenant, count in pending.items():
            self._metrics.corrections_pending.labels(tenant).set(count)

    def _show_controls(self) -> None:
        """What the streams without drift did since the last tick."""
        for key, watcher in self._watchers.items():
            if watcher.control is None:
                continue
            alarms, promised = self._controls.get(key, (0, 0.0))
            now = watcher.control.alarms, watcher.control.promised
            self._metrics.drift_control_alarms_total.inc(max(now[0] - alarms, 0))
            self._metrics.drift_control_promised_total.inc(max(now[1] - promised, 0.0))
            self._controls[key] = now


def _rank(watcher: Watcher) -> tuple[bool, float]:
    return watcher.detector.established, watcher.detector.statistic
