"""`switchyard evaluate`: the verdict is the exit code, and the figures are the engine's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

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


def test_what_is_no_row_and_an_engine_that_is_not_there_are_told(
    switchyard: Switchyard, version: Version, rows: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "x"}\n')
    ended = switchyard("evaluate", version.short, "-t", "acme", "--data", bad, code=2)
    assert "bad.jsonl" in ended.stderr
    ended = switchyard("evaluate", version.short, "-t", "acme", "--data", rows, code=2)
    assert "no engine for switchyard-tiny is ready" in ended.stderr
