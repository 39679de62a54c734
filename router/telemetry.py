"""Telemetry: spans of requests that are over, for an OpenTelemetry collector.

Off unless an endpoint is set; only then is the SDK imported (`pip install switchyard[otel]`). While
a request runs nothing is kept but its ids; its two spans are made from what is known of it at its
end, in a thread of their own. A collector that hangs or is away costs spans, which are counted,
never time or memory.

A SERVER span for the request and a CLIENT span for the engine's part, with the names of
OpenTelemetry's GenAI conventions (https://github.com/open-telemetry/semantic-conventions-genai,
status Development) and `switchyard.*` for what they have no name for. No text, no keys.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from monitoring.metrics import Metrics
from router.call import Call
from router.measures import Measures, sending
from router.settings import RouterSettings
from router.traceparent import Trace, begin

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan

_log = structlog.get_logger("router.telemetry")

_QUEUE = 4096
"""Requests that wait to be sent; those beyond are dropped."""
_BATCH = 256
_INTERVAL_S = 1.0
_EXPORT_TIMEOUT_S = 5.0
OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}
Attributes = dict[str, str | int | float | Sequence[str]]


@dataclass(frozen=True, slots=True)
class Done:
    """What is kept of a request that is over. Times are nanoseconds since the epoch."""

    trace: Trace
    name: str
    began: int
    ended: int
    failed: bool
    attributes: Attributes
    engine_name: str = ""
    engine_began: int = 0
    engine_attributes: Attributes | None = None


class Telemetry:
    """`export` sends spans and says whether they arrived; it may block."""

    def __init__(
        self,
        settings: RouterSettings,
        metrics: Metrics,
        export: Callable[[list[Done]], bool] | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._dropped = metrics.spans_dropped_total
        self._export = export
        self._pending: deque[Done] = deque()
        self._over = threading.Event()
        self._failing = False
        self._thread: threading.Thread | None = None
        self._measures: Measures | None = None

    def begin(self, traceparent: bytes | None) -> Trace:
        """A request's place in its trace, made from its `traceparent` header."""
        return begin(traceparent, self._settings.trace_sample)

    def offer(self, call: Call, path: str) -> None:
        """Take a call that is over. Never blocks."""
        if self._measures is not None:  # every call, sampled or not
            self._measures.count(call, OPERATIONS.get(path, "chat"))
        if call.trace is None or not call.trace.sampled:
            return
        if len(self._pending) >= _QUEUE:
            self._dropped.inc(2 if call.engine is not None else 1)
        else:
            self._pending.append(describe(call, call.trace, path))

    def startup(self) -> None:
        """Begin to send. Raises TelemetryMissing without the SDK."""
        if self._export is None:
            self._export = exporter(self._settings)
        if self._settings.otlp_metrics and self._settings.otlp_endpoint:
            self._measures = sending(
                self._settings.otlp_endpoint, _resource(), self._metrics, _EXPORT_TIMEOUT_S
            )
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def tick(self) -> None:
        """Send what is pending, batch by batch."""
        assert self._export is not None
        while self._pending:
            batch = [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]
            arrived = self._export(batch)
            if not arrived:
                self._dropped.inc(sum(1 + bool(done.engine_name) for done in batch))
            if arrived == self._failing:
                self._failing = not arrived
                say = _log.info if arrived else _log.warning
                say("spans arrive" if arrived else "spans lost: the collector takes none")
            if not arrived:
                return

    def shutdown(self, timeout: float = 2.0) -> None:
        """Send what is left, for at most `timeout` seconds."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(timeout)
        if self._measures is not None:
            self._measures.shutdown(timeout)

    def _run(self) -> None:
        while not self._over.wait(_INTERVAL_S):
            self.tick()
        self.tick()


class TelemetryMissing(Exception):
    """An endpoint is set, and the SDK is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "SWITCHYARD_ROUTER_OTLP_ENDPOINT is set, but OpenTelemetry's SDK is not installed: "
            "`pip install switchyard[otel]`, or take the endpoint away"
        )


