"""The *Tenant* dashboard, for one tenant (`$tenant` in its queries): rows of panels, as data.

`$price` is what a million tokens cost, which a box on the dashboard asks for.
"""

from __future__ import annotations

from monitoring.panel import Panel, Rows

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
                unit="percentunit", kind="number", width=4,
            ),
            Panel(
                "Error budget left",
                "Of the errors that 30 days allow (1 % of your requests). Below 0 %: more than "
                "was promised.",
                (('tenant:switchyard_error_budget:left_ratio30d{tenant="$tenant"}', ""),),
                unit="percentunit", kind="number", width=4,
            ),
            Panel(
                "Served by a fallback", "Share of answers that another version gave.",
                (('tenant:switchyard_fallbacks:ratio_rate10m{tenant="$tenant"}', ""),),
                unit="percentunit", kind="number", width=4,
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
                "Cost of the last day",
                "Tokens read and written, at the price of a million that stands above.",
                (
                    (
                        'sum(increase(switchyard_tokens_total{tenant="$tenant"}[1d]))'
                        " / 1e6 * $price", "",
                    ),
                ),
                kind="number",
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
        "What are answers like?",
        (
            Panel(
                "Answers in and out of form",
                "By the adapter's labels or schema, where it has one.",
                (
                    (
                        "sum by (outcome) "
                        '(rate(switchyard_answer_formats_total{tenant="$tenant"}[10m]))',
                        "{{outcome}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Answers and refusals",
                "A refusal is told by its first words: a hint, not a judgement.",
                (
                    (
                        "sum by (outcome) "
                        '(rate(switchyard_answers_read_total{tenant="$tenant"}[10m]))',
                        "{{outcome}}",
                    ),
                ),
                unit="reqps",
            ),
            Panel(
                "Broken pipeline, changed version, worse answers",
                "1: your messages are built in an unusual way; the version answers its canary "
                "prompts in another way than when it was certified; answers are worse than just "
                "after the promotion; the base does as well as an adapter that was better (where a "
                "share of conversations goes to the base).",
                (
                    ('max(switchyard_pipeline_changed{tenant="$tenant"})', "pipeline"),
                    ('max(switchyard_artifact_changed{tenant="$tenant"})', "version"),
                    ('max(switchyard_quality_down{tenant="$tenant"})', "answers"),
                    (
                        'max(switchyard_adapter_stopped_helping{tenant="$tenant"})',
                        "no better than the base",
                    ),
                ),
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
    (
        "Are the answers good?",
        (
            Panel(
                "Answers called good",
                "Share of the answers that people judged in 7 days; the truth lies between low and "
                "high with 95 % certainty.",
                (
                    (
                        'max by (bound) (switchyard_quality_ratio{tenant="$tenant"})',
                        "{{bound}}",
                    ),
                ),
                unit="percentunit", width=12,
            ),
            Panel(
                "Answers that people would call bad",
                "Of all since the promotion, if those who speak are like those who don't: what "
                "was said, and what signs tell of the rest. The truth lies between low and high "
                "with 95 % certainty, at all times.",
                (
                    (
                        'max by (bound) (switchyard_disliked_ratio{tenant="$tenant"})',
                        "{{bound}}",
                    ),
                ),
                unit="percentunit", width=12,
            ),
            Panel(
                "What the adapter is worth",
                "The base's share of bad answers less the adapter's, where it helps most; above 0 "
                "the adapter helps. Known where a share of conversations goes to the base "
                "(control_share). The truth lies between low and high with 95 % certainty, at all "
                "times.",
                (
                    (
                        'max by (bound) (switchyard_adapter_advantage_ratio{tenant="$tenant"})',
                        "{{bound}}",
                    ),
                ),
                unit="percentunit", width=12,
            ),
            Panel(
                "Judged answers", "How many those are.",
                (('max(switchyard_judged_answers{tenant="$tenant"})', ""),),
                kind="number", width=4,
            ),
            Panel(
                "Decisions", "Receipts of what was decided for you, by kind.",
                (('max by (kind) (switchyard_receipts{tenant="$tenant"})', "{{kind}}"),), width=8,
            ),
        ),
    ),
)  # fmt: skip
