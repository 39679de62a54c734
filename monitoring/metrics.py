"""Every metric of every process, declared in one place.

Each process builds one `Metrics`, moves what it knows, and shows all of it; a metric that a process
never moves stays at zero there, so dashboards add over processes or take the maximum. Names carry
the prefix `switchyard_` and base units (seconds). Knows names and labels, not what causes them.

    metrics = Metrics()
    metrics.know_tenants(["acme", "lex"])
    metrics.requests_total.labels(tenant="acme", served="adapter", status=200).inc()

Who moves what: docs/monitoring.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from monitoring.answer_metrics import AnswerMetrics
from monitoring.labels import NOBODY, Bound, Family
from monitoring.loop_metrics import LoopMetrics
from monitoring.replica_metrics import ReplicaMetrics

PREFIX = "switchyard"

SERVED = ("adapter", "base")
TOKEN_KINDS = ("prompt", "completion")
SWAP_OUTCOMES = ("promoted", "rejected", "failed")
JOB_STATES = (
    "validating_files",
    "queued",
    "running",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
)
DECISION_KINDS = (
    "promote",
    "reject",
    "retrain",
    "hold",
    "rollback",
    "watch",
    "shadow",
    "canary",
    "ask",
)
LIMITS = (
    "max_concurrent", "requests_per_minute", "tokens_per_minute", "tokens_per_day", "queue"
)  # fmt: skip
FALLBACK_REASONS = (
    "no-live-version", "version-unavailable", "engine-error", "deadline", "canary-unavailable"
)  # fmt: skip

DROP_REASONS = ("thinned", "queue", "registry")
"""Why an exchange is not written: by design, as there is no time for all; too many waited; the
registry did not take it."""

_Kind = TypeVar("_Kind", Counter, Gauge)
Workers = Literal["sum", "max", "min"]
_OVER_WORKERS: dict[Workers, Literal["livesum", "livemax", "livemin"]] = {
    "sum": "livesum",
    "max": "livemax",
    "min": "livemin",
}

_LATENCY = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LOAD = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_MINUTES = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)


TENANT_CAP = 200
"""Tenants with series of their own, some 150 each; raise it where Prometheus has room for more."""


class Metrics:
    """The metrics, as attributes. `tenant_cap` is how many tenants get series of their own; of the
    others a gauge shows the worst, as `other`."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, tenant_cap: int = TENANT_CAP
    ) -> None:
        # A second series for each counter, which nothing here reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._versions: dict[tuple[str, str], str] = {}

        self.label_overflow_total = self._plain(
            Counter,
            "label_overflow_total",
            "Distinct label values refused and shown as `other`",
            ["label"],
        )
        self.tenants = self._bound("tenant", tenant_cap, known=(NOBODY,), closed=True)
        tenant = self.tenants
        alias = self._bound("alias", 4 * tenant_cap)
        self.models = self._bound("model", 4 * tenant_cap)
        """Names that requests ask for; no metric here has them, OpenTelemetry's do."""
        engine = self._bound("engine", 64)
        served = self._bound("served", 0, known=SERVED)
        status = self._bound("status", 32, known=("200", "503"))
        reason = self._bound("reason", 24, known=FALLBACK_REASONS)
        code = self._bound("code", 48)
        kind = self._bound("kind", 0, known=TOKEN_KINDS)
        limit = self._bound("limit", 0, known=LIMITS)
        outcome = self._bound("outcome", 0, known=SWAP_OUTCOMES)
        job_state = self._bound("state", 0, known=JOB_STATES)
        decision = self._bound("kind", 0, known=DECISION_KINDS)
        version_name = self._bound("version", 100_000)

        # Router
        self.requests_total = Family(
            self._plain(
                Counter, "requests_total", "Requests answered", ["tenant", "served", "status"]
            ),
            (tenant, served, status),
        )
        self.request_duration_seconds = Family(
            self._histogram(
                "request_duration_seconds", "From a request's arrival to its last byte", _LATENCY,
                ["tenant"],
            ),
            (tenant,),
        )  # fmt: skip
        self.time_to_first_token_seconds = Family(
            self._histogram(
                "time_to_first_token_seconds", "From a request's arrival to its first token",
                _FIRST_TOKEN, ["tenant"],
            ),
            (tenant,),
        )  # fmt: skip
        self.tokens_total = Family(
            self._plain(Counter, "tokens_total", "Tokens read and written", ["tenant", "kind"]),
            (tenant, kind),
        )
        self.fallbacks_total = Family(
            self._plain(
                Counter, "fallbacks_total", "Answers by another version than the one asked for",
                ["tenant", "reason"],
            ),
            (tenant, reason),
        )  # fmt: skip
        self.errors_total = Family(
            self._plain(Counter, "errors_total", "Error answers by code", ["tenant", "code"]),
            (tenant, code),
        )
        self.in_flight = Family(
            self._gauge("in_flight", "Requests being answered now", ["tenant"], workers="sum"),
            (tenant,),
        )
        self.rate_limited_total = Family(
            self._plain(
                Counter, "rate_limited_total", "Requests refused by a tenant's limit",
                ["tenant", "limit"],
            ),
            (tenant, limit),
        )  # fmt: skip
        self.limits_degraded = self._gauge(
            "limits_degraded", "1 while Redis is away and each router keeps its own limits"
        )
        self.exchanges_dropped_total = Family(
            self._plain(
                Counter, "exchanges_dropped_total", "Exchange records not written", ["reason"]
            ),
            (self._bound("reason", 0, known=DROP_REASONS),),
        )
        self.exchanges_written_total = self._plain(
            Counter, "exchanges_written_total", "Exchange records written"
        )
        self.snapshot_age_seconds = self._gauge(
            "snapshot_age_seconds", "Time since the router last knew its snapshot current"
        )
        self.snapshot_revision = self._gauge(
            "snapshot_revision", "Registry revision that the router routes by", workers="min"
        )
        self.event_loop_lag_seconds = self._gauge(
            "event_loop_lag_seconds", "Longest stall of the router's event loop lately"
        )
        self.spans_dropped_total = self._plain(
            Counter, "spans_dropped_total", "Trace spans lost: the receiver was away or too slow"
        )
        self.access_lines_dropped_total = self._plain(
            Counter, "access_lines_dropped_total", "Access log lines lost: stderr was too slow"
        )
        self.router_workers = self._gauge(
            "router_workers", "Worker processes of the router that serve", workers="sum"
        )
        self.router_worker_restarts_total = self._plain(
            Counter, "router_worker_restarts_total", "Worker processes started again"
        )

        self.replicas = ReplicaMetrics(self.registry, PREFIX, engine)
        self.answers = AnswerMetrics(self.registry, PREFIX, tenant)

        # Swapper and engines
        self.swaps_total = Family(
            self._plain(
                Counter, "swaps_total",
                "Versions promoted, rejected, or failed for now (counted once a spell)",
                ["outcome"],
            ),
            (outcome,),
        )  # fmt: skip
        self.swap_failing_timestamp_seconds = self._plain(
            Gauge, "swap_failing_timestamp_seconds",
            "Since when the version fails that has failed longest on its way; 0: none does",
        )  # fmt: skip
        self.last_swap_tick_timestamp_seconds = self._plain(
            Gauge, "last_swap_tick_timestamp_seconds",
            "When the swapper last finished a tick, or started",
        )  # fmt: skip
        self.swap_seconds = self._histogram("swap_seconds", "From candidate to live", _MINUTES)
        self.adapter_load_seconds = self._histogram(
            "adapter_load_seconds", "Staging and warming one version on one engine", _LOAD
        )
        self.parity_abs_logprob = Family(
            self._plain(
                Gauge, "parity_abs_logprob",
                "Mean |log-probability| between engine and trainer at the last check", ["tenant"],
            ),
            (tenant,),
        )  # fmt: skip
        self.effect_abs_logprob = Family(
            self._plain(
                Gauge, "effect_abs_logprob",
                "Mean |log-probability| between adapter and base at the last check", ["tenant"],
            ),
            (tenant,),
        )  # fmt: skip
        self.engine_up = Family(
            self._plain(Gauge, "engine_up", "1 when an engine is ready and fresh", ["engine"]),
            (engine,),
        )
        self.engine_restarts_total = self._plain(
            Counter, "engine_restarts_total", "Engine starts seen after the first"
        )

        # Worker
        self.jobs = Family(
            self._plain(Gauge, "jobs", "Jobs in the registry by state", ["state"]), (job_state,)
        )
        self.job_seconds = self._histogram("job_seconds", "From a job's start to its end", _MINUTES)
        self.train_steps_total = self._plain(Counter, "train_steps_total", "Optimiser steps")
        self.train_loss = Family(
            self._plain(Gauge, "train_loss", "Latest training loss", ["tenant"]), (tenant,)
        )
        self.train_tokens_total = self._plain(
            Counter, "train_tokens_total", "Supervised tokens trained on"
        )

        # Controller
        self.drift_statistic = Family(
            self._plain(
                Gauge, "drift_statistic",
                "Natural log of the evidence against `prompts are as they were`, worst adapter",
                ["tenant"],
            ),
            (tenant,),
        )  # fmt: skip
        self.drift_threshold = Family(
            self._plain(
                Gauge, "drift_threshold", "The drift statistic at which the alarm goes", ["tenant"]
            ),
            (tenant,),
        )
        self.drift_active = Family(
            self._plain(Gauge, "drift_active", "1 while drift is established", ["tenant"]),
            (tenant,),
        )
        self.pipeline_changed = Family(
            self._plain(
                Gauge,
                "pipeline_changed",
                "1 while messages are built in an unusual way",
                ["tenant"],
            ),
            (tenant,),
        )
        self.quality_down = Family(
            self._plain(
                Gauge, "quality_down", "1 while answers are worse than after promotion", ["tenant"]
            ),
            (tenant,),
        )
        self.drift_reference_prompts = Family(
            self._plain(
                Gauge, "drift_reference_prompts", "Prompts in the frozen reference", ["tenant"]
            ),
            (tenant,),
        )
        self.drift_control_alarms_total = self._plain(
            Counter, "drift_control_alarms_total", "Drift alarms on streams without drift"
        )
        self.drift_control_promised_total = self._plain(
            Counter, "drift_control_promised_total",
            "Drift alarms that streams without drift may raise on average",
        )  # fmt: skip
        self.corrections_pending = Family(
            self._plain(
                Gauge, "corrections_pending", "Corrected examples in no job yet", ["tenant"]
            ),
            (tenant,),
        )
        self.decisions_total = Family(
            self._plain(Counter, "decisions_total", "Decision receipts written", ["kind"]),
            (decision,),
        )
        self.version_info = Family(
            self._plain(
                Gauge, "version_info", "1 for the version that each alias serves now",
                ["tenant", "alias", "version"],
            ),
            (tenant, alias, version_name),
        )  # fmt: skip
        self.loop = LoopMetrics(
            self.registry, PREFIX,
            tenant=tenant, alias=alias, version=version_name, engine=engine, kind=decision,
        )  # fmt: skip
        self.last_tick_timestamp_seconds = self._plain(
            Gauge,
            "last_tick_timestamp_seconds",
            "When the controller last finished a tick, or started",
        )
        self.tick_errors_total = self._plain(
            Counter, "tick_errors_total", "Adapters that a tick skipped for an error"
        )
        self.of_adapters: tuple[Family[Gauge], ...] = (
            self.drift_statistic, self.drift_threshold, self.drift_active, self.pipeline_changed,
            self.quality_down, self.drift_reference_prompts, self.corrections_pending,
            self.loop.disliked, self.loop.advantage, self.loop.stopped, self.loop.artifact_changed,
        )  # fmt: skip
        """What the controller shows of adapters, by tenant."""
        self.build_info = self._plain(
            Gauge, "build_info", "1 for the version of Switchyard that runs", ["release"]
        )
        self.build_info.labels(_release()).set(1)
        self._per_tenant: tuple[Family[Any], ...] = (
            self.requests_total, self.request_duration_seconds, self.time_to_first_token_seconds,
            self.tokens_total, self.fallbacks_total, self.errors_total, self.in_flight,
            self.rate_limited_total, *self.answers.families,
            self.parity_abs_logprob, self.effect_abs_logprob, self.train_loss,
            self.drift_statistic, self.drift_threshold, self.drift_active,
            self.pipeline_changed, self.quality_down,
            self.drift_reference_prompts, self.corrections_pending, self.version_info,
            *self.loop.per_tenant,
        )  # fmt: skip
        self._born_at_zero()

    def know_tenants(self, names: Iterable[str]) -> None:
        """Say which tenants exist: newcomers' counters start at zero, leavers' series go.

        Until a tenant is known, its label is `other`. Call it whenever the registry was read.
        """
        came, went = self.tenants.know(names)
        for name in came:
            self._tenant_at_zero(name)
        for name in went:
            for family in self._per_tenant:
                family.forget(tenant=name)
            self._versions = {k: v for k, v in self._versions.items() if k[0] != name}

    def show_versions(
        self,
        live: Mapping[tuple[str, str], str | None],
        since: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        """What each (tenant, alias) serves; None serves the base. Replaces what was shown. `since`
        is when that version went live, in seconds since the epoch."""
        shown = {  # of tenants without series of their own, aliases would be mixed up
            key: version_name or "base"
            for key, version_name in live.items()
            if self.tenants.admit(key[0]) == key[0]
        }
        for (tenant, alias), name in shown.items():  # new ones first: no scrape sees a gap
            self.version_info.labels(tenant, alias, name).set(1)
            if (at := (since or {}).get((tenant, alias))) is not None:
                self.loop.live_since.labels(tenant, alias, name).set(at)
        for (tenant, alias), name in self._versions.items():
            if shown.get((tenant, alias)) != name:
                self.version_info.forget(tenant=tenant, alias=alias, version=name)
                self.loop.live_since.forget(tenant=tenant, alias=alias, version=name)
        self._versions = shown

    def names(self) -> set[str]:
        """Every series name that a scrape can show, suffixes included (`_total`, `_bucket`, …)."""
        found: set[str] = set()
        for family in self.registry.collect():
            found.update(sample.name for sample in family.samples)
            found.update(_series(family.name, family.type))
        return found

    def _born_at_zero(self) -> None:
        self._tenant_at_zero(NOBODY)
        for bound in ("tenant", "model", "engine", "reason", "code", "status", "alias"):
            self.label_overflow_total.labels(bound)
        for reason in DROP_REASONS:
            self.exchanges_dropped_total.labels(reason)
        for outcome in SWAP_OUTCOMES:
            self.swaps_total.labels(outcome)
        for state in JOB_STATES:
            self.jobs.labels(state)
        for kind in DECISION_KINDS:
            self.decisions_total.labels(kind)

    def _tenant_at_zero(self, name: str) -> None:
        """A counter that is born at one is a rise that `rate()` never sees."""
        for served in SERVED:
            self.requests_total.labels(name, served, "200")
        self.requests_total.labels(name, "base", "503")
        self.errors_total.labels(name, "other")
        if name == NOBODY:
            return
        self.request_duration_seconds.labels(name)
        self.time_to_first_token_seconds.labels(name)
        for kind in TOKEN_KINDS:
            self.tokens_total.labels(name, kind)
        for reason in FALLBACK_REASONS:
            self.fallbacks_total.labels(name, reason)
        self.in_flight.labels(name)
        for limit in LIMITS:
            self.rate_limited_total.labels(name, limit)
        self.answers.at_zero(name)
        self.drift_active.labels(name)
        self.pipeline_changed.labels(name)
        self.quality_down.labels(name)
        self.corrections_pending.labels(name)

    def _bound(
        self, label: str, cap: int, known: Sequence[str] = (), closed: bool = False
    ) -> Bound:
        def overflow(label: str) -> None:
            self.label_overflow_total.labels(label).inc()

        return Bound(label, cap, known=known, closed=closed, on_overflow=overflow)

    def _plain(self, cls: type[_Kind], name: str, text: str, labels: Sequence[str] = ()) -> _Kind:
        return cls(f"{PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        workers: Workers = "max",
    ) -> Gauge:
        """`workers` says how the gauges of several worker processes become one."""
        return Gauge(
            f"{PREFIX}_{name}", text, labels, registry=self.registry,
            multiprocess_mode=_OVER_WORKERS[workers],
        )  # fmt: skip

    def _histogram(
        self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", text, labels, buckets=buckets, registry=self.registry)


def _series(name: str, kind: str) -> set[str]:
    if kind == "histogram":
        return {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return {f"{name}_total"} if kind == "counter" else {name}


def _release() -> str:
    try:
        return version("switchyard")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"
