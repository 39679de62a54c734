"""The *Retraining* dashboard, what the loop makes of evidence: rows of panels, as data."""

from __future__ import annotations

from monitoring.panel import Panel, Rows

RETRAINING: Rows = (
    (
        "From jobs to traffic",
        (
            Panel(
                "Jobs", "All jobs in the registry, by how far they came.",
                (("max by (state) (switchyard_jobs)", "{{state}}"),), kind="table", width=6,
            ),
            Panel(
                "Verdicts", "What evaluations said of the versions that jobs made.",
                (("sum by (verdict) (max by (tenant, verdict) (switchyard_verdicts))",
                  "{{verdict}}"),),
                kind="table", width=6,
            ),
            Panel(
                "Versions", "Where those versions are now. Held: certified, and no alias has it.",
                (("sum by (state) (max by (tenant, state) (switchyard_versions))", "{{state}}"),),
                kind="table", width=6,
            ),
            Panel(
                "Receipts", "What was decided: promote, reject, hold, retrain, roll back.",
                (("sum by (kind) (max by (tenant, kind) (switchyard_receipts))", "{{kind}}"),),
                kind="table", width=6,
            ),
            Panel(
                "Decisions", "Receipts written within the hour.",
                (("sum by (kind) (increase(switchyard_decisions_total[1h]))", "{{kind}}"),),
            ),
            Panel(
                "Swaps", "Candidates that reached an end within the hour.",
                (("sum by (outcome) (increase(switchyard_swaps_total[1h]))", "{{outcome}}"),),
            ),
            Panel(
                "Waiting for a person's word",
                "Versions that did no harm on their way to traffic, of tenants that promote by "
                "hand.",
                (("max by (tenant) (switchyard_rollouts_waiting)", "{{tenant}}"),),
            ),
            Panel(
                "From candidate to live", "Mean of the last day's promotions.",
                (
                    (
                        "sum(increase(switchyard_swap_seconds_sum[1d]))"
                        " / sum(increase(switchyard_swap_seconds_count[1d]))", "",
                    ),
                ),
                unit="s",
            ),
        ),
    ),
    (
        "Receipts: expected against realised",
        (
            Panel(
                "Gain of the last scored retraining",
                "Expected: the share of corrected answers that were wrong, the most that could be "
                "gained on prompts like these. Realised: exact answers on held-out rows, new "
                "version less old. Realised at nought or below: the rule fired for nothing.",
                (
                    ("max by (tenant) (switchyard_retrain_gain_expected_ratio)",
                     "{{tenant}}, expected at most"),
                    ("max by (tenant) (switchyard_retrain_gain_realised_ratio)",
                     "{{tenant}}, realised"),
                ),
                unit="percentunit", width=12,
            ),
            Panel(
                "Share of the expected gain that came true", "1: all of it.",
                (
                    (
                        "max by (tenant) (switchyard_retrain_gain_realised_ratio)"
                        " / max by (tenant) (switchyard_retrain_gain_expected_ratio)",
                        "{{tenant}}",
                    ),
                ),
                unit="percentunit", width=12,
            ),
        ),
    ),
    (
        "Evidence that asks for retraining",
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
                "Corrections waiting", "Corrected examples that no job has used yet.",
                (("max by (tenant) (switchyard_corrections_pending)", "{{tenant}}"),),
            ),
            Panel(
                "Answers called good", "Share of the answers that people judged in 7 days.",
                (('max by (tenant) (switchyard_quality_ratio{bound="estimate"})', "{{tenant}}"),),
                unit="percentunit",
            ),
        ),
    ),
    (
        "Training",
        (
            Panel(
                "Time of a job", "Start to end: the mean of the last day's jobs.",
                (
                    (
                        "sum(increase(switchyard_job_seconds_sum[1d]))"
                        " / sum(increase(switchyard_job_seconds_count[1d]))", "",
                    ),
                ),
                unit="s", width=6,
            ),
            Panel(
                "Loss", "Latest of each tenant's job.",
                (("max by (tenant) (switchyard_train_loss)", "{{tenant}}"),), width=6,
            ),
            Panel(
                "Optimiser steps", "Per second.",
                (("sum(rate(switchyard_train_steps_total[5m]))", ""),), width=6,
            ),
            Panel(
                "Tokens", "Supervised tokens per second.",
                (("sum(rate(switchyard_train_tokens_total[5m]))", ""),), width=6,
            ),
        ),
    ),
)  # fmt: skip
