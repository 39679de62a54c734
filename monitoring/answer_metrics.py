"""Metrics of what answers were like, by tenant: format, refusals, repetition.

Part of monitoring/metrics.py's one set; what the signals are: monitoring/signals.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram

from monitoring.labels import Bound, Family

if TYPE_CHECKING:
    from monitoring.signals import Signals

FORMATS = ("valid", "invalid")
ANSWERS = ("answered", "refused")
_SHARE = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


class AnswerMetrics:
    """Attributes, as in `monitoring.metrics.Metrics`, which has one of these as `answers`."""

    def __init__(self, registry: CollectorRegistry, prefix: str, tenant: Bound) -> None:
        labels = ["tenant", "outcome"]
        self.formats_total = Family(
            Counter(
                f"{prefix}_answer_formats_total",
                "Answers that were to have a format, by whether they did",
                labels,
                registry=registry,
            ),
            (tenant, Bound("outcome", 0, known=FORMATS)),
        )
        self.read_total = Family(
            Counter(
                f"{prefix}_answers_read_total",
                "Answers looked at, by whether they read as refusals",
                labels,
                registry=registry,
            ),
            (tenant, Bound("outcome", 0, known=ANSWERS)),
        )
        self.repetition = Family(
            Histogram(
                f"{prefix}_answer_repetition",
                "Share of an answer's pieces that were there before",
                ["tenant"],
                buckets=_SHARE,
                registry=registry,
            ),
            (tenant,),
        )
        self.families = (self.formats_total, self.read_total, self.repetition)

    def count(self, tenant: str, signals: Signals) -> None:
        """An answer was looked at."""
        if signals.valid is not None:
            self.formats_total.labels(tenant, FORMATS[not signals.valid]).inc()
        self.read_total.labels(tenant, ANSWERS[signals.refused]).inc()
        self.repetition.labels(tenant).observe(signals.repetition)

    def at_zero(self, tenant: str) -> None:
        """The series that a tenant has from the start."""
        for outcome in FORMATS:
            self.formats_total.labels(tenant, outcome)
        for outcome in ANSWERS:
            self.read_total.labels(tenant, outcome)
        self.repetition.labels(tenant)
