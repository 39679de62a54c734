"""Each alert on made-up series, judged by promtool: it fires, keeps quiet, survives absence."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from monitoring import rules
from tests.monitoring.prometheus import program

OK = 'switchyard_requests_total{tenant="acme",served="adapter",status="200",instance="r:1"}'
FAILED = 'switchyard_requests_total{tenant="acme",served="base",status="503",instance="r:1"}'
FALLBACK = 'switchyard_fallbacks_total{tenant="acme",reason="engine-error"}'
FIRST = "switchyard_time_to_first_token_seconds_bucket"
TICK = "switchyard_last_tick_timestamp_seconds"
SWAP_TICK = "switchyard_last_swap_tick_timestamp_seconds"
SWAP_FAILING = "switchyard_swap_failing_timestamp_seconds"
DRIFT = 'switchyard_drift_active{tenant="acme"}'
ENGINE = 'switchyard_engine_up{engine="e1"}'
BREAKER = 'switchyard_replica_breaker{engine="e1",instance="r:1"}'
BESIDE = 'switchyard_replica_breaker{engine="e1",instance="r:2"}'
OVERLOADED = 'switchyard_errors_total{tenant="acme",code="engine_overloaded",instance="r:1"}'
RESTARTS = 'switchyard_router_worker_restarts_total{instance="r:1"}'
DEGRADED = 'switchyard_limits_degraded{instance="r:1"}'
GOOD = 'switchyard_quality_ratio{tenant="acme",bound="high"}'
JUDGED = 'switchyard_judged_answers{tenant="acme"}'
REALISED = 'switchyard_retrain_gain_realised_ratio{tenant="acme"}'
EXPECTED = 'switchyard_retrain_gain_expected_ratio{tenant="acme"}'
SMALL = 'switchyard_requests_total{tenant="lex",served="base",status="503",instance="r:1"}'
THINNED = 'switchyard_exchanges_dropped_total{reason="thinned",instance="r:1"}'
LOST = 'switchyard_exchanges_dropped_total{reason="queue",instance="r:1"}'
ROUTER = 'up{job="switchyard-router",instance="r:1"}'

HEALTHY = {
    OK: "0+60x2000",
    FAILED: "0x2000",
    FALLBACK: "0x2000",
    f'{FIRST}{{tenant="acme",le="0.5"}}': "0+60x2000",
    f'{FIRST}{{tenant="acme",le="+Inf"}}': "0+60x2000",
    ENGINE: "1x2000",
    'switchyard_engine_up{engine="e2"}': "1x2000",
    "switchyard_engine_restarts_total": "0x2000",
    BREAKER: "0x2000",
    BESIDE: "0x2000",
    OVERLOADED: "0x2000",
    RESTARTS: "0x2000",
    DEGRADED: "0x2000",
    'switchyard_snapshot_age_seconds{instance="r:1"}': "1x2000",
    THINNED: "0+30x2000",
    LOST: "0x2000",
    DRIFT: "0x2000",
    'switchyard_pipeline_changed{tenant="acme"}': "0x2000",
    'switchyard_artifact_changed{tenant="acme"}': "0x2000",
    'switchyard_quality_down{tenant="acme"}': "0x2000",
    'switchyard_rollouts_waiting{tenant="acme"}': "0x2000",
    'switchyard_adapter_stopped_helping{tenant="acme"}': "0x2000",
    'switchyard_jobs{state="queued"}': "0x2000",
    'switchyard_jobs{state="running"}': "0x2000",
    'switchyard_jobs{state="failed"}': "3x2000",
    SWAP_FAILING: "0x2000",
    SWAP_TICK: "0+60x2000",
    'switchyard_swaps_total{outcome="rejected"}': "0x2000",
    f'{TICK}{{job="switchyard-controller"}}': "0+60x2000",
    f'{TICK}{{job="switchyard-router"}}': "0x2000",
    "switchyard_tick_errors_total": "0x2000",
    'switchyard_label_overflow_total{label="tenant"}': "0x2000",
    GOOD: "0.95x2000",
    JUDGED: "200x2000",
    REALISED: "0.3x2000",
    EXPECTED: "0.6x2000",
    ROUTER: "1x2000",
    'up{job="switchyard-controller",instance="c:1"}': "1x2000",
    'up{job="switchyard-worker",instance="w:1"}': "1x2000",
}


@dataclass(frozen=True)
class Case:
    """Series that differ from the healthy ones, and which alerts fire at a minute, how often."""

    title: str
    change: dict[str, str]
    firing: dict[str, int]
    at: int = 60
    absent: tuple[str, ...] = ()
    base: dict[str, str] = field(default_factory=lambda: HEALTHY)
    only: str = ""
    """Where set, only rules with this in their name: a day of all of them takes long."""

    def series(self) -> dict[str, str]:
        """What there is, for as long as it is looked at: promtool loads every sample."""
        found = {**self.base, **self.change}
        return {
            name: re.sub(r"x(\d{4})\b", lambda long: f"x{min(int(long[1]), self.at + 5)}", values)
            for name, values in found.items()
            if name not in self.absent
        }


CASES = [
    Case("all is well", {}, {}),
    Case(
        "a fifth of requests fail",
        {FAILED: "0+15x2000"},
        {"SwitchyardErrorBudgetBurnsFast": 1, "SwitchyardErrorBudgetBurns": 1,
         "SwitchyardErrorBudgetLeaks": 1},
        at=100,
    ),
    Case(
        "a twelfth of requests fail",
        {FAILED: "0+5.4x2000"},
        {"SwitchyardErrorBudgetBurns": 1, "SwitchyardErrorBudgetLeaks": 1},
        at=100,
    ),
    Case(
        "one and a half in a hundred fail, for long",
        {FAILED: "0+0.9x1000"},
        {"SwitchyardErrorBudgetLeaks": 1},
        at=100,
    ),
    Case(
        "all fail, but there are next to none",
        {OK: "0x2000", FAILED: "0+0.2x2000"},
        {},
        at=100,
    ),
    Case(
        "errors stopped an hour and a half ago",
        {FAILED: "0+30x60 1800x1000"},
        {"SwitchyardErrorBudgetLeaks": 1},
        at=135,
    ),
    Case(
        "a tenant with a fiftieth of the traffic fails wholly",
        {SMALL: "0+1.2x2000"},
        {"SwitchyardTenantErrorBudgetBurnsFast": 1, "SwitchyardTenantErrorBudgetBurns": 1,
         "SwitchyardErrorBudgetLeaks": 1},
        at=100,
    ),
    Case(
        "a tenant fails in one of ten, of a tenth of the traffic",
        {SMALL: "0+0.6x2000", SMALL.replace("503", "200"): "0+5.4x2000"},
        {"SwitchyardTenantErrorBudgetBurns": 1},
        at=100,
    ),
    Case("a tenant fails wholly, with next to no traffic", {SMALL: "0+0.2x2000"}, {}, at=100),
    Case(
        "a tenant failed wholly until an hour and a half ago",
        {SMALL: "0+1.2x20 24x1000", SMALL.replace("503", "200"): "0x20 0+1.2x1000"},
        {},
        at=120,
    ),
    Case("one engine of two is down", {ENGINE: "1x50 0x1000"}, {"SwitchyardEngineDown": 1}),
    Case("one engine was down for a minute", {ENGINE: "1x50 0 1x1000"}, {}),
    Case(
        "no engine is ready",
        {ENGINE: "0x2000", 'switchyard_engine_up{engine="e2"}': "0x2000"},
        {"SwitchyardNoReadyEngine": 1, "SwitchyardEngineDown": 2},
    ),
    Case(
        "nobody says which engines are ready",
        {},
        {"SwitchyardNoReadyEngine": 1},
        absent=(ENGINE, 'switchyard_engine_up{engine="e2"}'),
    ),
    Case(
        "an engine restarts every ten minutes",
        {"switchyard_engine_restarts_total": "0x9 1x9 2x9 3x9 4x9 5x9 6x9"},
        {"SwitchyardEngineRestarts": 1},
    ),
    Case("an engine restarted once", {"switchyard_engine_restarts_total": "0x30 1x1000"}, {}),
    Case(
        "two routers get no answers from an engine that says it is ready",
        {BREAKER: f"0x50 {'2 1 ' * 20}", BESIDE: f"0x50 {'2 1 ' * 20}"},
        {"SwitchyardEngineUnreachable": 1},
    ),
    Case(
        "one router of two gets none, and nobody says which engines are ready",
        {BREAKER: "0x50 2x1000"},
        {"SwitchyardEngineUnreachable": 1, "SwitchyardNoReadyEngine": 1},
        absent=(ENGINE, 'switchyard_engine_up{engine="e2"}'),
    ),
    Case(
        "an engine was unreachable for two minutes, and nobody has asked it since",
        {BREAKER: "0x50 2 2 1x1000"},
        {},
    ),
    Case(
        "an engine is gone, and routers that knew it wait for it",
        {BREAKER: "0x50 2x1000", ENGINE: "1x50 0x1000"},
        {"SwitchyardEngineDown": 1},
    ),
    Case("routers show no replicas", {}, {}, absent=(BREAKER, BESIDE)),
    Case(
        "one in fifty is turned away",
        {OVERLOADED: "0+1.2x2000"},
        {"SwitchyardOverloaded": 1},
    ),
    Case("one in two hundred is turned away", {OVERLOADED: "0+0.3x2000"}, {}),
    Case("a tenth was turned away, all at once", {OVERLOADED: "0x50 60x1000"}, {}, at=55),
    Case(
        "half are turned away, of three in five minutes",
        {OK: "0+0.6x2000", OVERLOADED: "0+0.3x2000"},
        {},
    ),
    Case("nobody was ever turned away", {}, {}, absent=(OVERLOADED,)),
    Case(
        "a router's workers end every ten minutes",
        {RESTARTS: "0x9 1x9 2x9 3x9 4x9 5x9 6x9"},
        {"SwitchyardRouterWorkersRestart": 1},
    ),
    Case("a worker ended once, and the router later", {RESTARTS: "0x20 1x20 0x1000"}, {}),
    Case("routers without worker processes", {}, {}, absent=(RESTARTS,)),
    Case(
        "Redis is away for one router of two",
        {DEGRADED: "0x50 1x1000", 'switchyard_limits_degraded{instance="r:2"}': "0x1000"},
        {"SwitchyardLimitsDegraded": 1},
    ),
    Case(
        "Redis is away for both",
        {DEGRADED: "0x50 1x1000", 'switchyard_limits_degraded{instance="r:2"}': "1x1000"},
        {"SwitchyardLimitsDegraded": 2},
    ),
    Case("Redis has been away for four minutes", {DEGRADED: "0x55 1x1000"}, {}),
    Case("no router says how its limits are", {}, {}, absent=(DEGRADED,)),
    Case("a tenth falls back", {FALLBACK: "0+6x2000"}, {"SwitchyardFallbacks": 1}),
    Case("one in a hundred falls back", {FALLBACK: "0+0.6x2000"}, {}),
    Case(
        "all fall back, but there is one request in ten minutes",
        {OK: "0+0.1x2000", FALLBACK: "0+0.1x2000"},
        {},
    ),
    Case(
        "first tokens take ten seconds",
        {f'{FIRST}{{tenant="acme",le="0.5"}}': "0x2000",
         f'{FIRST}{{tenant="acme",le="10"}}': "0+60x2000"},
        {"SwitchyardSlowFirstToken": 1},
    ),
    Case(
        "the registry can't be read",
        {'switchyard_snapshot_age_seconds{instance="r:1"}': "1x50 60+60x1000"},
        {"SwitchyardSnapshotStale": 1},
    ),
    Case(
        "exchanges are lost",
        {LOST: "0x50 7x1000"},
        {"SwitchyardExchangesDropped": 1},
    ),
    Case("drift since ten minutes", {DRIFT: "0x50 1x1000"}, {"SwitchyardDriftSustained": 1}),
    Case("drift that ended with a promotion", {DRIFT: "1x50 0x1000"}, {}),
    Case(
        "drift since yesterday",
        {DRIFT: "1x2000"},
        {"SwitchyardDriftSustained": 1, "SwitchyardDriftUnanswered": 1},
        at=1500,
        only="Drift",
    ),
    Case(
        "a template was applied twice",
        {'switchyard_pipeline_changed{tenant="acme"}': "0x50 1x1000"},
        {"SwitchyardPipelineChanged": 1},
    ),
    Case(
        "a pipeline that was mended",
        {'switchyard_pipeline_changed{tenant="acme"}': "1x50 0x1000"},
        {},
    ),
    Case(
        "canary prompts get other answers",
        {'switchyard_artifact_changed{tenant="acme"}': "0x50 1x1000"},
        {"SwitchyardArtifactChanged": 1},
    ),
    Case(
        "canary prompts get the old answers again",
        {'switchyard_artifact_changed{tenant="acme"}': "1x50 0x1000"},
        {},
    ),
    Case(
        "answers got worse",
        {'switchyard_quality_down{tenant="acme"}': "0x50 1x1000"},
        {"SwitchyardQualityDown": 1},
    ),
    Case(
        "worse answers that were rolled back",
        {'switchyard_quality_down{tenant="acme"}': "1x50 0x1000"},
        {},
    ),
    Case(
        "the base does as well as the adapter",
        {'switchyard_adapter_stopped_helping{tenant="acme"}': "0x50 1x1000"},
        {"SwitchyardAdapterStoppedHelping": 1},
    ),
    Case(
        "an adapter that was retrained helps again",
        {'switchyard_adapter_stopped_helping{tenant="acme"}': "1x50 0x1000"},
        {},
    ),
    Case(
        "a version waits for a person",
        {'switchyard_rollouts_waiting{tenant="acme"}': "0x50 1x1000"},
        {"SwitchyardRolloutWaiting": 1},
    ),
    Case(
        "a version that a person promoted",
        {'switchyard_rollouts_waiting{tenant="acme"}': "1x50 0x1000"},
        {},
    ),
    Case(
        "jobs wait and none runs",
        {'switchyard_jobs{state="queued"}': "2x1000"},
        {"SwitchyardJobsWait": 1},
    ),
    Case(
        "jobs wait behind one that runs",
        {'switchyard_jobs{state="queued"}': "2x1000", 'switchyard_jobs{state="running"}': "1x1000"},
        {},
    ),
    Case(
        "a job failed",
        {'switchyard_jobs{state="failed"}': "3x40 4x1000"},
        {"SwitchyardJobsFail": 1},
    ),
    Case(
        "a candidate has failed for a quarter of an hour",
        {SWAP_FAILING: "0x45 2700x1000"},
        {"SwitchyardSwapsFail": 1},
    ),
    Case(
        "a candidate is rejected",
        {'switchyard_swaps_total{outcome="rejected"}': "0x30 1x1000"},
        {"SwitchyardCandidateRejected": 1},
    ),
    Case(
        "the controller hangs",
        {f'{TICK}{{job="switchyard-controller"}}': "0+60x50 3000x1000"},
        {"SwitchyardControllerStalled": 1},
    ),
    Case(
        "the controller meets errors",
        {"switchyard_tick_errors_total": "0+1x1000"},
        {"SwitchyardControllerErrors": 1},
    ),
    Case("the router is down", {ROUTER: "1x50 0x1000"}, {"SwitchyardTargetDown": 1}),
    Case("the router is not scraped", {}, {"SwitchyardTargetMissing": 1}, absent=(ROUTER,)),
    Case("people call half of the answers bad", {GOOD: "0.5x1000"},
         {"SwitchyardAnswersJudgedBad": 1}),
    Case("two of four judged answers are bad", {GOOD: "0.7x1000", JUDGED: "4x1000"}, {}),
    Case("a retraining made it worse", {REALISED: "-0.1x1000"},
         {"SwitchyardRetrainingGainedNothing": 1}),
    Case("a retraining gained a little", {REALISED: "0.01x1000"}, {}),
    Case(
        "the registry could not be read for a minute",
        {'switchyard_snapshot_age_seconds{instance="r:1"}': "1x55 60 1x1000"},
        {},
    ),
    Case("exchanges were lost an hour ago", {LOST: "7x1000"}, {}),
    Case("a busy router writes one exchange in fifty", {THINNED: "0+59x2000"}, {}),
    Case("a candidate failed for eight minutes", {SWAP_FAILING: "0x50 3060x8 0x1000"}, {}),
    Case(
        "the swapper hangs",
        {SWAP_TICK: "0+60x40 2400x1000"},
        {"SwitchyardSwapsStalled": 1},
    ),
    Case("a swap takes ten minutes", {SWAP_TICK: "0+60x50 3000x1000"}, {}),
    Case(
        "the controller's first look never ends",
        {f'{TICK}{{job="switchyard-controller"}}': "_x50 3000x1000"},
        {"SwitchyardControllerStalled": 1},
    ),
    Case(
        "a candidate was rejected long ago",
        {'switchyard_swaps_total{outcome="rejected"}': "1x1000"},
        {},
    ),
    Case(
        "the controller missed a tick",
        {f'{TICK}{{job="switchyard-controller"}}': "0+60x57 3420 3480 3600+60x1000"},
        {},
    ),
    Case("the controller met two errors", {"switchyard_tick_errors_total": "0x55 2x1000"}, {}),
    Case(
        "labels overflowed long ago",
        {'switchyard_label_overflow_total{label="tenant"}': "90x1000"},
        {},
    ),
    Case("the router was down for a minute", {ROUTER: "1x55 0 1x1000"}, {}),
    Case(
        "a scanner tries tenants",
        {'switchyard_label_overflow_total{label="tenant"}': "0x50 90x1000"},
        {"SwitchyardLabelsOverflow": 1},
    ),
    Case(
        "nothing is there at all",
        {},
        {"SwitchyardNoReadyEngine": 1, "SwitchyardTargetMissing": 3},
        base={},
    ),
]  # fmt: skip


FIRES_WITHOUT = {
    "switchyard_engine_up": {"SwitchyardNoReadyEngine": 1},
    "switchyard_requests_total": {"SwitchyardSeriesMissing": 1},
    "switchyard_last_tick_timestamp_seconds": {"SwitchyardSeriesMissing": 1},
    "switchyard_last_swap_tick_timestamp_seconds": {"SwitchyardSeriesMissing": 1},
    "up": {"SwitchyardTargetMissing": 3},
}
"""What fires when a metric is not there at all: silence must not look like health where it counts.
Every other alert keeps still."""


def _metrics(expr: str) -> set[str]:
    """Names of the metrics that an expression asks for, through recordings too."""
    recorded = {r.record: r.expr for r in (*rules.recordings(), *rules.budgets())}
    found: set[str] = set()
    for name in re.findall(r"[a-z_:]+[a-zA-Z0-9_:]*", expr):
        if name in recorded:
            found |= _metrics(recorded[name])
        elif name == "up" or name.startswith("switchyard_"):
            found.add(name)
    return found


def _names(series: Iterable[str]) -> set[str]:
    return {one.partition("{")[0] for one in series}


ALL = [
    *CASES,
    *(
        Case(
            f"there is no {metric}",
            {},
            FIRES_WITHOUT.get(metric, {}),
            at=25,
            absent=tuple(series for series in HEALTHY if series.partition("{")[0] == metric),
        )
        for metric in sorted(_names(HEALTHY))
    ),
]


def _test(case: Case) -> dict[str, Any]:
    series = case.series()
    return {
        "name": case.title,
        "interval": "1m",
        "input_series": [{"series": k, "values": v} for k, v in series.items()],
        "promql_expr_test": [
            {
                "expr": 'sort(count by (alertname) (ALERTS{alertstate="firing"}))',
                "eval_time": f"{case.at}m",
                "exp_samples": [
                    {"labels": f'{{alertname="{name}"}}', "value": count}
                    for name, count in sorted(case.firing.items())
                ],
            }
        ],
    }


def test_every_alert_has_a_case_in_which_it_fires() -> None:
    fired = {name for case in ALL for name in case.firing}
    assert fired == {alert.name for alert in rules.alerts()}


def test_every_alert_has_a_case_in_which_its_series_move_and_it_keeps_still() -> None:
    loud = [
        alert.name
        for alert in rules.alerts()
        if not any(
            alert.name not in case.firing and _metrics(alert.expr) & _names(case.change)
            for case in ALL
            if case.only in alert.name
        )
    ]
    assert loud == []


def test_every_series_that_alerts_ask_for_is_there_where_all_is_well() -> None:
    asked = {metric for alert in rules.alerts() for metric in _metrics(alert.expr)}
    assert asked <= _names(HEALTHY), "else no case takes it away"


def test_every_alert_has_a_case_for_each_of_its_series_being_missing() -> None:
    gaps = {
        (alert.name, metric)
        for alert in rules.alerts()
        for metric in _metrics(alert.expr)
        if not any(metric not in _names(case.series()) and case.base for case in ALL)
    }
    assert gaps == set()


def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    promtool = program("promtool")
    for only in sorted({case.only for case in ALL}):
        tests = {
            "rule_files": ["rules.yml"],
            "evaluation_interval": "1m",
            "tests": [_test(case) for case in ALL if case.only == only],
        }
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(_rules(only)))
        (tmp_path / "test.yml").write_text(yaml.safe_dump(tests, width=10_000))
        done = subprocess.run(
            [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def _rules(only: str) -> dict[str, Any]:
    """Alerts with `only` in their name, and the recordings that alerts need."""
    asked = " ".join(alert.expr for alert in rules.alerts())
    groups = rules.document()["groups"]
    for group in groups:
        group["rules"] = [
            rule
            for rule in group["rules"]
            if only in rule.get("alert", only) and rule.get("record", asked) in asked
        ]
    return {"groups": [group for group in groups if group["rules"]]}


def test_what_is_left_of_the_error_budget_is_told_by_tenant_and_for_all(tmp_path: Path) -> None:
    """One request in 200 failed: half of the errors that are allowed."""
    series = {OK: "0+199x60", FAILED: "0+1x60"}
    test = {
        "interval": "1m",
        "input_series": [{"series": k, "values": v} for k, v in series.items()],
        "promql_expr_test": [
            {
                "expr": f"round({name}, 0.001)",
                "eval_time": "60m",
                "exp_samples": [{"labels": labels, "value": 0.5}],
            }
            for name, labels in (
                ("switchyard:error_budget:left_ratio30d", "{}"),
                ("tenant:switchyard_error_budget:left_ratio30d", '{tenant="acme"}'),
            )
        ],
    }
    _prove(test, tmp_path)


def test_the_share_of_exchanges_that_are_written_is_told(tmp_path: Path) -> None:
    written = 'switchyard_exchanges_written_total{instance="r:1"}'
    test = {
        "interval": "1m",
        "input_series": [
            {"series": series, "values": values}
            for series, values in ((written, "0+2x60"), (THINNED, "0+97x60"), (LOST, "0+1x60"))
        ],
        "promql_expr_test": [
            {
                "expr": "round(switchyard:exchanges_written:ratio_rate5m, 0.001)",
                "eval_time": "60m",
                "exp_samples": [{"labels": "{}", "value": 0.02}],
            }
        ],
    }
    _prove(test, tmp_path)


def _prove(test: dict[str, Any], tmp_path: Path) -> None:
    """One test of promtool's, on all rules."""
    promtool = program("promtool")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rules.document()))
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}, width=10_000)
    )
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
