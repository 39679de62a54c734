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


def engine(version: Version, *, knowing: str) -> FakeEngine:
    """`knowing` reads the label off the question; every other model says the same to all."""

    def answer(model: str, messages: list[dict[str, Any]]) -> str:
        return str(messages[-1]["content"]).split()[-1] if model == knowing else "delay"

    return FakeEngine(adapters={version.served_name}, answer=answer)


async def ask(
    switchyard: Switchyard, version: Version, knowing: str, *words: object, code: int
) -> str:
    async with engine(version, knowing=knowing) as served:
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
