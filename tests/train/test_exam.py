"""Versions are evaluated through the engine that serves them; here a stand-in for it."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fake_engine import FakeEngine
from train.answers import Answers
from train.engine import Answer, Engine, EngineError
from train.exam import Exam, exam_after, examine, perplexity, prepare, spent
from train.examination import Examination
from train.rows import Row

SERVED = "triage@0123456789ab"


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
