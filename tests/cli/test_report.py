"""`switchyard report`: a page that stands alone, its figures for scripts, and clear errors."""

from __future__ import annotations

import itertools
import json
import re
import sys
import time
from pathlib import Path

import pytest

from registry import Registry
from registry.exchanges import Exchange
from tests.cli.conftest import Switchyard
from tests.monitoring.scene import Scene
from tests.monitoring.tickets import stream


@pytest.fixture
def served(home_registry: Registry) -> Scene:
    """acme with traffic, corrections, a promotion's receipt and drift under watch."""
    scene = Scene(home_registry)
    scene.controller.tick()
    scene.send(stream(1, 80))
    scene.send(stream(2, 5), fallback="deadline")
    scene.correct(4)
    scene.controller.tick()
    home_registry.decisions.record(
        "acme", "support", "promote", "effect-and-parity", digest="a" * 64,
        evidence={"seconds": 1.0},
    )  # fmt: skip
    home_registry.decisions.record(
        "acme", "support", "reject", "verdict", evidence={"summary": "<b>worse</b> & slower"}
    )
    return scene


def test_the_page_has_every_part_and_asks_for_nothing_else(
    served: Scene, switchyard: Switchyard, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    said = switchyard("report", "--tenant", "acme", "--html", page, "--price", "2").output
    assert f"{page} has it as a page" in said.replace("\n", "")
    text = page.read_text("utf-8")
    assert re.findall("<h3>(.*?)</h3>", text) == [
        "What is served now", "Traffic", "What people say", "Drift", "Versions", "Decisions",
        "Jobs",
    ]  # fmt: skip
    assert text.count("<svg") == 6
    assert_no_text_is_an_element(text)
    assert "support@aaaaaaaaaaaa went live, 1.0 s after" in text
    assert "&lt;b&gt;worse&lt;/b&gt; &amp; slower" in text and "<b>worse" not in text
    assert "<td>cost</td>" in text
    asks = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#)([a-z]+:)""", text)
    assert asks == [], "nothing is fetched from anywhere"
    assert "<script" not in text


def assert_no_text_is_an_element(page: str) -> None:
    """Every element is one that the page or its pictures are made of."""
    ours = re.compile(
        "html|head|meta|title|style|body|h[123]|p|article|figure|figcaption|table|tr|th|td|"
        "svg|metadata|defs|g|path|clipPath|rect|use|text|(rdf|cc|dc):[a-zA-Z]+"
    )
    assert [
        name for name in re.findall(r"<([a-zA-Z][^\s/>]*)", page) if not ours.fullmatch(name)
    ] == []


def _row(number: int, at: float, tenant: str = "acme", **said: object) -> Exchange:
    adapter = {"acme": "support", "rivalco": "mergers"}[tenant]
    values = {
        "digest": "a" * 64, "role": "live", "status": 200, "valid": True, "refused": False,
        "ttft_ms": 40.0, "prefill_ms": 30.0, "decode_ms": 60.0, "queue_ms": 10.0,
        "prompt_tokens": 30, "completion_tokens": 10,
    }  # fmt: skip
    return Exchange(
        id=f"chatcmpl-{tenant}-{number}", tenant=tenant, alias=adapter, adapter=adapter,
        served="adapter", created_at=at, latency_ms=100.0, **{**values, **said},
    )  # fmt: skip


@pytest.fixture
def month(home_registry: Registry) -> Scene:
    """acme with 200 requests, one of which failed, over 10 days, a base as control that is mostly
    out of form, people's words, two retrainings; and a rival, of whom acme must learn nothing."""
    scene = Scene(home_registry)
    now = time.time()
    rows = [_row(number, now - 10 * 86_400) for number in range(100)]
    rows += [_row(number, now) for number in range(100, 149)]
    rows += [_row(149, now, status=503, valid=None, refused=None)]
    base = {"digest": None, "role": "control"}
    rows += [_row(number, now, valid=number % 5 == 0, **base) for number in range(150, 200)]
    home_registry.exchanges.add(rows)
    for number in range(100, 120):
        name = f"chatcmpl-acme-{number}"
        home_registry.exchanges.give_feedback("acme", name, rating=-1 if number < 105 else 1)
    decisions = home_registry.decisions
    for ago, realised in ((3, {"outcome": "promoted", "gain": 0.25}), (2, None)):
        receipt = decisions.record(
            "acme", "support", "retrain", "drift-and-corrections",
            expected={"gain_at_most": 0.5}, at=now - ago * 86_400,
            evidence={"statistic": 12.0, "threshold": 10.0, "reason": "<i>why</i>",
                      "disliked": {"share": 0.4, "low": 0.3, "high": 0.5, "words": 30,
                                   "answers": 900}},
        )  # fmt: skip
        if realised is not None:
            decisions.realise(receipt.id, realised)
    home_registry.tenants.create("rivalco")
    home_registry.adapters.create("rivalco", "mergers", "tiny", training={})
    home_registry.exchanges.add(
        [_row(n, now, "rivalco", digest="b" * 64, status=502) for n in range(777)]
    )
    decisions.record("rivalco", "mergers", "hold", "cooldown", evidence={"reason": "hush"})
    home_registry.engines.register("engine-9", "http://127.0.0.1:1", "tiny", max_loras=4,
                                   max_lora_rank=8)  # fmt: skip
    scene.controller.tick()
    return scene


def test_the_page_has_the_dashboards_numbers(
    month: Scene, switchyard: Switchyard, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    switchyard("report", "--tenant", "acme", "--since", "30d", "--html", page)
    text = page.read_text("utf-8")
    cells = re.findall("<td[^>]*>(.*?)</td>", text)
    about = dict(itertools.pairwise(cells))
    began = time.strftime("%Y-%m-%d", time.gmtime(month.registry.exchanges.since(0)[0].created_at))
    assert about["error budget left, 30 days"] == (f"50%: 1 of 200 failed since {began}; 1 % may")
    assert about["answered without error"] == "99.50%"
    assert about["error answers by status"] == "503: 1"
    assert about["answers called good"].startswith("75% of 20, in truth 53% to 89%")
    live = next(n for n, told in enumerate(cells) if told == "support@aaaaaaaaaaaa")
    _, _, drift, bad, better, waiting, _ = cells[live : live + 7]
    assert drift.startswith("none yet")
    assert re.fullmatch(r"2\d% \(\d+% to \d+%\) by 20 words on \d+ answers", bad)
    assert re.fullmatch(
        r"\+\d+ points \([+-]\d+ to \+\d+\) of invalid answers, by \d+ pairs", better
    )
    assert waiting == "0"
    titles = re.findall(r"<dc:title>(.*?)</dc:title>", text)
    assert titles == [
        "Traffic", "Latency", "Mean request, by stage", "Tokens", "Error budget left", "Answers",
        "Answers called good", "Quality", "would be called bad", "better than the base", "Gains",
    ]  # fmt: skip
    assert "&lt;i&gt;why&lt;/i&gt;" in text
    assert "no controller has started yet: figures follow the settings of this command" in text
    assert_no_text_is_an_element(text)


def test_a_tenants_report_has_nothing_of_another_nor_of_the_platform(
    month: Scene, switchyard: Switchyard
) -> None:
    page = switchyard("report", "--tenant", "acme", "--html", "-", "--since", "30d").stdout
    told = switchyard("report", "--tenant", "acme", "--json", "--since", "30d").stdout
    for text in (page, told):
        assert "support@aaaaaaaaaaaa" in text
        for word in ("rivalco", "mergers", "bbbbbbbbbbbb", "hush", "engine-9"):
            assert word not in text, word
    assert "<td>requests</td><td>200</td>" in page
    figures = json.loads(told)
    assert "fleet" not in figures
    assert [found["requests"] for found in figures["tenants"]] == [200]


def test_all_tenants_stand_together_first(
    month: Scene, switchyard: Switchyard, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    switchyard("report", "--since", "30d", "--html", page)
    text = page.read_text("utf-8")
    assert re.findall("<h2>(.*?)</h2>", text) == ["All tenants", "acme", "rivalco"]
    together = text.partition("</article>")[0]
    about = dict(itertools.pairwise(re.findall("<td[^>]*>(.*?)</td>", together)))
    assert about["error budget left, 30 days"].startswith("-7863%: 778 of 977 failed")
    assert about["ready engines"] == "0 of 1"
    assert about["receipts of this time"] == "2 retrain, 1 hold"
    fleet = switchyard.json("report", "--since", "30d")["fleet"]
    budget = fleet["error_budget"]
    assert (budget["requests"], budget["failed"]) == (977, 778)
    assert fleet["engines"] == [
        {"engine": "engine-9", "state": "starting", "ready": False, "warm": 0, "slots": 4}
    ]


def test_without_matplotlib_it_says_how_to_get_it_and_figures_are_told_all_the_same(
    served: Scene, switchyard: Switchyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as where it is not installed
    page = tmp_path / "report.html"
    found = switchyard("report", "--html", page, code=1)
    assert "pip install 'switchyard[report]'" in found.stderr
    assert not page.exists()
    assert switchyard.json("report")["tenants"][0]["requests"] == 89


def test_scripts_get_the_figures_with_where_drift_stands(
    served: Scene, switchyard: Switchyard
) -> None:
    told = switchyard.json("report", "--since", "1h")
    (acme,) = told["tenants"]
    assert (acme["requests"], acme["fallbacks"]) == (89, {"deadline": 5})
    assert acme["adapters"][0]["drift"]["phase"] in ("reference", "watching", "crossed")
    assert round(told["until"] - told["since"]) == 3600


def test_people_get_a_line_for_each_tenant_and_the_receipts_in_words(
    served: Scene, switchyard: Switchyard
) -> None:
    said = switchyard("report").output
    assert "0% of 4 (0% to 49%)" in said
    assert "went live, 1.0 s after" in said


def test_a_registry_without_tenants_gives_an_empty_page(
    home_registry: Registry, switchyard: Switchyard, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    assert "no tenants yet" in switchyard("report", "--html", page).output
    assert "Report: 0 tenants" in page.read_text("utf-8")


def test_what_is_no_time_and_who_is_no_tenant_is_said(
    home_registry: Registry, switchyard: Switchyard
) -> None:
    assert "'soon' is no duration" in switchyard("report", "--since", "soon", code=2).output
    assert "nobody" in switchyard("report", "--tenant", "nobody", code=1).output
