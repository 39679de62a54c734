"""Spans reach a real OTLP/HTTP receiver; one that hangs or is away costs nothing but spans."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from monitoring.metrics import Metrics
from router import telemetry
from router.call import Call
from router.settings import RouterSettings
from router.telemetry import Done, Telemetry
from router.traceparent import begin
from tests.fake_engine import FakeEngine
from tests.router.conftest import ENGINE_KEY, World, running, until
from tests.router.test_chat import HELLO

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
BODY = json.dumps({"model": "triage", "messages": HELLO}).encode()


@dataclass
class Collector:
    """An OTLP/HTTP receiver; `hang` makes it accept and never answer."""

    url: str = ""
    hang: bool = False
    raw: list[bytes] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Metric] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        data = await request.read()
        if self.hang:
            await self.over.wait()
        self.raw.append(data)
        for group in ExportTraceServiceRequest.FromString(data).resource_spans:
            self.resources.append({a.key: a.value.string_value for a in group.resource.attributes})
            for scope in group.scope_spans:
                self.spans += scope.spans
        return web.Response()

    async def take_metrics(self, request: web.Request) -> web.Response:
        if self.hang:
            await self.over.wait()
        said = ExportMetricsServiceRequest.FromString(await request.read())
        found = [m for g in said.resource_metrics for s in g.scope_metrics for m in s.metrics]
        self.metrics.update({metric.name: metric for metric in found})
        return web.Response()

    def named(self, kind: int) -> dict[str, Any]:
        """The attributes of the one span of a kind."""
        [span] = [span for span in self.spans if span.kind == kind]
        return attributes(span)


def attributes(span: Span | HistogramDataPoint) -> dict[str, Any]:
    found = {}
    for a in span.attributes:
        which = a.value.WhichOneof("value")
        value = getattr(a.value, which)
        found[a.key] = [v.string_value for v in value.values] if which == "array_value" else value
    return found


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    made = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", made.take)
    app.router.add_post("/v1/metrics", made.take_metrics)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    made.over.set()
    await runner.cleanup()


async def test_a_request_is_a_server_span_with_the_engines_part_below_it(
    world: World, engine: FakeEngine, collector: Collector
) -> None:
    async with running(world, otlp_endpoint=collector.url) as router:
        status, _, headers = await router.post(BODY, traceparent=f"00-{TRACE}-{PARENT}-01")
        assert status == 200
        await until(lambda: len(collector.spans) == 2, "the spans")
    server, client = sorted(collector.spans, key=lambda span: span.kind)
    assert server.kind == Span.SPAN_KIND_SERVER and client.kind == Span.SPAN_KIND_CLIENT
    assert server.trace_id.hex() == client.trace_id.hex() == TRACE
    assert server.parent_span_id.hex() == PARENT
    assert client.parent_span_id == server.span_id
    assert server.start_time_unix_nano <= client.start_time_unix_nano < client.end_time_unix_nano
    assert client.end_time_unix_nano <= server.end_time_unix_nano
    received = engine.requests[-1].headers["traceparent"]
    assert received == f"00-{TRACE}-{client.span_id.hex()}-01", "the engine's spans are below ours"
    version = headers["x-switchyard-version"]
    assert server.name == "chat triage" and client.name == f"chat {version}"
    said = attributes(server)
    usage = {k: said.pop(f"gen_ai.usage.{k}") for k in ("input_tokens", "output_tokens")}
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0
    assert said.pop("switchyard.queue_ms") >= 0
    assert said.pop("gen_ai.response.id").startswith("chatcmpl-")
    assert "req_" + said.pop("switchyard.request_id") == headers["x-request-id"]
    assert said == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "triage",
        "gen_ai.response.model": version,
        "gen_ai.response.finish_reasons": ["stop"],
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.path": "/v1/chat/completions",
        "http.response.status_code": 200,
        "switchyard.tenant": "acme",
        "switchyard.version": version,
        "switchyard.fallback": "none",
        "switchyard.engine": "engine-0",
    }
    asked = attributes(client)
    assert asked["server.address"] == "127.0.0.1" and asked["server.port"] == engine.port
    assert collector.resources[0]["service.name"] == "switchyard-router"
    sent = b"".join(collector.raw)
    for secret in (world.keys["acme"], ENGINE_KEY, HELLO[0]["content"]):
        assert secret.encode() not in sent


async def test_metrics_have_genai_names_and_count_what_no_trace_records(
    world: World, engine: FakeEngine, collector: Collector
) -> None:
    async with running(
        world, otlp_endpoint=collector.url, otlp_metrics=True, trace_sample=0.0
    ) as router:
        assert (await router.post(BODY))[0] == 200
        streamed = json.dumps({"model": "triage", "messages": HELLO, "stream": True}).encode()
        assert (await router.raw(streamed))[0] == 200
        missing = json.dumps({"model": "nothing", "messages": HELLO}).encode()
        assert (await router.post(missing))[0] == 404
    points = {name: [*m.histogram.data_points] for name, m in collector.metrics.items()}
    assert points.keys() == {
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
        "gen_ai.client.token.usage",
    }
    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm",
        "gen_ai.request.model": "triage",
        "switchyard.tenant": "acme",
    }
    counts = {name: sum(p.count for p in found) for name, found in points.items()}
    assert counts["gen_ai.server.request.duration"] == 3
    assert counts["gen_ai.server.time_to_first_token"] == 1, "only streams have a first token"
    (first,) = points["gen_ai.server.time_to_first_token"]
    assert attributes(first) == asked
    errors = [attributes(p).get("error.type") for p in points["gen_ai.server.request.duration"]]
    assert sorted(errors, key=str) == [None, "model_not_found"]
    usage = {attributes(p)["gen_ai.token.type"]: p for p in points["gen_ai.client.token.usage"]}
    assert usage.keys() == {"input", "output"}
    assert (usage["input"].count, usage["input"].sum > 0) == (2, True)
    assert collector.metrics["gen_ai.client.token.usage"].unit == "{token}"
    assert collector.spans == []


async def test_an_error_has_its_code_as_type_and_no_engine_span(
    world: World, engine: FakeEngine, collector: Collector
) -> None:
    async with running(world, otlp_endpoint=collector.url) as router:
        body = json.dumps({"model": "nothing", "messages": HELLO}).encode()
        assert (await router.post(body))[0] == 404
        await until(lambda: collector.spans, "the span")
    assert len(collector.spans) == 1
    assert collector.named(Span.SPAN_KIND_SERVER)["error.type"] == "model_not_found"
    assert collector.spans[0].parent_span_id == b""


async def test_an_invalid_traceparent_goes_no_further_and_begins_a_trace_of_its_own(
    world: World, engine: FakeEngine, collector: Collector
) -> None:
    async with running(world, otlp_endpoint=collector.url) as router:
        await router.post(BODY, traceparent=f"00-{'0' * 32}-{PARENT}-01")
        await until(lambda: len(collector.spans) == 2, "the spans")
    assert collector.spans[0].trace_id != bytes(16)
    assert engine.requests[-1].headers["traceparent"][3:35] == collector.spans[0].trace_id.hex()


async def test_without_an_endpoint_nothing_is_imported_or_passed_on(
    world: World, engine: FakeEngine
) -> None:
    async with running(world) as router:
        await router.post(BODY, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert "traceparent" not in engine.requests[-1].headers


async def test_what_is_not_sampled_is_not_sent_but_the_trace_goes_on(
    world: World, engine: FakeEngine, collector: Collector
) -> None:
    async with running(world, otlp_endpoint=collector.url, trace_sample=0.0) as router:
        await router.post(BODY, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert engine.requests[-1].headers["traceparent"].endswith("-00")
    assert collector.spans == []


@pytest.mark.parametrize("trouble", ["hangs", "is away"])
async def test_a_collector_that_is_no_use_slows_no_request_and_its_spans_are_counted(
    world: World, engine: FakeEngine, collector: Collector, trouble: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(telemetry, "_EXPORT_TIMEOUT_S", 0.5)
    collector.hang = True
    url = collector.url if trouble == "hangs" else "http://127.0.0.1:9"
    async with running(world, otlp_endpoint=url, otlp_metrics=True) as router:
        for _ in range(20):
            assert (await router.post(BODY))[0] == 200
        await until(lambda: router.value("switchyard_spans_dropped_total") >= 2, "the count", 20)
        assert (await router.post(BODY))[0] == 200


def test_a_queue_that_nobody_empties_stops_growing() -> None:
    metrics = Metrics()
    kept: list[Done] = []
    sender = Telemetry(RouterSettings(), metrics, lambda batch: bool(kept.extend(batch)) or True)
    for number in range(telemetry._QUEUE + 10):
        call = Call(f"{number}", f"chatcmpl-{number}", time.monotonic(), time.time(), status=401)
        call.trace = sender.begin(None)
        call.ended = time.monotonic()
        sender.offer(call, "/v1/chat/completions")
    assert metrics.registry.get_sample_value("switchyard_spans_dropped_total") == 10
    sender.tick()
    assert len(kept) == telemetry._QUEUE


@pytest.mark.parametrize(
    "header",
    [
        b"", b"00", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-01",
        b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nx: y",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_counts_as_none(header: bytes) -> None:
    trace = begin(header, 1.0)
    assert trace.parent == 0 and trace.sampled and b"af7651" not in trace.line()


def test_later_versions_are_read_as_far_as_they_are_known() -> None:
    assert f"{begin(f'01-{TRACE}-{PARENT}-01-more'.encode(), 1.0).trace:032x}" == TRACE


def test_a_client_that_does_not_record_is_followed() -> None:
    assert not begin(f"00-{TRACE}-{PARENT}-00".encode(), 1.0).sampled


@given(st.binary(max_size=80))
def test_no_header_breaks_a_request_or_the_line_to_the_engine(header: bytes) -> None:
    line = begin(header, 0.5).line()
    assert len(line) == len("traceparent: ") + 55 + 2 and line.count(b"\r\n") == 1


def test_the_share_that_is_recorded_is_the_one_set() -> None:
    chosen = sum(begin(None, 0.25).sampled for _ in range(4000))
    assert 800 < chosen < 1200
