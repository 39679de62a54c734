"""Versions are evaluated through the engine that serves them; here a stand-in for it."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.answering import answering
from tests.fake_engine import FakeEngine
from train.answers import Answers
from train.engine import Answer, Engine, EngineError
from train.exam import Exam, exam_after, examine, perplexity, prepare, spent
from train.examination import Examination
from train.rows import Row
from train.stream import BrokenStream, read

BASE, SERVED = "switchyard-tiny", "triage@0123456789ab"


def rows(count: int) -> list[Row]:
    labels = ("refund", "delay")
    return [
        Row(
            n + 1,
            (
                {
                    "role": "user",
                    "content": f"{chr(97 + n % 26)}{chr(97 + n // 26)}x: {labels[n % 2]}",
                },
                {"role": "assistant", "content": labels[n % 2]},
            ),
        )
        for n in range(count)
    ]


def knows(model: str, messages: list[dict[str, Any]]) -> str:
    """The adapter reads the label off the question; the base always says the same."""
    return str(messages[-1]["content"]).split()[-1] if model == SERVED else "delay"


def exam(count: int = 40) -> Exam:
    made = prepare(
        rows(count), rows(4), Answers("label", ("refund", "delay")), few_shot=2, max_tokens=8
    )
    systems = {
        "base_zero_shot": "switchyard-tiny",
        "base_few_shot": "switchyard-tiny",
        "adapter": SERVED,
    }
    return Exam.load({**made.json(), "systems": systems})


def engine_with(**options: Any) -> FakeEngine:
    return FakeEngine(adapters={SERVED}, answer=knows, **options)


async def test_an_adapter_that_knows_more_than_the_base_is_promoted() -> None:
    async with engine_with() as served:
        found = await asyncio.to_thread(examine, exam(), Engine(served.url))
        asked = served.asked()
    assert found.figures["through"] == "engine"
    assert found.figures["adapter"]["score"] == 1.0
    assert found.figures["base_zero_shot"]["score"] == 0.5
    assert found.figures["adapter"]["tokens_per_request"] > 0
    assert found.judge().verdict == "promote"
    assert {body["temperature"] for body in asked} == {0}
    assert sorted({len(body["messages"]) for body in asked}) == [1, 5]  # two examples before


async def test_no_more_requests_at_once_than_allowed() -> None:
    async with engine_with(slow_ms=5) as served:
        client = Engine(served.url, concurrency=3)
        await asyncio.to_thread(examine, exam(12), client)
        assert served.most_in_flight == 3


async def test_a_busy_engine_is_asked_again_and_then_given_up() -> None:
    async with engine_with(fail_with=503) as served:
        client = Engine(served.url, concurrency=1, attempts=3, longest_wait=0.01)
        with pytest.raises(EngineError, match="503"):
            await asyncio.to_thread(client.answer, SERVED, [exam().rows[0].prompt], max_tokens=4)
        assert len(served.asked()) == 3


async def test_an_unknown_version_is_refused_at_once() -> None:
    async with engine_with() as served:
        client = Engine(served.url)
        with pytest.raises(EngineError, match="does not exist"):
            await asyncio.to_thread(client.answer, "x@000000000000", [[]], max_tokens=4)
        assert len(served.asked()) == 1


async def test_the_key_is_sent_and_never_shown() -> None:
    async with engine_with(api_key="sk-hidden") as served:
        good = Engine(served.url, "sk-hidden")
        await asyncio.to_thread(good.answer, SERVED, [exam().rows[0].prompt], max_tokens=4)
        with pytest.raises(EngineError) as refused:
            bad = Engine(served.url, "sk-wrong")
            await asyncio.to_thread(bad.answer, SERVED, [exam().rows[0].prompt], max_tokens=4)
    assert "sk-wrong" not in str(refused.value)
    assert "sk-hidden" not in repr(good)


async def test_perplexity_counts_the_answers_tokens_only() -> None:
    def logprob(_: str, __: list[int], position: int) -> float:
        return -2.0 if position >= 3 else -50.0

    async with engine_with(logprob=logprob) as served:
        texts = [([5, 6, 7, 8, 9], 3)]
        found = await asyncio.to_thread(perplexity, Engine(served.url), SERVED, texts)
    assert found == pytest.approx(math.exp(2.0))


async def test_the_first_token_comes_before_the_last_and_both_are_timed() -> None:
    async with FakeEngine(answer=lambda *_: "one two three four", slow_ms=5) as served:
        client = Engine(served.url)
        asked = [[{"role": "user", "content": "count"}]]
        (given,) = await asyncio.to_thread(client.answer, BASE, asked, max_tokens=8)
        (single,) = await asyncio.to_thread(client.answer, BASE, asked, max_tokens=1)
        bodies = served.asked()
    assert all(body["stream"] and body["stream_options"]["include_usage"] for body in bodies)
    assert given.ttft_ms is not None and given.inter_token_ms is not None
    # What is between the first token and the end are the steps between tokens.
    steps = given.inter_token_ms * (given.completion_tokens - 1)
    assert 0 < given.ttft_ms <= given.ttft_ms + steps <= given.latency_ms + 0.1
    assert single.completion_tokens == 1 and single.inter_token_ms is None


@pytest.mark.parametrize("trouble", [{"break_stream_after": 0}, {"give_up": True}])
async def test_an_answer_that_breaks_off_is_no_answer(trouble: dict[str, Any]) -> None:
    async with engine_with(**trouble) as served:
        client = Engine(served.url)
        with pytest.raises(EngineError):
            await asyncio.to_thread(client.answer, SERVED, [exam().rows[0].prompt], max_tokens=4)
        assert len(served.asked()) == 1


def events(*said: Any) -> list[bytes]:
    return [f"data: {one if isinstance(one, str) else json.dumps(one)}\n".encode() for one in said]


def spoken(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"model": "m", "choices": [choice]}


def test_a_stream_is_its_text_its_tokens_and_its_times() -> None:
    usage = {"model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 3}}
    lines = events(spoken(""), spoken("a"), spoken("b", "stop"), usage, "[DONE]")
    found = read(lines, time.perf_counter())
    assert (found.model, found.text, found.prompt_tokens, found.completion_tokens) == (
        "m", "ab", 3, 3
    )  # fmt: skip
    assert 0 < found.ttft_ms <= found.end_ms <= found.latency_ms
    assert found.inter_token_ms == pytest.approx((found.end_ms - found.ttft_ms) / 2)


@pytest.mark.parametrize(
    "lines",
    [
        events(spoken("a", "stop")),  # no [DONE]
        events(spoken("a"), "[DONE]"),  # no reason why it ended
        events(spoken("a"), {"error": {"message": "out of memory"}}, "[DONE]"),
        events({"choices": [None]}, "[DONE]"),
        [],
    ],
)
def test_a_stream_without_its_end_is_broken(lines: list[bytes]) -> None:
    with pytest.raises(BrokenStream):
        read(lines, time.perf_counter())


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async def elsewhere(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect("http://127.0.0.1:9/stolen")

    async with answering(elsewhere) as url:
        with pytest.raises(EngineError) as refused:
            await asyncio.to_thread(Engine(url, "sk-hidden").count, "m", "text")
    assert refused.value.status == 307


async def test_an_error_that_repeats_the_key_is_told_without_it() -> None:
    async def gossip(request: web.Request) -> web.Response:
        return web.Response(status=401, text=f"bad key: {request.headers['authorization']}")

    async with answering(gossip) as url:
        with pytest.raises(EngineError, match="bad key: Bearer …") as refused:
            await asyncio.to_thread(Engine(url, "sk-hidden").count, "m", "text")
    assert "sk-hidden" not in str(refused.value)


def test_times_are_of_the_answers_that_have_them() -> None:
    given = [Answer("a", 10.0, 9, 1, 8.0), Answer("b c", 30.0, 9, 3, 10.0, 5.0)]
    found = spent(given)
    assert found["ttft_ms"] == {"mean": 9.0, "p50": 9.0, "p95": 9.9}
    assert found["inter_token_ms"]["mean"] == 5.0
    assert spent(given[:1])["inter_token_ms"] is None


def test_cost_is_tokens_by_price() -> None:
    given = [Answer("a", 10.0, 90, 10), Answer("b", 30.0, 190, 10)]
    assert spent(given)["latency_ms"]["p50"] == 20.0
    assert "cost_per_request" not in spent(given)
    assert spent(given, 2.0)["cost_per_request"] == pytest.approx(150 * 2e-6)


async def test_the_process_takes_the_exam_without_torch(tmp_path: Path) -> None:
    value = exam().json()
    (tmp_path / "exam.json").write_text(json.dumps(value))
    code = (
        "import sys, pathlib; from train.exam import main; main(pathlib.Path(sys.argv[1]));"
        "sys.exit('torch' in sys.modules)"
    )
    async with engine_with() as served:
        assert exam_after(tmp_path, served.url, base="switchyard-tiny", adapter=SERVED)
        done = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code, str(tmp_path)], check=False
        )
    assert done.returncode == 0
    outcome = json.loads((tmp_path / "exam-outcome.json").read_text())
    assert outcome["verdict"] == "promote"
    assert outcome["evaluation"]["adapter"]["model"] == SERVED


def test_without_an_exam_there_is_none_to_take(tmp_path: Path) -> None:
    assert not exam_after(tmp_path, "http://127.0.0.1:1", base="b", adapter=SERVED)


@pytest.mark.parametrize(("general", "verdict"), [(None, "reject"), ({"n": 64}, "promote")])
def test_what_was_forgotten_in_memory_counts_where_the_engine_can_not_tell(
    tmp_path: Path, general: dict[str, Any] | None, verdict: str
) -> None:
    found = {"evaluation": {"general": general}, "verdict": "promote", "reasons": {}}
    (tmp_path / "exam-outcome.json").write_text(json.dumps(found))
    memory = {
        "evaluation": {"general": {"n": 32}},
        "verdict": "reject",
        "reasons": {"worse_on": "general"},
    }
    with subprocess.Popen(["true"]) as process:
        process.wait()
        merged, trouble = Examination(tmp_path, process).merge(memory)
    assert (merged["verdict"], trouble) == (verdict, "")
    assert merged["evaluation"]["general"] == (general or {"n": 32})
