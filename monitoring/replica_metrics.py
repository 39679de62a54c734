"""What a router shows of its replicas: queues, slots, loads, breakers. Per engine only."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from monitoring.labels import Bound, Family

LOAD_SOURCES = ("host", "cold")
SHADOW_OUTCOMES = ("sent", "skipped", "failed")
_WAIT = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class ReplicaMetrics:
    """Attributes, as in `monitoring.metrics.Metrics`, which has one of these as `replicas`."""

    def __init__(self, registry: CollectorRegistry, prefix: str, engine: Bound) -> None:
        def gauge(name: str, text: str) -> Family[Gauge]:
            made = Gauge(
                f"{prefix}_replica_{name}", text, ["engine"], registry=registry,
                multiprocess_mode="livesum",
            )  # fmt: skip
            return Family(made, (engine,))

        self.running = gauge("running", "Requests that this router has in the engine")
        self.queued = gauge("queued", "Requests that wait in this router for the engine")
        self.adapters = gauge("adapters", "Distinct adapters of the requests in the engine")
        self.breaker = Family(
            Gauge(
                f"{prefix}_replica_breaker", "0 closed, 1 half-open, 2 open", ["engine"],
                registry=registry, multiprocess_mode="livemax",
            ),
            (engine,),
        )  # fmt: skip
        self.loads_total = Family(
            Counter(
                f"{prefix}_adapter_loads_total",
                "Requests whose adapter had no slot: brought in from the engine's memory or cold",
                ["engine", "source"], registry=registry,
            ),
            (engine, Bound("source", 0, known=LOAD_SOURCES)),
        )  # fmt: skip
        self.queue_seconds = Histogram(
            f"{prefix}_queue_seconds", "Waiting in the router for a place in an engine",
            buckets=_WAIT, registry=registry,
        )  # fmt: skip
        self.retries_total = Counter(
            f"{prefix}_retries_total", "Requests asked of a further replica", registry=registry
        )
        self.shadows_total = Family(
            Counter(
                f"{prefix}_shadows_total", "Copies of requests for shadow versions", ["outcome"],
                registry=registry,
            ),
            (Bound("outcome", 0, known=SHADOW_OUTCOMES),),
        )  # fmt: skip
        for outcome in SHADOW_OUTCOMES:
            self.shadows_total.labels(outcome)

    def forget(self, engine: str) -> None:
        """The engine is gone: so are its gauges. What was counted stays counted."""
        for family in (self.running, self.queued, self.adapters, self.breaker):
            family.forget(engine=engine)
