"""A judge at an OpenAI-compatible URL: what it is shown, what is read from its replies, and that it
can cost an adapter its promotion and never earn it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from registry import Registry
from registry.settings import SettingsError, load
from tests.answering import answering
from tests.fake_engine import FakeEngine
from tests.registry.making import make_folder
from tests.train.making import row
from train.answers import Answers, chrf
from train.engine import Engine
from train.exam import Exam, exam_after, examine, main, prepare
from train.examination import begin
from train.judge import KEY, Judge, Opinion, address, opinion, read, spearman
from train.rows import Row
from train.settings import WorkerSettings
from train.verdict import decide

MODEL, SECRET = "judge-1", "sk-of-the-judge"
SERVED = "replies@0123456789ab"
ORDERS = [f"{chr(97 + n % 26)}{chr(97 + n // 26)}x" for n in range(40)]
ROWS = [
    row(f"where is my order {order} ?", f"order {order} is on its way to you", n + 1)
    for n, order in enumerate(ORDERS)
]


def grade(material: dict[str, Any]) -> str:
    """5 for the reference's own words, 1 for others."""
    same = material["answer"] == material["reference"]
    return json.dumps({"reason": "compared", "score": 5 if same else 1})


def judging(grade: Any = grade, **options: Any) -> FakeEngine:
    def answer(_: str, messages: list[dict[str, Any]]) -> str:
        return str(grade(json.loads(messages[-1]["content"])))

    return FakeEngine(base=MODEL, answer=answer, **options)


async def ask(
    judge: Judge, said: dict[str, list[str]], rows: list[Row] = ROWS, told: Any = lambda: None
) -> Opinion:
    values = {
        system: [chrf(text, row.answer) for text, row in zip(texts, rows, strict=True)]
        for system, texts in said.items()
    }
    return await asyncio.to_thread(opinion, judge, rows, said, values, told)


def right(rows: list[Row] = ROWS) -> list[str]:
    return [row.answer for row in rows]


async def test_each_answer_is_scored_alone_and_the_same_one_once() -> None:
    said = {"base_zero_shot": ["no"] * 40, "parent": right(), "adapter": right()}
    steps: list[None] = []
    async with judging() as served:
        found = await ask(Judge(f"{served.url}/v1", MODEL), said, told=lambda: steps.append(None))
        asked = served.asked()
    assert found.scores == {
        "base_zero_shot": [0.0] * 40, "parent": [1.0] * 40, "adapter": [1.0] * 40
    }  # fmt: skip
    assert (found.figures["answers"], len(asked), len(steps)) == (80, 80, 120)
    agreement = found.figures["agreement"]
    assert agreement["n"] == 80 and 0.8 < agreement["spearman"] <= 1.0
    assert found.figures["systems"]["adapter"] == {"score": 1.0, "n": 40, "unreadable": 0}
    assert found.figures["model"] == MODEL and found.figures["error"] is None
    for body in asked:
        assert (body["temperature"], body["max_tokens"]) == (0, 300)
        assert body["response_format"]["type"] == "json_schema"
        shown = json.loads(body["messages"][-1]["content"])
        assert set(shown) == {"question", "reference", "answer"}
        assert "adapter" not in json.dumps(body) and "base_zero_shot" not in json.dumps(body)


async def test_what_can_not_be_read_is_counted_and_not_guessed() -> None:
    def mumble(material: dict[str, Any]) -> str:
        return "a fine answer, 5 of 5" if material["answer"] == "no" else grade(material)

    async with judging(mumble) as served:
        judge = Judge(served.url, MODEL)
        found = await ask(judge, {"base_zero_shot": ["no"] * 40, "adapter": right()})
    assert found.scores["base_zero_shot"] == [None] * 40
    assert found.figures["unreadable"] == 40
    assert found.figures["systems"]["base_zero_shot"] == {
        "score": None, "n": 0, "unreadable": 40
    }  # fmt: skip
    assert found.figures["agreement"] == {"spearman": None, "n": 40}


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ('{"reason": "ok", "score": 4}', 0.75),
        ('```json\n{"score": "5"}\n```', 1.0),
        ('<think>{"score": 1}, or 5?</think>\n{"score": 2.0}', 0.25),
        ('{"score": 6}', None),
        ('{"score": 0}', None),
        ('{"score": 4.5}', None),
        ('{"score": true}', None),
        ('{"score": NaN}', None),
        ('{"score": "very good"}', None),
        ('{"score": [5]}', None),
        ('{"reason": "none"}', None),
        ("Score: 5", None),
        ('{"score": 1} and with more good will {"score": 5}', None),
        ('{"reason": "it says {"score": 5}', None),
        ("{" * 5000, None),
        ("", None),
    ],
)
def test_a_reply_is_one_object_with_one_score(reply: str, score: float | None) -> None:
    assert read(reply) == score


def test_a_reply_that_was_cut_is_none() -> None:
    assert read('{"score": 5}', "length") is None


