"""The access log: one line a request, as structlog would write it, and never in the way."""

from __future__ import annotations

import io
import json
import os
import time
from typing import Any

import structlog

from monitoring.metrics import Metrics
from router import access
from router.access import AccessLog
from router.call import Call
from router.settings import RouterSettings
from tests.fake_engine import FakeEngine
from tests.router.conftest import World, running
from tests.router.test_chat import HELLO


def call(number: int = 0, status: int = 200, **fields: Any) -> Call:
    made = Call(f"{number:08x}" + "0" * 24, f"chatcmpl-{number}", 1.0, time.time(), **fields)
    made.status, made.ended = status, 1.5
    return made


def written(log: AccessLog, reading: int) -> list[dict[str, Any]]:
    log.tick()
    os.set_blocking(reading, False)
    try:
        data = os.read(reading, 1 << 20)
    except BlockingIOError:
        return []
    return [json.loads(line) for line in data.splitlines()]


def test_a_line_has_the_fields_and_the_order_that_structlog_gives() -> None:
    out = io.StringIO()
    theirs = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )
    reading, writing = os.pipe()
    with structlog.contextvars.bound_contextvars(process="router", worker=3):
        log = AccessLog(RouterSettings(), Metrics(), people=False, descriptor=writing)
        log.startup()
        log.shutdown()
        log.note(call(status=404, code="model_not_found"))
        theirs.info(
            "request", request="0" * 32, tenant="none", asked=None, version=None, engine=None,
            fallback=None, role=None, status=404, code="model_not_found", ms=500.0,
        )  # fmt: skip
    [ours] = written(log, reading)
    expected = json.loads(out.getvalue())
    assert list(ours) == list(expected)
    stamps = ours.pop("timestamp"), expected.pop("timestamp")
    assert ours == expected
    assert stamps[0][:16] <= stamps[1][:16] and len(stamps[0]) == len(stamps[1])
    os.close(reading)
    os.close(writing)


def test_of_requests_that_went_well_a_share_is_written_and_of_the_others_all() -> None:
    reading, writing = os.pipe()
    settings = RouterSettings(access_log_sample=0.25)
    log = AccessLog(settings, Metrics(), people=False, descriptor=writing)
    for part in range(8):
        log.note(call(part << 29))
        log.note(call(part << 29, status=503))
    lines = written(log, reading)
    assert [line["status"] for line in lines].count(200) == 2
    assert [line["status"] for line in lines].count(503) == 8
    os.close(reading)
    os.close(writing)


def test_lines_that_nobody_reads_are_bounded_and_counted() -> None:
    metrics = Metrics()
    log = AccessLog(RouterSettings(), metrics, people=False, descriptor=-1)
    for _ in range(access._QUEUE + 5):
        log.note(call())
    name = "switchyard_access_lines_dropped_total"
    assert metrics.registry.get_sample_value(name) == 5
    log.tick()
    assert metrics.registry.get_sample_value(name) == access._QUEUE + 5, "stderr is gone"


def test_every_write_is_whole_lines_that_fit_a_pipes_atomic_size() -> None:
    log = AccessLog(RouterSettings(), Metrics(), people=False)
    pieces: list[bytes] = []
    log._write = lambda lines: pieces.append(b"".join(lines))  # type: ignore[method-assign]
    for number in range(100):
        log.note(call(number))
    log.tick()
    assert len(pieces) > 1
    assert all(len(piece) <= 4096 and piece.endswith(b"}\n") for piece in pieces)
    assert b"".join(pieces).count(b"\n") == 100


async def test_a_request_is_logged_without_its_text_or_key(
    world: World, engine: FakeEngine, capfd: Any
) -> None:
    async with running(world, access_log=True) as router:
        body = json.dumps({"model": "triage", "messages": HELLO}).encode()
        _, _, headers = await router.post(body)
    lines = [x for x in capfd.readouterr().err.splitlines() if '"event":"request"' in x]
    said = next(json.loads(x) for x in lines if json.loads(x)["status"] == 200)
    assert "req_" + said["request"] == headers["x-request-id"]
    assert said["tenant"] == "acme" and said["asked"] == "triage" and said["engine"] == "engine-0"
    assert world.keys["acme"] not in "".join(lines) and HELLO[0]["content"] not in "".join(lines)
