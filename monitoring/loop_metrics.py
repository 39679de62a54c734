"""What the loop has made so far, as the registry has it: versions, verdicts, receipts, gains, what
people said of answers, and which versions sit in which engine. Gauges, set by the controller."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from monitoring.labels import Bound, Family

VERSION_STATES = ("candidate", "shadow", "canary", "live", "held", "retired", "rejected")
VERDICTS = ("promote", "reject", "insufficient")
BOUNDS = ("low", "estimate", "high")


class LoopMetrics:
    """Attributes, as in `monitoring.metrics.Metrics`, which has one of these as `loop`."""

    def __init__(
        self,
        registry: CollectorRegistry,
        prefix: str,
        *,
        tenant: Bound,
        alias: Bound,
        version: Bound,
        engine: Bound,
        kind: Bound,
    ) -> None:
        def gauge(name: str, text: str, *bounds: Bound) -> Family[Gauge]:
            labels = [bound.label for bound in bounds]
            made = Gauge(
                f"{prefix}_{name}", text, labels, registry=registry, multiprocess_mode="livemax"
            )
            return Family(made, bounds)

        self.versions = gauge(
            "versions", "Versions in the registry by state",
            tenant, Bound("state", 0, known=VERSION_STATES),
        )  # fmt: skip
        self.verdicts = gauge(
            "verdicts", "Versions in the registry by what their evaluation said",
            tenant, Bound("verdict", 0, known=VERDICTS),
        )  # fmt: skip
        self.receipts = gauge("receipts", "Decision receipts in the registry", tenant, kind)
        self.gain_expected = gauge(
            "retrain_gain_expected_ratio",
            "Most that the last scored retraining could gain, by its receipt", tenant,
        )  # fmt: skip
        self.gain_realised = gauge(
            "retrain_gain_realised_ratio",
            "What the last scored retraining gained on held-out rows", tenant,
        )  # fmt: skip
        self.quality = gauge(
            "quality_ratio",
            "Share of judged answers that people called good, with its 95 % interval",
            tenant, Bound("bound", 0, known=BOUNDS),
        )  # fmt: skip
        self.judged = gauge(
            "judged_answers", "Answers that people judged within the last 7 days", tenant
        )
        self.disliked = gauge(
            "disliked_ratio",
            "Share of the live version's answers that people would call bad, with its interval",
            tenant, Bound("bound", 0, known=BOUNDS),
        )  # fmt: skip
        self.advantage = gauge(
            "adapter_advantage_ratio",
            "The base's share of bad answers less the adapter's, with its interval",
            tenant, Bound("bound", 0, known=BOUNDS),
        )  # fmt: skip
        self.stopped = gauge(
            "adapter_stopped_helping", "1 while the base does as well as an adapter", tenant
        )
        self.artifact_changed = gauge(
            "artifact_changed", "1 while a live version's canary prompts get other answers", tenant
        )
        self.waiting = gauge(
            "rollouts_waiting", "Versions that may go live and wait for a person's word", tenant
        )
        self.live_since = gauge(
            "version_live_timestamp_seconds", "When the version that an alias serves went live",
            tenant, alias, version,
        )  # fmt: skip
        self.warm = gauge("engine_warm_versions", "Versions that were warmed in an engine", engine)
        self.slots = gauge("engine_adapter_slots", "Adapters that an engine computes with at once",
                           engine)  # fmt: skip
        self.per_tenant: tuple[Family[Gauge], ...] = (
            self.versions, self.verdicts, self.receipts, self.gain_expected, self.gain_realised,
            self.quality, self.judged, self.disliked, self.advantage, self.stopped,
            self.artifact_changed, self.waiting, self.live_since,
        )  # fmt: skip

    def forget_engine(self, engine: str) -> None:
        """The engine is gone: so are its gauges."""
        self.warm.forget(engine=engine)
        self.slots.forget(engine=engine)