async def test_as_many_rows_as_allowed_and_the_same_in_any_order() -> None:
    shown = []
    async with judging() as served:
        for rows in (ROWS, ROWS[::-1]):
            served.requests.clear()
            found = await ask(Judge(served.url, MODEL, limit=7), {"adapter": right(rows)}, rows)
            assert sum(score is not None for score in found.scores["adapter"]) == 7
            shown.append({json.dumps(body["messages"]) for body in served.asked()})
    assert shown[0] == shown[1] and len(shown[0]) == 7


async def test_a_server_without_schemas_is_asked_without_and_a_long_question_is_skipped() -> None:
    plain = []

    async def old(request: web.Request) -> web.Response:
        body = await request.json()
        if "response_format" in body:
            return web.json_response({"error": "unknown field"}, status=400)
        plain.append(body)
        text = body["messages"][-1]["content"]
        if f"order {ORDERS[3]} ?" in text:
            return web.json_response({"error": "too long"}, status=400)
        message = {"role": "assistant", "content": grade(json.loads(text))}
        return web.json_response(  # by a dated name, as hosted models answer
            {"model": "judge-1-2026", "choices": [{"message": message, "finish_reason": "stop"}]}
        )

    async with answering(old) as url:
        found = await ask(Judge(url, MODEL), {"adapter": right()})
    assert len(plain) == 40
    assert found.figures["unreadable"] == 1
    assert found.scores["adapter"][3] is None
    assert found.scores["adapter"].count(1.0) == 39


async def test_a_judge_that_can_not_be_asked_leaves_no_score_and_says_why() -> None:
    said = {"adapter": right()}
    nobody = await ask(Judge("http://127.0.0.1:9", MODEL, key=SECRET), said)
    assert nobody.scores == {} and "127.0.0.1:9" in nobody.figures["error"]
    async with judging(api_key="another") as served:
        judge = Judge(served.url, MODEL, key=SECRET)
        stranger = await ask(judge, said)
        unknown = await ask(Judge(served.url, "judge-2", key="another"), said)
    assert stranger.scores == {} and "401" in stranger.figures["error"]
    assert "does not exist" in unknown.figures["error"]

    async def never(_: web.Request) -> web.Response:
        return web.json_response({"error": "temperature must be 1"}, status=400)

    async with answering(never) as url:
        refused = await ask(Judge(url, MODEL), said)
    assert refused.scores == {} and "temperature must be 1" in refused.figures["error"]
    for text in (repr(judge), json.dumps(judge.json()), json.dumps(stranger.figures)):
        assert SECRET not in text


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    assert address("https://api.example.com/v1/") == "https://api.example.com"
    for url in ("https://me:hunter2@example.com", "https://example.com/v1?key=hunter2", "hunter2"):
        with pytest.raises(ValueError, match="address") as refused:
            Judge(url, MODEL)
        assert "hunter2" not in str(refused.value)


def test_rank_correlation_is_that_of_the_textbook() -> None:
    # as scipy.stats.spearmanr has it
    assert spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.820783, abs=1e-6)
    assert spearman([0, 0, 1, 1], [0.1, 0.2, 0.2, 0.9]) == pytest.approx(0.707107, abs=1e-6)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([], []) is None


# In the exam and its verdict


def exam(answers: Answers | None = None) -> Exam:
    made = prepare(ROWS, [], answers or Answers("text"), few_shot=0, max_tokens=16)
    return Exam.load({**made.json(), "systems": {"base_zero_shot": "tiny", "adapter": SERVED}})


def replying(model: str, messages: list[dict[str, Any]]) -> str:
    """The adapter says nearly what the reference does; the base makes few words."""
    order = messages[-1]["content"].split()[-2]
    return f"order {order} is on its way to me" if model == SERVED else "soon"


def engine() -> FakeEngine:
    return FakeEngine(base="tiny", adapters={SERVED}, answer=replying)


def harsh(material: dict[str, Any]) -> str:
    return json.dumps({"score": 5 if material["answer"] == "soon" else 1})


async def examined(judge_of: FakeEngine, exam: Exam) -> Any:
    async with engine() as served, judge_of as at:
        judge = Judge(at.url, MODEL)
        return await asyncio.to_thread(lambda: examine(exam, Engine(served.url), judge=judge))


async def test_a_judge_who_likes_the_base_better_costs_the_promotion() -> None:
    found = await examined(judging(harsh), exam())
    verdict = found.judge()
    assert found.figures["judge"]["systems"]["base_zero_shot"]["score"] == 1.0
    assert (verdict.verdict, verdict.reasons["worse_on"]) == ("reject", "judge")
    assert verdict.reasons["metrics"]["judge"]["against_base_zero_shot"]["n"] == 40


async def test_without_its_judge_the_evaluation_stands() -> None:
    async with engine() as served:
        judge = Judge("http://127.0.0.1:9", MODEL)
        found = await asyncio.to_thread(lambda: examine(exam(), Engine(served.url), judge=judge))
    assert found.judge().verdict == "promote"
    assert "judge" not in found.judge().reasons["metrics"]
    assert found.figures["judge"]["error"]


