"""Prometheus recording and alert rules, as data.

Availability alerts burn-rate wise (Google, "The Site Reliability Workbook", chapter 5): an alert
needs a long and a short window above the rate, so that it comes quickly and goes quickly, and a
minimum of requests, so that one failure at night wakes nobody. Every alert has a section in
docs/runbook.md. Knows metric names; nothing about where Prometheus runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

AVAILABILITY = 0.99
"""Share of requests that must not end in 5xx, over 30 days."""

RUNBOOK = "docs/runbook.md"
"""Where the runbook is, unless whoever writes the rules has it elsewhere."""
WINDOWS = ("5m", "30m", "1h", "6h", "3d")
TENANT_WINDOWS = ("5m", "30m", "1h", "6h")
JOBS = ("switchyard-router", "switchyard-worker", "switchyard-controller")
"""Names of the scrape jobs, as in prometheus.yml."""


@dataclass(frozen=True)
class Recording:
    """A series computed beforehand, named level:metric:operation."""

    record: str
    expr: str


@dataclass(frozen=True)
class Alert:
    """`hold` is how long the expression must be true. `severity`: "page" wakes somebody, "ticket"
    waits for the morning, "info" is for the record. `retrain`: it speaks of traffic or of answers,
    so that a retraining may be what ends it."""

    name: str
    expr: str
    hold: str
    severity: str
    summary: str
    description: str
    retrain: bool = False


def recordings() -> list[Recording]:
    """What dashboards and alerts share."""
    found = [
        Recording(
            f"switchyard:request_errors:ratio_rate{window}",
            f'sum(rate(switchyard_requests_total{{status=~"5.."}}[{window}]))'
            f" / sum(rate(switchyard_requests_total[{window}]))",
        )
        for window in WINDOWS
    ]
    found += [
        Recording(
            "tenant:switchyard_requests:rate5m",
            "sum by (tenant) (rate(switchyard_requests_total[5m]))",
        ),
        *(
            Recording(
                f"tenant:switchyard_request_errors:ratio_rate{window}",
                f'sum by (tenant) (rate(switchyard_requests_total{{status=~"5.."}}[{window}]))'
                f" / sum by (tenant) (rate(switchyard_requests_total[{window}]))",
            )
            for window in TENANT_WINDOWS
        ),
        Recording(
            "tenant:switchyard_fallbacks:ratio_rate10m",
            "sum by (tenant) (rate(switchyard_fallbacks_total[10m]))"
            " / sum by (tenant) (rate(switchyard_requests_total[10m]))",
        ),
        Recording(
            "switchyard:exchanges_written:ratio_rate5m",
            "sum(rate(switchyard_exchanges_written_total[5m]))"
            " / (sum(rate(switchyard_exchanges_written_total[5m]))"
            " + sum(rate(switchyard_exchanges_dropped_total[5m])))",
        ),
    ]
    for name, metric in (
        ("request_duration", "switchyard_request_duration_seconds"),
        ("time_to_first_token", "switchyard_time_to_first_token_seconds"),
    ):
        for share in (50, 95):
            found.append(
                Recording(
                    f"tenant:switchyard_{name}:p{share}_5m",
                    f"histogram_quantile({share / 100}, "
                    f"sum by (tenant, le) (rate({metric}_bucket[5m])))",
                )
            )
    return found


def budgets() -> list[Recording]:
    """What is left of the errors that 30 days allow: 1 all, 0 none, below 0 the objective is
    missed. Computed more seldom than the others: 30 days are many samples."""
    return [
        Recording(
            record,
            f'1 - sum{by}(increase(switchyard_requests_total{{status=~"5.."}}[30d]))'
            f" / (sum{by}(increase(switchyard_requests_total[30d])) * {1 - AVAILABILITY:.4g})",
        )
        for record, by in (
            ("switchyard:error_budget:left_ratio30d", ""),
            ("tenant:switchyard_error_budget:left_ratio30d", " by (tenant) "),
        )
    ]


def alerts() -> list[Alert]:
    """Everything that may call somebody."""
    return [
        _burn("SwitchyardErrorBudgetBurnsFast", 14.4, "1h", "5m", 50, "page"),
        _burn("SwitchyardErrorBudgetBurns", 6, "6h", "30m", 100, "page"),
        _burn("SwitchyardErrorBudgetLeaks", 1, "3d", "6h", 500, "ticket"),
        _tenant_burn("SwitchyardTenantErrorBudgetBurnsFast", 14.4, "1h", "5m", 50, "page"),
        _tenant_burn("SwitchyardTenantErrorBudgetBurns", 6, "6h", "30m", 100, "ticket"),
        Alert(
            "SwitchyardNoReadyEngine",
            "(sum(switchyard_engine_up) or vector(0)) == 0",
            "1m",
            "page",
            "No engine is ready",
            "Every request to a model is answered 503. Also fires when the controller, which tells "
            "which engines are ready, can't be scraped.",
        ),
        Alert(
            "SwitchyardEngineDown",
            "switchyard_engine_up == 0",
            "2m",
            "ticket",
            "Engine {{ $labels.engine }} is not ready",
            "It has not said that it is ready for 2 minutes; the others carry its load.",
        ),
        Alert(
            "SwitchyardEngineUnreachable",
            "count by (engine) (max_over_time(switchyard_replica_breaker[2m]) == 2)"
            " unless on (engine) switchyard_engine_up == 0",
            "5m",
            "ticket",
            "Routers get no answers from engine {{ $labels.engine }}",
            "It says that it is ready. Routers that meet refused connections or server errors, and "
            "leave it alone: {{ $value }}.",
        ),
        Alert(
            "SwitchyardEngineRestarts",
            "increase(switchyard_engine_restarts_total[1h]) > 3",
            "0m",
            "ticket",
            "Engines restart again and again",
            "More than 3 engine starts within an hour.",
        ),
        Alert(
            "SwitchyardOverloaded",
            'sum(rate(switchyard_errors_total{code="engine_overloaded"}[5m]))'
            " / sum(rate(switchyard_requests_total[5m])) > 0.01"
            " and sum(increase(switchyard_requests_total[5m])) >= 50",
            "10m",
            "ticket",
            "Requests are turned away because the engines are full",
            "{{ $value | humanizePercentage }} of requests found no place in an engine in time, or "
            "its queue full.",
        ),
        Alert(
            "SwitchyardFallbacks",
            "tenant:switchyard_fallbacks:ratio_rate10m > 0.05"
            " and on (tenant) sum by (tenant) (increase(switchyard_requests_total[10m])) >= 20",
            "5m",
            "ticket",
            "Tenant {{ $labels.tenant }} is served by a fallback",
            "{{ $value | humanizePercentage }} of its answers come from another version than the "
            "one it asked for.",
        ),
        Alert(
            "SwitchyardSlowFirstToken",
            "tenant:switchyard_time_to_first_token:p95_5m > 5"
            " and on (tenant) sum by (tenant) (increase(switchyard_requests_total[5m])) >= 20",
            "10m",
            "ticket",
            "Tenant {{ $labels.tenant }} waits long for its first token",
            "The 95th percentile is {{ $value | humanizeDuration }}.",
        ),
        Alert(
            "SwitchyardRouterWorkersRestart",
            "increase(switchyard_router_worker_restarts_total[1h]) > 3",
            "0m",
            "ticket",
            "Worker processes of router {{ $labels.instance }} end again and again",
            "More than 3 were started again within an hour; each end cuts off what it served.",
        ),
        Alert(
            "SwitchyardLimitsDegraded",
            "max by (instance) (switchyard_limits_degraded) > 0",
            "5m",
            "ticket",
            "Router {{ $labels.instance }} keeps limits of its own",
            "Redis does not answer it: until it does, each router process lets a tenant have up to "
            "its whole limits.",
        ),
        Alert(
            "SwitchyardSnapshotStale",
            "max by (instance) (switchyard_snapshot_age_seconds) > 30",
            "1m",
            "ticket",
            "Router {{ $labels.instance }} routes by an old snapshot",
            "It could not read the registry for {{ $value | humanizeDuration }}: new keys, swaps "
            "and engines don't reach it.",
        ),
        Alert(
            "SwitchyardExchangesDropped",
            'increase(switchyard_exchanges_dropped_total{reason!="thinned"}[15m]) > 0',
            "0m",
            "ticket",
            "Exchange records are being lost",
            "The registry takes them too slowly (`queue`), or not at all (`registry`): "
            "`{{ $labels.reason }}`. Requests are not harmed; drift and feedback are.",
        ),
        Alert(
            "SwitchyardDriftSustained",
            "switchyard_drift_active == 1",
            "0m",
            "info",
            "Prompts of {{ $labels.tenant }} have changed",
            "The drift test is sure. With enough corrections the controller retrains by itself.",
            retrain=True,
        ),
        Alert(
            "SwitchyardDriftUnanswered",
            "switchyard_drift_active == 1",
            "1d",
            "ticket",
            "Drift of {{ $labels.tenant }} has had no answer for a day",
            "Corrections are missing, the tenant's policy forbids it, or a retraining failed: the "
            "`hold` receipt says which.",
            retrain=True,
        ),
        Alert(
            "SwitchyardPipelineChanged",
            "switchyard_pipeline_changed == 1",
            "0m",
            "ticket",
            "Messages of {{ $labels.tenant }} are built in another way than usual",
            "A chat template applied twice, a lost system prompt, empty turns: for whoever sends "
            "them to mend. Nothing is retrained meanwhile.",
        ),
        Alert(
            "SwitchyardArtifactChanged",
            "switchyard_artifact_changed == 1",
            "0m",
            "page",
            "A live version of {{ $labels.tenant }} no longer answers as it was certified",
            "Its canary prompts get other answers from an engine: another base or build, or files "
            "that changed. Nothing is retrained meanwhile.",
        ),
        Alert(
            "SwitchyardQualityDown",
            "switchyard_quality_down == 1",
            "0m",
            "ticket",
            "Answers for {{ $labels.tenant }} have got worse",
            "More of them are out of form, refuse, or are disliked than just after the promotion.",
            retrain=True,
        ),
        Alert(
            "SwitchyardAdapterStoppedHelping",
            "switchyard_adapter_stopped_helping == 1",
            "0m",
            "ticket",
            "An adapter of {{ $labels.tenant }} is no better than its base any more",
            "The base, which answers a share as a control, gives no more bad answers than it does.",
            retrain=True,
        ),
        Alert(
            "SwitchyardJobsWait",
            'max(switchyard_jobs{state="queued"}) > 0'
            ' and (max(switchyard_jobs{state="running"}) or vector(0)) == 0',
            "10m",
            "ticket",
            "Training jobs wait and none runs",
            "No worker takes them.",
        ),
        Alert(
            "SwitchyardJobsFail",
            'max(delta(switchyard_jobs{state="failed"}[1h])) > 0',
            "0m",
            "ticket",
            "Training jobs have failed",
            "{{ $value | humanize }} more failed jobs than an hour ago.",
        ),
        Alert(
            "SwitchyardSwapsFail",
            "time() - (switchyard_swap_failing_timestamp_seconds > 0) > 600",
            "0m",
            "ticket",
            "Swaps fail",
            "For {{ $value | humanizeDuration }} a version could not be brought to traffic, for "
            "reasons that lie with the platform. It is tried again at each look.",
        ),
        Alert(
            "SwitchyardSwapsStalled",
            "time() - (switchyard_last_swap_tick_timestamp_seconds > 0) > 900",
            "1m",
            "ticket",
            "The swapper does not look",
            "Its last look ended {{ $value | humanizeDuration }} ago: nothing gets to traffic, and "
            "what is live is not loaded into engines that start.",
        ),
        Alert(
            "SwitchyardCandidateRejected",
            'increase(switchyard_swaps_total{outcome="rejected"}[1h]) > 0',
            "0m",
            "info",
            "A candidate was rejected",
            "The evaluation, or the engine's effect and parity check, said no. Traffic stays on "
            "the version before.",
        ),
        Alert(
            "SwitchyardRolloutWaiting",
            "switchyard_rollouts_waiting > 0",
            "0m",
            "ticket",
            "A version of {{ $labels.tenant }} waits for a person's word",
            "It did no harm on its way to traffic. Its tenant wants a person to say: `switchyard "
            "adapter promote` or `switchyard adapter reject`.",
        ),
        Alert(
            "SwitchyardControllerStalled",
            "time() - (switchyard_last_tick_timestamp_seconds > 0) > 120",
            "1m",
            "ticket",
            "The controller does not tick",
            "Its last tick ended {{ $value | humanizeDuration }} ago: no swaps, no drift watch.",
        ),
        Alert(
            "SwitchyardControllerErrors",
            "increase(switchyard_tick_errors_total[15m]) > 3",
            "0m",
            "ticket",
            "The controller meets errors",
            "More than 3 times within 15 minutes an adapter was skipped; the log names it.",
        ),
        Alert(
            "SwitchyardTargetDown",
            'up{job=~"switchyard-.*"} == 0',
            "2m",
            "page",
            "{{ $labels.job }} on {{ $labels.instance }} can't be scraped",
            "The process is down, hangs, or its metrics port is not reachable.",
        ),
        Alert(
            "SwitchyardTargetMissing",
            " or ".join(f'absent(up{{job="{job}"}})' for job in JOBS),
            "5m",
            "ticket",
            "{{ $labels.job }} is not watched at all",
            "Prometheus has no such scrape target: alerts about it can't fire.",
        ),
        Alert(
            "SwitchyardSeriesMissing",
            'absent(switchyard_requests_total) and on () (count(up{job="switchyard-router"} == 1))'
            " or (absent(switchyard_last_tick_timestamp_seconds)"
            " or absent(switchyard_last_swap_tick_timestamp_seconds))"
            ' and on () (count(up{job="switchyard-controller"} == 1))',
            "5m",
            "ticket",
            "A process is scraped, but its series are not there",
            "Alerts on them can't fire: something drops or renames series, or another program "
            "answers on that port.",
        ),
        Alert(
            "SwitchyardAnswersJudgedBad",
            'max by (tenant) (switchyard_quality_ratio{bound="high"}) < 0.8'
            " and on (tenant) max by (tenant) (switchyard_judged_answers) >= 30",
            "15m",
            "ticket",
            "People call answers of {{ $labels.tenant }} bad",
            "At most {{ $value | humanizePercentage }} of the answers that were judged within 7 "
            "days are good, with 95 % certainty.",
            retrain=True,
        ),
        Alert(
            "SwitchyardRetrainingGainedNothing",
            "max by (tenant) (switchyard_retrain_gain_realised_ratio) <= 0"
            " and on (tenant) max by (tenant) (switchyard_retrain_gain_expected_ratio) > 0",
            "0m",
            "info",
            "The last retraining of {{ $labels.tenant }} gained nothing",
            "Its receipt expected a gain; held-out rows show {{ $value | humanizePercentage }}.",
        ),
        Alert(
            "SwitchyardLabelsOverflow",
            "increase(switchyard_label_overflow_total[1h]) > 0",
            "0m",
            "info",
            "Label `{{ $labels.label }}` has more values than metrics keep",
            "What is beyond the cap is counted as `other`.",
        ),
    ]


def document(budget_interval: str = "1m", runbook: str = RUNBOOK) -> dict[str, Any]:
    """The rules as Prometheus reads them. `runbook`: the address of the page that has a section for
    each alert."""
    return {
        "groups": [
            {
                "name": "switchyard-budgets",
                "interval": budget_interval,
                "rules": [{"record": r.record, "expr": r.expr} for r in budgets()],
            },
            {
                "name": "switchyard-recordings",
                "rules": [{"record": r.record, "expr": r.expr} for r in recordings()],
            },
            {
                "name": "switchyard-alerts",
                "rules": [
                    {
                        "alert": a.name,
                        "expr": a.expr,
                        "for": a.hold,
                        "labels": {"severity": a.severity},
                        "annotations": {
                            "summary": a.summary,
                            "description": a.description,
                            "runbook_url": f"{runbook}#{a.name.lower()}",
                        },
                    }
                    for a in alerts()
                ],
            },
        ]
    }


def _burn(name: str, rate: float, long: str, short: str, requests: int, severity: str) -> Alert:
    limit = f"{rate * (1 - AVAILABILITY):.4g}"
    series = "switchyard:request_errors:ratio_rate"
    return Alert(
        name,
        f"{series}{long} > {limit} and {series}{short} > {limit}"
        f" and sum(increase(switchyard_requests_total[{long}])) >= {requests}",
        "2m",
        severity,
        f"Errors use up the budget {rate:g} times too fast",
        f"{{{{ $value | humanizePercentage }}}} of requests ended in 5xx over {long}; "
        f"{1 - AVAILABILITY:.0%} is what 30 days allow.",
    )


def _tenant_burn(
    name: str, rate: float, long: str, short: str, requests: int, severity: str
) -> Alert:
    """A tenant with little of the traffic may fail wholly and move the fleet's share by nothing.
    Silent while the fleet's own share is above the rate: one page is enough."""
    limit = f"{rate * (1 - AVAILABILITY):.4g}"
    fleet, series = "switchyard:request_errors:ratio_rate", "tenant:switchyard_request_errors:"
    return Alert(
        name,
        f"({series}ratio_rate{long} > {limit} and on (tenant) {series}ratio_rate{short} > {limit}"
        " and on (tenant)"
        f" sum by (tenant) (increase(switchyard_requests_total[{long}])) >= {requests})"
        f" unless on () ({fleet}{long} > {limit} and {fleet}{short} > {limit})",
        "2m",
        severity,
        f"Errors use up the budget of {{{{ $labels.tenant }}}} {rate:g} times too fast",
        f"{{{{ $value | humanizePercentage }}}} of its requests ended in 5xx over {long}; the "
        "other tenants' do not, or not as often.",
    )
