"""What the dashboards show, as data: titles, words for people, and queries.

*Operator* is for who runs the platform, *Tenant* for one tenant (`$tenant` in its queries). Every
query uses series that `Metrics` declares, that a recording rule makes, or that VLLM lists; tests
hold it to that. How Grafana wants them written down is monitoring/dashboards.py's to know.
"""

from __future__ import annotations

from dataclasses import dataclass

VLLM = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
)
"""Series of the engine itself that dashboards use. vLLM labels all of them with the base's name."""


@dataclass(frozen=True)
class Panel:
    """One panel: `queries` are (PromQL, legend); `kind` is "lines", "number" or "table"."""

    title: str
    text: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "lines"
    width: int = 8


Rows = tuple[tuple[str, tuple[Panel, ...]], ...]
"""(name of a row, its panels)."""

OPERATOR: Rows = (
    (
        "Is it well?",
        (
            Panel(
                "Requests answered without error",
                "Share of the last hour's requests that did not end in 5xx.",
                (("1 - switchyard:request_errors:ratio_rate1h", ""),),
                unit="percentunit", kind="number", width=6,
            ),
            Panel(
                "Ready engines", "Engines that say they are ready, and said so just now.",
                (("sum(switchyard_engine_up)", ""),), kind="number", width=6,
            ),
            Panel(
                "Tenants in drift", "Tenants whose prompts have changed, for sure.",
                (("sum(switchyard_drift_active)", ""),), kind="number", width=6,
            ),
            Panel(
                "Jobs waiting", "Training jobs that no worker has taken yet.",
                (('max(switchyard_jobs{state="queued"})', ""),), kind="number", width=6,
            ),
        ),
    ),
    (
        "Traffic",
        (
            Panel(
                "Requests", "By tenant.",
                (("tenant:switchyard_requests:rate5m", "{{tenant}}"),), unit="reqps",
            ),
            Panel(
                "Errors by code", "Error answers, by the code that the client saw.",
                (("sum by (code) (rate(switchyard_errors_total[5m]))", "{{code}}"),), unit="reqps",
            ),
            Panel(
                "Fallbacks by reason",
                "Answers by another version than the one asked for, and why.",
                (("sum by (reason) (rate(switchyard_fallbacks_total[5m]))", "{{reason}}"),),
                unit="reqps",
            ),
            Panel(
                "Time to first token, p95", "19 of 20 requests see their first token sooner.",
                (("tenant:switchyard_time_to_first_token:p95_5m", "{{tenant}}"),), unit="s",
            ),
            Panel(
                "Whole request, p95", "19 of 20 requests are done sooner.",
                (("tenant:switchyard_request_duration:p95_5m", "{{tenant}}"),), unit="s",
            ),
            Panel(
                "In flight", "Requests being answered now.",
                (("sum by (tenant) (switchyard_in_flight)", "{{tenant}}"),),
            ),
            Panel(
                "Tokens", "Read and written.",
                (("sum by (kind) (rate(switchyard_tokens_total[5m]))", "{{kind}}"),),
                unit="short",
            ),
            Panel(
                "Error budget burn",
                "1 uses up exactly what 30 days allow; 14.4 uses it up in two days.",
                (
                    ("switchyard:request_errors:ratio_rate5m / 0.01", "5 m"),
                    ("switchyard:request_errors:ratio_rate1h / 0.01", "1 h"),
                ),
            ),
            Panel(
                "Snapshot age", "How old the router's picture of the registry is.",
                (("max by (instance) (switchyard_snapshot_age_seconds)", "{{instance}}"),),
                unit="s",
            ),
        ),
    ),
    (
        "Engines and swaps",
        (
            Panel("Engines", "1: ready.", (("switchyard_engine_up", "{{engine}}"),)),
            Panel(
                "Requests in the engine", "As the engine counts them.",
                (
                    ("sum(vllm:num_requests_running)", "running"),
                    ("sum(vllm:num_requests_waiting)", "waiting"),
                ),
            ),
            Panel(
                "KV cache in use", "At 1 the engine makes requests wait.",
                (("max(vllm:kv_cache_usage_perc)", ""),), unit="percentunit",
            ),
            Panel(
                "Engine tokens", "Prompt tokens read and tokens written, all adapters.",
                (
                    ("sum(rate(vllm:prompt_tokens_total[5m]))", "prompt"),
                    ("sum(rate(vllm:generation_tokens_total[5m]))", "written"),
                ),
            ),
            Panel(
                "Swaps", "Candidates that reached an end within the hour.",
                (("sum by (outcome) (increase(switchyard_swaps_total[1h]))", "{{outcome}}"),),
            ),
            Panel(
                "Adapter load", "Mean time to stage and warm one version on one engine.",
                (
                    (
                        "sum(increase(switchyard_adapter_load_seconds_sum[1h]))"
                        " / sum(increase(switchyard_adapter_load_seconds_count[1h]))", "",
                    ),
                ),
                unit="s",
            ),
            Panel(
                "Parity", "Engine against trainer at the last check; near 0 is good.",
                (("switchyard_parity_abs_logprob", "{{tenant}}"),),
            ),
            Panel(
                "Effect", "Adapter against base at the last check; near 0 means no effect.",
                (("switchyard_effect_abs_logprob", "{{tenant}}"),),
            ),
            Panel(
                "Live versions", "What every alias serves now.",
                (("max by (tenant, alias, version) (switchyard_version_info)", ""),),
                kind="table",
            ),
        ),
    ),
    (
        "Drift and retraining",
        (
            Panel(
                "Evidence of drift over its threshold", "At 1 the alarm goes.",
                (
                    (
                        "max by (tenant) (switchyard_drift_statistic)"
                        " / max by (tenant) (switchyard_drift_threshold)", "{{tenant}}",
                    ),
                ),
            ),
            Panel(
                "False alarms on streams without drift",
                "Hidden draws from references, in which nothing changes: alarms seen, and those "
                "that the budget allows on average.",
                (
                    ("sum(increase(switchyard_drift_control_alarms_total[7d]))", "seen in a week"),
                    (
                        "sum(increase(switchyard_drift_control_promised_total[7d]))",
                        "allowed in a week",
                    ),
                ),
            ),
            Panel(
                "Corrections waiting", "Corrected examples that no job has used yet.",
                (("max by (tenant) (switchyard_corrections_pending)", "{{tenant}}"),),
            ),
            Panel(
                "Decisions", "Receipts written within the hour.",
                (("sum by (kind) (increase(switchyard_decisions_total[1h]))", "{{kind}}"),),
            ),
            Panel(
                "Jobs", "Training jobs by state.",
                (("max by (state) (switchyard_jobs)", "{{state}}"),),
            ),
            Panel(
                "Training loss", "Latest of each tenant's job.",
                (("max by (tenant) (switchyard_train_loss)", "{{tenant}}"),),
            ),
            Panel(
                "Training tokens", "Supervised tokens per second.",
                (("sum(rate(switchyard_train_tokens_total[5m]))", ""),),
            ),
        ),
    ),
    (
        "Health of the telemetry itself",
        (
            Panel("Targets", "1: scraped.", (('up{job=~"switchyard-.*"}', "{{job}}"),)),
            Panel(
                "Exchange records lost", "Drift and feedback miss them.",
                (("sum(increase(switchyard_exchanges_dropped_total[15m]))", ""),),
            ),
            Panel(
                "Label values refused", "Counted as `other` instead.",
                (("sum by (label) (increase(switchyard_label_overflow_total[1h]))", "{{label}}"),),
            ),
        ),
    ),
)  # fmt: skip