def describe(call: Call, trace: Trace, path: str) -> Done:
    """A call that is over, without anything that its client or its engine wrote."""
    began = int(call.created_at * 1e9)
    operation = OPERATIONS.get(path, "chat")
    asked = call.target.asked if call.target is not None else ""
    error = call.code or (str(call.status) if call.status >= 400 else "")
    attributes: Attributes = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "vllm",
        "gen_ai.response.id": call.completion_id,
        "http.request.method": "POST",
        "http.route": path,
        "url.path": path,
        "http.response.status_code": call.status,
        "switchyard.request_id": call.id,
        "switchyard.queue_ms": round(call.queued_s * 1000, 3),
    }
    if asked:
        attributes["gen_ai.request.model"] = asked
    if call.tenant is not None:
        attributes["switchyard.tenant"] = call.tenant.name
    if error:
        attributes["error.type"] = error
    engine_name = ""
    engine_attributes: Attributes | None = None
    if call.engine is not None:
        outcome = call.outcome
        model = call.engine.base if call.version is None else call.served_name
        attributes |= {
            "gen_ai.response.model": model,
            "gen_ai.usage.input_tokens": outcome.prompt_tokens,
            "gen_ai.usage.output_tokens": outcome.completion_tokens,
            "switchyard.version": call.served_name,
            "switchyard.fallback": call.fallback or "none",
            "switchyard.engine": call.engine.id,
        }
        if outcome.finish_reason:
            attributes["gen_ai.response.finish_reasons"] = (outcome.finish_reason,)
        if call.first_byte is not None:
            attributes["gen_ai.response.time_to_first_chunk"] = call.first_byte - call.started
        address = urlsplit(call.engine.url)
        engine_name = f"{operation} {model}"
        engine_attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": model,
            "server.address": address.hostname or "",
            "server.port": address.port or 80,
            "switchyard.engine": call.engine.id,
        }
        if error:
            engine_attributes["error.type"] = error
    return Done(
        trace=trace,
        name=f"{operation} {asked}".rstrip(),
        began=began,
        ended=began + int((call.ended - call.started) * 1e9),
        failed=call.status >= 500,
        attributes=attributes,
        engine_name=engine_name,
        engine_began=began + int((max(call.asked_at, call.started) - call.started) * 1e9),
        engine_attributes=engine_attributes,
    )


def exporter(settings: RouterSettings) -> Callable[[list[Done]], bool]:
    """Sends spans over OTLP/HTTP. The SDK reads OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME and
    OTEL_RESOURCE_ATTRIBUTES itself. Raises TelemetryMissing."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import SpanExportResult
    except ImportError as error:
        raise TelemetryMissing from error
    # What it says of every failed attempt is ours to say, once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    assert settings.otlp_endpoint is not None
    sender = OTLPSpanExporter(
        endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces", timeout=_EXPORT_TIMEOUT_S
    )
    resource = _resource()

    def export(batch: list[Done]) -> bool:
        spans = [span for done in batch for span in _spans(done, resource)]
        return sender.export(spans) is SpanExportResult.SUCCESS

    return export


def _resource() -> Resource:
    """Who sends: what the environment says, else this router by name."""
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "switchyard-router"}))
    return resource


def _spans(done: Done, resource: Any) -> list[ReadableSpan]:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

    def context(span: int, *, remote: bool = False) -> SpanContext:
        return SpanContext(done.trace.trace, span, remote, TraceFlags(TraceFlags.SAMPLED))

    scope = InstrumentationScope("switchyard.router")
    status = Status(StatusCode.ERROR if done.failed else StatusCode.UNSET)
    own = context(done.trace.span)
    spans = [
        ReadableSpan(
            done.name,
            context=own,
            parent=context(done.trace.parent, remote=True) if done.trace.parent else None,
            resource=resource,
            attributes=done.attributes,
            kind=SpanKind.SERVER,
            status=status,
            start_time=done.began,
            end_time=done.ended,
            instrumentation_scope=scope,
        )
    ]
    if done.engine_name:
        spans.append(
            ReadableSpan(
                done.engine_name,
                context=context(done.trace.asked),
                parent=own,
                resource=resource,
                attributes=done.engine_attributes,
                kind=SpanKind.CLIENT,
                status=status,
                start_time=done.engine_began,
                end_time=done.ended,
                instrumentation_scope=scope,
            )
        )
    return spans
