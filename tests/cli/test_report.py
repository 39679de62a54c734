"""`switchyard report`: a page that stands alone, its figures for scripts, and clear errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from registry import Registry
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
        "Traffic", "What people say", "Drift", "Versions", "Decisions", "Jobs",
    ]  # fmt: skip
    assert text.count("<svg") == 5
    assert "support@aaaaaaaaaaaa went live, 1.0 s after" in text
    assert "&lt;b&gt;worse&lt;/b&gt; &amp; slower" in text and "<b>worse" not in text
    assert "<td>cost</td>" in text
    asks = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?!#)([a-z]+:)""", text)
    assert asks == [], "nothing is fetched from anywhere"
    assert "<script" not in text


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
