"""The *Operator* dashboard, for who runs the platform: rows of panels, as data."""

from __future__ import annotations

from monitoring.panel import Panel, Rows

_PROCESSES = 'job=~"switchyard-.*"'


def _mean(metric: str) -> str:
    return f"sum(rate({metric}_sum[5m])) / sum(rate({metric}_count[5m]))"


OPERATOR: Rows = (
    (
        "Is it well?",
        (
            Panel(
                "Answered without error",
                "Share of the last hour's requests that did not end in 5xx.",
                (("1 - switchyard:request_errors:ratio_rate1h", ""),),
                unit="percentunit", kind="number", width=4,
            ),
            Panel(
                "Error budget left",
                "Of the errors that 30 days allow (1 %): 100 % means none was used, below 0 % the "
                "objective is missed.",
                (("switchyard:error_budget:left_ratio30d", ""),),
                unit="percentunit", kind="number", width=4,
            ),
            Panel(
                "Served by a fallback", "Share of the last 10 minutes' answers.",
                (
                    (
                        "sum(rate(switchyard_fallbacks_total[10m]))"
                        " / sum(rate(switchyard_requests_total[10m]))", "",
                    ),
                ),
                unit="percentunit", kind="number", width=4,
            ),
            Panel(
                "Ready engines", "Engines that say they are ready, and said so just now.",
                (("sum(switchyard_engine_up)", ""),), kind="number", width=4,
            ),
            Panel(
                "Tenants in drift", "Tenants whose prompts have changed, for sure.",
                (("sum(max by (tenant) (switchyard_drift_active))", ""),), kind="number", width=4,
            ),
            Panel(
                "Jobs waiting", "Training jobs that no worker has taken yet.",
                (('max(switchyard_jobs{state="queued"})', ""),), kind="number", width=4,
            ),
            Panel(
                "Error budget burn",
                "1 uses up exactly what 30 days allow; 14.4 uses it up in two days.",
                (
                    ("switchyard:request_errors:ratio_rate5m / 0.01", "5 m"),
                    ("switchyard:request_errors:ratio_rate1h / 0.01", "1 h"),
                    ("switchyard:request_errors:ratio_rate6h / 0.01", "6 h"),
                ),
                width=12,
            ),
            Panel(
                "Error budget left by tenant", "Of the errors that 30 days allow each of them.",
                (("tenant:switchyard_error_budget:left_ratio30d", "{{tenant}}"),),
                unit="percentunit", width=12,
            ),
        ),
    ),
    (
        "Traffic and fallback",
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
                "Refused by a limit", "By which of the tenant's limits.",
                (("sum by (limit) (rate(switchyard_rate_limited_total[5m]))", "{{limit}}"),),
                unit="reqps",
            ),
            Panel(
                "In flight", "Requests being answered now.",
                (("sum by (tenant) (switchyard_in_flight)", "{{tenant}}"),),
            ),
            Panel(
                "Tokens", "Read and written, per second.",
                (("sum by (kind) (rate(switchyard_tokens_total[5m]))", "{{kind}}"),),
            ),
        ),
    ),
    (
        "Where the time goes",
        (
            Panel(
                "Time to first token, p95", "19 of 20 requests see their first token sooner.",
                (("tenant:switchyard_time_to_first_token:p95_5m", "{{tenant}}"),), unit="s",
            ),
            Panel(
                "Whole request, p95", "19 of 20 requests are done sooner.",
                (("tenant:switchyard_request_duration:p95_5m", "{{tenant}}"),), unit="s",
            ),
            Panel(
                "Mean request, by stage",
                "Waiting in the router, waiting in the engine, reading the prompt (prefill), "
                "writing the answer (decode).",
                (
                    (
                        "sum(rate(switchyard_queue_seconds_sum[5m]))"
                        " / sum(rate(switchyard_request_duration_seconds_count[5m]))",
                        "router's queue",
                    ),
                    (_mean("vllm:request_queue_time_seconds"), "engine's queue"),
                    (_mean("vllm:request_prefill_time_seconds"), "prefill"),
                    (_mean("vllm:request_decode_time_seconds"), "decode"),
                ),
                unit="s",
            ),
        ),
    ),
    (
        "Residency and swaps",
        (
            Panel(
                "Versions and slots",
                "Versions that were warmed in each engine, and how many it computes with at once. "
                "More versions than slots is well, as long as loads stay few.",
                (
                    ("max by (engine) (switchyard_engine_warm_versions)", "{{engine}}: warm"),
                    ("max by (engine) (switchyard_engine_adapter_slots)", "{{engine}}: slots"),
                    ("sum by (engine) (switchyard_replica_adapters)", "{{engine}}: at work"),
                ),
            ),
            Panel(
                "Requests whose adapter had no slot",
                "Brought in from the engine's memory (host), or cold from the store.",
                (("sum by (source) (rate(switchyard_adapter_loads_total[5m]))", "{{source}}"),),
                unit="reqps",
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
                (("max by (tenant) (switchyard_parity_abs_logprob)", "{{tenant}}"),),
            ),
            Panel(
                "Effect", "Adapter against base at the last check; near 0 means no effect.",
                (("max by (tenant) (switchyard_effect_abs_logprob)", "{{tenant}}"),),
            ),
            Panel(
                "Live versions", "What every alias serves now.",
                (("max by (tenant, alias, version) (switchyard_version_info)", ""),),
                kind="table", width=24,
            ),
        ),
    ),
    (
        "Engines",
        (
            Panel("Engines", "1: ready.", (("max by (engine) (switchyard_engine_up)",
                                            "{{engine}}"),), width=6),
            Panel(
                "Requests in the engine", "As the engine counts them.",
                (
                    ("sum(vllm:num_requests_running)", "running"),
                    ("sum(vllm:num_requests_waiting)", "waiting"),
                ),
                width=6,
            ),
            Panel(
                "KV cache in use", "At 1 the engine makes requests wait.",
                (("max(vllm:kv_cache_usage_perc)", ""),), unit="percentunit", width=6,
            ),
            Panel(
                "Engine tokens", "Prompt tokens read and tokens written per second, all adapters.",
                (
                    ("sum(rate(vllm:prompt_tokens_total[5m]))", "prompt"),
                    ("sum(rate(vllm:generation_tokens_total[5m]))", "written"),
                ),
                width=6,
            ),
        ),
    ),
    (
        "Drift, over all tenants",
        (
            Panel(
                "Evidence of drift over its threshold", "At 1 the alarm goes.",
                (
                    (
                        "max by (tenant) (switchyard_drift_statistic)"
                        " / max by (tenant) (switchyard_drift_threshold)", "{{tenant}}",
                    ),
                ),
                width=6,
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
                width=6,
            ),
            Panel(
                "Corrections waiting", "Corrected examples that no job has used yet.",
                (("max by (tenant) (switchyard_corrections_pending)", "{{tenant}}"),), width=6,
            ),
            Panel(
                "Answers called good", "Share of the answers that people judged in 7 days.",
                (('max by (tenant) (switchyard_quality_ratio{bound="estimate"})', "{{tenant}}"),),
                unit="percentunit", width=6,
            ),
            Panel(
                "Broken pipelines and worse answers",
                "1: messages are built in an unusual way; answers are worse than after promotion.",
                (
                    ("max by (tenant) (switchyard_pipeline_changed)", "{{tenant}}: pipeline"),
                    ("max by (tenant) (switchyard_quality_down)", "{{tenant}}: answers"),
                ),
                width=24,
            ),
        ),
    ),
    (
        "From retraining to traffic",
        (
            Panel(
                "Jobs", "Training jobs by state.",
                (("max by (state) (switchyard_jobs)", "{{state}}"),), width=6,
            ),
            Panel(
                "Verdicts", "What evaluations said of all versions there are.",
                (("sum by (verdict) (max by (tenant, verdict) (switchyard_verdicts))",
                  "{{verdict}}"),),
                width=6,
            ),
            Panel(
                "Versions", "Where all versions are on their way to traffic.",
                (("sum by (state) (max by (tenant, state) (switchyard_versions))", "{{state}}"),),
                width=6,
            ),
            Panel(
                "Receipts", "What was decided: promote, reject, hold, retrain, roll back.",
                (("sum by (kind) (max by (tenant, kind) (switchyard_receipts))", "{{kind}}"),),
                width=6,
            ),
        ),
    ),
    (
        "Health of the telemetry itself",
        (
            Panel(
                "Age of the last scrape", "A process that is not scraped for long is not watched.",
                ((f"time() - timestamp(up{{{_PROCESSES}}})", "{{job}} {{instance}}"),), unit="s",
            ),
            Panel(
                "Targets", "1: scraped, and it answered.",
                ((f"up{{{_PROCESSES}}}", "{{job}} {{instance}}"),),
            ),
            Panel(
                "Time of a scrape", "It grows with the number of series.",
                ((f"scrape_duration_seconds{{{_PROCESSES}}}", "{{job}} {{instance}}"),), unit="s",
            ),
            Panel(
                "Exchanges written",
                "Share. A busy router thins them out: drift and feedback know those that are.",
                (("switchyard:exchanges_written:ratio_rate5m", "written"),), unit="percentunit",
            ),
            Panel(
                "Records lost", "By no design. Exchanges, by why; spans; access log lines.",
                (
                    (
                        "sum by (reason) ("
                        'increase(switchyard_exchanges_dropped_total{reason!="thinned"}[15m]))',
                        "exchanges: {{reason}}",
                    ),
                    ("sum(increase(switchyard_spans_dropped_total[15m]))", "spans"),
                    ("sum(increase(switchyard_access_lines_dropped_total[15m]))", "access lines"),
                ),
            ),
            Panel(
                "Label values refused", "Counted as `other` instead.",
                (("sum by (label) (increase(switchyard_label_overflow_total[1h]))", "{{label}}"),),
            ),
            Panel(
                "Age of what processes know",
                "The router's picture of the registry; the last looks of the controller's loops.",
                (
                    ("max by (instance) (switchyard_snapshot_age_seconds > 0)",
                     "{{instance}}: snapshot"),
                    ("time() - max(switchyard_last_tick_timestamp_seconds > 0)", "controller"),
                    ("time() - max(switchyard_last_swap_tick_timestamp_seconds > 0)", "swapper"),
                ),
                unit="s",
            ),
        ),
    ),
)  # fmt: skip
