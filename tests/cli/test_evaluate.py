"""`switchyard evaluate`: the verdict is the exit code, and the figures are the engine's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cli.evaluate import KEY
from registry import Registry
from registry.versions import Version
from tests.cli.conftest import Switchyard
from tests.fake_engine import FakeEngine
from tests.registry.making import digest_of

BASE = "switchyard-tiny"
LABELS = ("refund", "delay")


def row(n: int) -> dict[str, Any]:
    label = LABELS[n % 2]
    question = f"{chr(97 + n % 26)}{chr(97 + n // 26)}x: {label}"
    return {"prompt": question, "completion": label}


@pytest.fixture(autouse=True)
def few_general_rows(monkeypatch: pytest.MonkeyPatch, own_environment: None) -> None:
    """Each of them is several requests, and most of these tests are about something else."""
    monkeypatch.setenv("SWITCHYARD_WORKER_GENERAL_ROWS", "12")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "heldout.jsonl"
    path.write_text("\n".join(json.dumps(row(n)) for n in range(40)))
    return path


@pytest.fixture
def version(home_registry: Registry) -> Version:
    home_registry.tenants.create("acme")
    home_registry.adapters.create("acme", "triage", BASE)
    return home_registry.versions.publish(
        "acme",
        "triage",
        digest_of(1),
        manifest={"base": BASE, "rank": 8},
        evaluation={},
        verdict="insufficient",
    )


def engine(version: Version, *, knowing: str, **options: Any) -> FakeEngine:
    """`knowing` reads the label off the question; every other model says the same to all."""

    def answer(model: str, messages: list[dict[str, Any]]) -> str:
        return str(messages[-1]["content"]).split()[-1] if model == knowing else "delay"

    return FakeEngine(adapters={version.served_name}, answer=answer, **options)


async def ask(
    switchyard: Switchyard,
    version: Version,
    knowing: str,
    *words: object,
    code: int,
    **options: Any,
) -> str:
    async with engine(version, knowing=knowing, **options) as served:
        command = ("evaluate", version.short, "--tenant", "acme", "--engine", served.url, *words)
        ended = await asyncio.to_thread(lambda: switchyard(*command, code=code))
    return str(ended.stdout)


async def test_a_version_that_knows_more_than_the_base_is_to_be_promoted(
    switchyard: Switchyard, version: Version, rows: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    said = await ask(
        switchyard, version, version.served_name, "--data", rows, "--html", page, code=0
    )
    assert f"{version.served_name}: promote" in said
    assert "base" in said and "1.000" in said
    text = page.read_text()
    assert "through the engine" in text
    assert "Time and tokens" in text and "latency p95, ms" in text


async def test_a_version_that_knows_less_is_to_be_rejected(
    switchyard: Switchyard, version: Version, rows: Path
) -> None:
    said = await ask(switchyard, version, BASE, "--data", rows, "--json", code=1)
    found = json.loads(said)
    assert found["verdict"] == "reject"
    assert found["evaluation"]["through"] == "engine"
    assert found["evaluation"]["adapter"]["latency_ms"]["p95"] >= 0


async def test_the_adapters_own_smallest_gain_is_the_verdicts(
    switchyard: Switchyard, version: Version, rows: Path, home_registry: Registry
) -> None:
    home_registry.adapters.update("acme", "triage", answers={"min_effect": 0.2})
    said = await ask(switchyard, version, version.served_name, "--data", rows, "--json", code=0)
    assert json.loads(said)["reasons"]["min_effect"] == 0.2


async def test_a_version_that_forgot_is_to_be_rejected_however_much_it_learned(
    switchyard: Switchyard, version: Version, rows: Path, tmp_path: Path
) -> None:
    general = tmp_path / "chats.jsonl"
    asked = [f"what is {chr(97 + n)}{chr(97 + n)}" for n in range(26)]
    general.write_text("\n".join(json.dumps({"prompt": q, "completion": "a b"}) for q in asked))
    words = ("--data", rows, "--general", general, "--max-forgetting", 0.5)
    page = tmp_path / "report.html"
    said = await ask(
        switchyard, version, version.served_name, *words, "--html", page, code=1,
        logprob=lambda model, ids, position: -1.0 if model == BASE else -3.0,
    )  # fmt: skip
    assert "general set (" in said and "perplexity 20.1, the base's 2.72: × 7.39" in said
    assert "forgot: perplexity on" in said
    assert "What it forgot" in page.read_text()
    said = await ask(
        switchyard, version, version.served_name, *words, "--json", code=0,
        logprob=lambda model, ids, position: -1.0,
    )  # fmt: skip
    found = json.loads(said)["evaluation"]["general"]
    assert (found["source"], found["change"], found["max_forgetting"]) == ("file", 0.0, 0.5)


async def test_an_answer_that_was_not_liked_is_no_reference(
    switchyard: Switchyard, version: Version, tmp_path: Path
) -> None:
    rated = tmp_path / "rated.jsonl"
    lines = [
        {**row(n), "label": True} if n < 20 else {**row(n), "completion": "no", "label": False}
        for n in range(40)
    ]
    rated.write_text("\n".join(map(json.dumps, lines)))
    said = await ask(switchyard, version, version.served_name, "--data", rated, "--json", code=0)
    found = json.loads(said)["evaluation"]
    assert (found["n"], found["adapter"]["exact"]) == (20, 1.0)


async def test_a_few_rows_settle_nothing(
    switchyard: Switchyard, version: Version, rows: Path
) -> None:
    said = await ask(
        switchyard, version, version.served_name, "--data", rows, "--limit", 6, "--json", code=3
    )
    assert json.loads(said)["reasons"]["rows_needed"] >= 10


async def test_what_is_asked_is_not_shown_as_an_example(
    switchyard: Switchyard, version: Version, rows: Path, tmp_path: Path
) -> None:
    shown = tmp_path / "shown.jsonl"
    others = [{"prompt": f"more {n} of it: {LABELS[n % 2]}", "completion": "delay"} for n in (0, 1)]
    shown.write_text("\n".join(json.dumps(each) for each in [row(0), row(1), row(2), *others]))
    words = ("--data", rows, "--examples", shown, "--json")
    async with engine(version, knowing=version.served_name) as served:
        command = ("evaluate", version.short, "-t", "acme", "--engine", served.url, *words)
        ended = await asyncio.to_thread(lambda: switchyard(*command, code=0))
    assert "3 of 5 examples are left out" in ended.stderr
    found = json.loads(ended.stdout)["evaluation"]
    assert found["examples_left_out"] == 3
    assert found["base_few_shot"]["examples"] == 2
    ended = switchyard(
        "evaluate", version.short, "-t", "acme", "--data", rows, "--examples", rows, code=2
    )
    assert "every row is asked" in ended.stderr


@pytest.mark.parametrize("known", [True, False])
async def test_the_homes_key_goes_to_its_own_engines_only(
    switchyard: Switchyard,
    version: Version,
    rows: Path,
    home_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    known: bool,
) -> None:
    monkeypatch.setenv("SWITCHYARD_ENGINE_API_KEY", "the-homes")
    monkeypatch.setenv(KEY, "another")
    async with engine(version, knowing=version.served_name) as served:
        if known:
            home_registry.engines.register(
                "engine-0", f"{served.url}/", BASE, max_loras=4, max_lora_rank=16
            )
        served.api_key = "the-homes" if known else "another"
        command = ("evaluate", version.short, "-t", "acme", "--engine", served.url)
        await asyncio.to_thread(lambda: switchyard(*command, "--data", rows, code=0))
        if not known:
            monkeypatch.delenv(KEY)
            ended = await asyncio.to_thread(lambda: switchyard(*command, "--data", rows, code=2))
            assert "401" in ended.stderr


def test_what_is_no_row_and_an_engine_that_is_not_there_are_told(
    switchyard: Switchyard, version: Version, rows: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "x"}\n')
    ended = switchyard("evaluate", version.short, "-t", "acme", "--data", bad, code=2)
    assert "bad.jsonl" in ended.stderr
    ended = switchyard("evaluate", version.short, "-t", "acme", "--data", rows, code=2)
    assert "no engine for switchyard-tiny is ready" in ended.stderr


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    path = tmp_path / "contracts.jsonl"
    lines = [
        {"prompt": f"{row(n)['prompt']} {n}", "completion": json.dumps({"party": "A", "days": n})}
        for n in range(40)
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


async def test_fields_are_shown_worst_first_with_base_and_version_side_by_side(
    switchyard: Switchyard, version: Version, contracts: Path
) -> None:
    def answer(model: str, messages: list[dict[str, Any]]) -> str:
        return json.dumps({"party": "A" if model == version.served_name else "B", "days": 3})

    async with FakeEngine(adapters={version.served_name}, answer=answer) as served:
        command = ("evaluate", version.short, "-t", "acme", "--engine", served.url)
        said = await asyncio.to_thread(
            lambda: switchyard(*command, "--data", contracts, code=3).stdout
        )
    table = said.partition("by field, the worst first")[2]
    assert table.index("days") < table.index("party")
    cells = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.strip()}
    # n, then exact and F1 of the base and of the version
    assert cells["party"] == ["40", "0.000", "0.000", "1.000", "1.000"]
    assert cells["days"] == ["40", *["0.025"] * 4]


@pytest.fixture
def replies(tmp_path: Path) -> Path:
    path = tmp_path / "replies.jsonl"
    lines = [{**row(n), "completion": f"{row(n)['prompt']} on its way"} for n in range(40)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


async def test_texts_are_shown_to_a_judge_whose_key_is_in_the_environment(
    switchyard: Switchyard,
    version: Version,
    replies: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def speak(model: str, messages: list[dict[str, Any]]) -> str:
        known = f"{messages[-1]['content']} on its way"
        return known if model == version.served_name else "sorry"

    def grade(_: str, messages: list[dict[str, Any]]) -> str:
        material = json.loads(messages[-1]["content"])
        return json.dumps({"score": 5}) if material["answer"] != "sorry" else "no idea"

    monkeypatch.setenv("SWITCHYARD_WORKER_JUDGE_API_KEY", "sk-of-the-judge")
    page = tmp_path / "report.html"
    engine = FakeEngine(adapters={version.served_name}, answer=speak)
    judge = FakeEngine(base="judge-1", answer=grade, api_key="sk-of-the-judge")
    async with engine, judge:
        command = ("evaluate", version.short, "-t", "acme", "--engine", engine.url)
        words = ("--data", replies, "--judge-url", f"{judge.url}/v1", "--judge-model", "judge-1")
        more = ("--judge-limit", 20, "--html", page)
        said = await asyncio.to_thread(lambda: switchyard(*command, *words, *more).output)
    assert "judged by judge-1 on 20 rows: base zero shot –, adapter 1" in said
    assert "20 of 40 replies unreadable" in said
    text = page.read_text()
    assert "Judged by judge-1" in text and "20 replies could not be read" in text
    assert "sk-of-the-judge" not in said + text


async def test_a_judge_that_is_not_there_is_told_and_changes_no_verdict(
    switchyard: Switchyard, version: Version, replies: Path
) -> None:
    judge = ("--judge-url", "http://127.0.0.1:9", "--judge-model", "judge-1")
    said = await ask(switchyard, version, BASE, "--data", replies, *judge, "--limit", 5, code=3)
    assert "the judge judge-1 gave no score: http://127.0.0.1:9" in said


async def test_a_judge_is_not_asked_about_labels_nor_without_a_model(
    switchyard: Switchyard, version: Version, rows: Path
) -> None:
    judge = ("--judge-url", "http://127.0.0.1:9")
    async with engine(version, knowing=BASE) as served:
        command = ("evaluate", version.short, "-t", "acme", "--engine", served.url, "--data", rows)
        both = (*command, *judge, "--judge-model", "m")
        labels = await asyncio.to_thread(lambda: switchyard(*both, code=2))
        alone = await asyncio.to_thread(lambda: switchyard(*command, *judge, code=2))
        assert served.asked() == []
    assert "a judge is asked about texts only" in labels.stderr
    assert "go together" in alone.stderr