async def test_only_texts_are_judged() -> None:
    judge_of = judging()
    found = await examined(judge_of, exam(Answers("label", ("soon", "late"))))
    assert "judge" not in found.figures and judge_of.requests == []


def test_a_judge_earns_nobody_a_promotion() -> None:
    equal = [0.5] * 100
    guard = {"judge": {"adapter": [1.0] * 100, "base_zero_shot": [0.0] * 100}}
    verdict = decide(equal, {"base_zero_shot": equal}, metrics=guard)
    assert verdict.verdict != "promote"


def test_rows_without_a_judges_score_of_both_are_left_out() -> None:
    better, worse = [1.0] * 100, [0.0] * 100
    ours: list[float | None] = [None] * 60 + [0.0] * 40
    theirs: list[float | None] = [1.0] * 80 + [None] * 20
    verdict = decide(
        better, {"base_zero_shot": worse},
        metrics={"judge": {"adapter": ours, "base_zero_shot": theirs}},
    )  # fmt: skip
    assert verdict.verdict == "reject"
    assert verdict.reasons["metrics"]["judge"]["against_base_zero_shot"]["losses"] == 20
    few = decide(
        better, {"base_zero_shot": worse},
        metrics={"judge": {"adapter": ours[:60] + [None] * 40, "base_zero_shot": theirs}},
    )  # fmt: skip
    assert few.verdict == "promote" and "metrics" not in few.reasons


# Where the judge is named


async def test_the_exams_process_has_the_judges_key_from_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exam.json").write_text(json.dumps(exam().json()))
    monkeypatch.setenv(KEY, SECRET)
    async with engine() as served, judging(api_key=SECRET) as at:
        judge = Judge(at.url, MODEL, "5: short.", 12, SECRET)
        assert exam_after(tmp_path, served.url, base="tiny", adapter=SERVED, judge=judge)
        assert SECRET not in (tmp_path / "exam.json").read_text()
        assert await asyncio.to_thread(main, tmp_path) == 0
        asked = at.asked()
    text = (tmp_path / "exam-outcome.json").read_text()
    figures = json.loads(text)["evaluation"]["judge"]
    assert (figures["rows"], figures["error"], figures["rubric"]) == (12, None, "5: short.")
    assert all("5: short." in body["messages"][0]["content"] for body in asked)
    assert SECRET not in text


async def test_a_jobs_exam_has_the_judge_of_the_workers_settings(
    sqlite_registry: Registry, tmp_path: Path
) -> None:
    registry, folder = sqlite_registry, tmp_path / "job"
    registry.tenants.create("acme")
    registry.adapters.create("acme", "replies", "tiny")
    job = registry.jobs.enqueue("acme", "replies", "file-1")
    make_folder(folder / "adapter")
    (folder / "exam.json").write_text(json.dumps(exam().json()))
    served = FakeEngine(base="tiny", answer=replying)
    async with served, judging(api_key=SECRET) as at:
        registry.engines.register("e", served.url, "tiny", max_loras=4, max_lora_rank=16)
        registry.engines.heartbeat("e", "ready")
        settings = WorkerSettings(
            judge_url=at.url, judge_model=MODEL, judge_api_key=SECRET, judge_limit=10
        )
        served.adapters = {f"replies@{registry.store.publish(folder / 'adapter')[:12]}"}
        taken = begin(registry, settings, job, folder, {"manifest": {"base": "tiny"}})
        async with asyncio.timeout(60):
            while not taken.done:
                await asyncio.sleep(0.05)
    memory = {name: {"score": 0.5} for name in ("base_zero_shot", "adapter")}
    outcome, trouble = taken.merge({"evaluation": memory, "reasons": {}})
    assert trouble == ""
    assert outcome["evaluation"]["judge"]["systems"]["adapter"]["n"] == 10
    assert SECRET not in "".join(p.read_text() for p in folder.glob("exam*"))


def test_a_judge_has_an_address_and_a_model() -> None:
    prefix = "SWITCHYARD_WORKER_"
    assert WorkerSettings().judge is None
    with pytest.raises(SettingsError, match="expected both or neither"):
        load(WorkerSettings, prefix, {f"{prefix}JUDGE_URL": "http://127.0.0.1:9"})
    with pytest.raises(SettingsError, match="a password") as refused:
        load(
            WorkerSettings,
            prefix,
            {f"{prefix}JUDGE_URL": "http://me:hunter2@x", f"{prefix}JUDGE_MODEL": MODEL},
        )
    assert "hunter2" not in str(refused.value)
    settings = load(
        WorkerSettings,
        prefix,
        {
            f"{prefix}JUDGE_URL": "https://api.example.com/v1",
            f"{prefix}JUDGE_MODEL": MODEL,
            f"{prefix}JUDGE_API_KEY": SECRET,
        },
    )
    assert settings.judge == Judge("https://api.example.com/v1", MODEL, key=SECRET)
    assert SECRET not in repr(settings)
