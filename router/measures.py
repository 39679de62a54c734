"""Measures: requests as OpenTelemetry's GenAI metrics, for who has a collector and no Prometheus.

Off unless `otlp_metrics` is set beside an endpoint. Names, units, attributes and bounds are of
https://github.com/open-telemetry/semantic-conventions-genai (status Development). The SDK adds up
and sends in a thread of its own; a collector that is away costs nothing but its own picture.
Every request counts, whatever share of traces is sampled. Tenants and models are held to the bounds
of the router's own metrics: beyond them they are `other`. No text, no keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from monitoring.metrics import Metrics
from router.call import Call

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource

_log = structlog.get_logger("router.measures")

_INTERVAL_MS = 15_000
_SECONDS = [0.01 * 2**n for n in range(14)]
_FIRST_TOKEN = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
]  # fmt: skip
_EACH_TOKEN = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5]
_TOKENS = [float(4**n) for n in range(14)]


class Measures:
    """`count` takes calls that are over. Needs the SDK (extra `otel`)."""

    def __init__(self, reader: MetricReader, resource: Resource, bounds: Metrics) -> None:
        from opentelemetry.sdk.metrics import MeterProvider

        self._bounds = bounds
        self._provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("switchyard.router")

        def histogram(name: str, unit: str, text: str, bounds: list[float]) -> Any:
            return meter.create_histogram(
                name, unit, text, explicit_bucket_boundaries_advisory=bounds
            )

        self._duration = histogram(
            "gen_ai.server.request.duration", "s", "From arrival to last byte", _SECONDS
        )
        self._first_token = histogram(
            "gen_ai.server.time_to_first_token", "s", "From arrival to first token", _FIRST_TOKEN
        )
        self._each_token = histogram(
            "gen_ai.server.time_per_output_token", "s", "Between tokens after the first",
            _EACH_TOKEN,
        )  # fmt: skip
        self._tokens = histogram(
            "gen_ai.client.token.usage", "{token}", "Tokens of a request", _TOKENS
        )

    def count(self, call: Call, operation: str) -> None:
        """Add a call that is over. Some microseconds; never blocks."""
        attributes = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "vllm"}
        if call.target is not None:
            attributes["gen_ai.request.model"] = self._bounds.models.admit(call.target.asked)
        if call.tenant is not None:
            attributes["switchyard.tenant"] = self._bounds.tenants.admit(call.tenant.name)
        error = call.code or (str(call.status) if call.status >= 400 else "")
        failed = {"error.type": error} if error else {}
        self._duration.record(call.ended - call.started, {**attributes, **failed})
        if call.engine is None:
            return
        outcome = call.outcome
        if call.first_byte is not None:
            self._first_token.record(call.first_byte - call.started, attributes)
            if outcome.completion_tokens > 1:
                each = (call.ended - call.first_byte) / (outcome.completion_tokens - 1)
                self._each_token.record(each, attributes)
        for kind, count in (
            ("input", outcome.prompt_tokens),
            ("output", outcome.completion_tokens),
        ):
            self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})

    def shutdown(self, timeout: float) -> None:
        """Send what is left, for at most `timeout` seconds."""
        try:
            self._provider.shutdown(timeout_millis=timeout * 1000)
        except Exception as error:  # the SDK raises nothing narrower where a reader has trouble
            _log.warning("metrics lost at shutdown", error=str(error))


def sending(endpoint: str, resource: Resource, bounds: Metrics, timeout_s: float) -> Measures:
    """Measures that go to `<endpoint>/v1/metrics` over OTLP/HTTP. Raises ImportError."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(endpoint=endpoint.rstrip("/") + "/v1/metrics", timeout=timeout_s)
    return Measures(PeriodicExportingMetricReader(exporter, _INTERVAL_MS), resource, bounds)