TENANT: Rows = (
    (
        "What is served",
        (
            Panel(
                "Live versions", "What each of your model names stands for now.",
                (
                    (
                        "max by (alias, version) "
                        '(switchyard_version_info{tenant="$tenant"})', "",
                    ),
                ),
                kind="table", width=12,
            ),
            Panel(
                "Answered without error", "Share of the last 5 minutes' requests.",
                (('1 - tenant:switchyard_request_errors:ratio_rate5m{tenant="$tenant"}', ""),),
                unit="percentunit", kind="number", width=6,
            ),
            Panel(
                "Served by a fallback", "Share of answers that another version gave.",
                (('tenant:switchyard_fallbacks:ratio_rate10m{tenant="$tenant"}', ""),),
                unit="percentunit", kind="number", width=6,
            ),
        ),
    ),
    (
        "Traffic",
        (
            Panel(
                "Requests by what answered", "The adapter, or the base model.",
                (
                    (
                        "sum by (served) "
                        '(rate(switchyard_requests_total{tenant="$tenant"}[5m]))', "{{served}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Time to first token", "Half of the requests, and 19 of 20, are faster.",
                (
                    ('tenant:switchyard_time_to_first_token:p50_5m{tenant="$tenant"}', "half"),
                    ('tenant:switchyard_time_to_first_token:p95_5m{tenant="$tenant"}', "19 of 20"),
                ),
                unit="s",
            ),
            Panel(
                "Whole request", "Half of the requests, and 19 of 20, are faster.",
                (
                    ('tenant:switchyard_request_duration:p50_5m{tenant="$tenant"}', "half"),
                    ('tenant:switchyard_request_duration:p95_5m{tenant="$tenant"}', "19 of 20"),
                ),
                unit="s",
            ),
            Panel(
                "Tokens", "Read and written, per second.",
                (
                    (
                        'sum by (kind) (rate(switchyard_tokens_total{tenant="$tenant"}[5m]))',
                        "{{kind}}",
                    ),
                ),
            ),
            Panel(
                "Errors by code", "What your clients saw.",
                (
                    (
                        'sum by (code) (rate(switchyard_errors_total{tenant="$tenant"}[5m]))',
                        "{{code}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Fallbacks by reason", "Why another version answered.",
                (
                    (
                        'sum by (reason) (rate(switchyard_fallbacks_total{tenant="$tenant"}[5m]))',
                        "{{reason}}",
                    ),
                ),
                unit="reqps",
            ),
        ),
    ),
    (
        "Are your prompts still what the adapter was trained for?",
        (
            Panel(
                "Evidence that prompts have changed",
                "Grows by the odds of bets that lose on average while nothing changes "
                "(natural logarithm). Above the threshold it is no coincidence.",
                (
                    ('max(switchyard_drift_statistic{tenant="$tenant"})', "evidence"),
                    ('max(switchyard_drift_threshold{tenant="$tenant"})', "threshold"),
                ),
                width=12,
            ),
            Panel(
                "Reference", "Prompts frozen for comparison since the last promotion.",
                (('max(switchyard_drift_reference_prompts{tenant="$tenant"})', ""),),
                kind="number", width=4,
            ),
            Panel(
                "Drift", "1: sustained.",
                (('max(switchyard_drift_active{tenant="$tenant"})', ""),), kind="number", width=4,
            ),
            Panel(
                "Corrections waiting", "Your corrected answers that no training has used yet.",
                (('max(switchyard_corrections_pending{tenant="$tenant"})', ""),),
                kind="number", width=4,
            ),
        ),
    ),
)  # fmt: skip


def queries() -> list[str]:
    """Every query of every panel, as PromQL with `$tenant` in it."""
    return [
        expr
        for rows in (OPERATOR, TENANT)
        for _, panels in rows
        for panel in panels
        for expr, _ in panel.queries
    ]
