"""Evaluations side by side: nothing is lost, nothing a tenant wrote becomes markup."""

from __future__ import annotations

import re

import pytest

from monitoring.interval import wilson
from train.report.page import Judged, page, side_by_side

HOSTILE = "<script>alert('x')</script>"


def figures(score: float, n: int = 50, **more: object) -> dict[str, object]:
    return {"score": score, "exact": score, "valid": 1.0, "n": n, **more}


def evaluation(score: float, **more: object) -> dict[str, object]:
    metrics = {
        "accuracy": score,
        "labels": {HOSTILE: {"precision": 0.5, "recall": 0.25, "f1": 0.333, "support": 8}},
        "confusion": {HOSTILE: {HOSTILE: 2, "(no label)": 6}},
    }
    return {
        "kind": "label",
        "n": 50,
        "base_zero_shot": figures(0.0),
        "base_few_shot": figures(0.1),
        "adapter": figures(score, wrong=[3, 7], metrics=metrics),
        **more,
    }


REASONS = {
    "summary": f"88 % beats 10 % {HOSTILE}",
    "against_base_few_shot": {
        "gain": 0.78,
        "interval": [0.66, 0.88],
        "wins": 39,
        "losses": 0,
        "p": 1e-12,
        "p_holm": 2e-12,
    },
}


def test_the_base_comes_first_and_each_method_has_its_row() -> None:
    rows = side_by_side(
        {
            "lora": Judged(evaluation(0.88), "promote", REASONS),
            "full": Judged(evaluation(0.8, compiled={"error": 0.45}), "promote", REASONS),
        }
    )
    assert [row["system"] for row in rows] == ["base", "base, few-shot", "lora", "full"]
    assert [row["exact"] for row in rows] == [0.0, 0.1, 0.88, 0.8]
    assert rows[3]["error"] == 0.45
    low, high = rows[2]["interval"]
    assert low < 0.88 < high


def test_a_page_has_every_figure_and_escapes_every_text() -> None:
    text = page({f"lora {HOSTILE}": Judged(evaluation(0.88), "promote", REASONS)}, HOSTILE)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    for said in ("66.0 to 88.0", "0.880", "Wrong on lines 3, 7", "<svg", "promote"):
        assert said in text, said


def field(f1: float, n: int = 40) -> dict[str, object]:
    return {"exact": f1 / 2, "n": n, "precision": f1, "recall": f1, "f1": f1, "support": n}


def test_fields_stand_worst_first_with_every_system_beside_another() -> None:
    ours = {"party.name": field(0.9), HOSTILE: field(0.25, 12), "days": field(0.4)}
    theirs = {"party.name": field(0.1), "days": field(0.8)}
    text = page(
        {
            "lora": Judged(
                {
                    "kind": "json",
                    "base_zero_shot": figures(0.1, metrics={"fields": theirs}),
                    "adapter": figures(0.5, metrics={"fields": ours}),
                }
            )
        },
        "contracts",
    )
    table = text.partition("By field, the worst first")[2].partition("</table>")[0]
    assert "<th>base zero shot, F1</th>" in table and "<th>adapter, exact</th>" in table
    places = [table.index(f"<td>{name}") for name in ("&lt;script", "days", "party.name")]
    assert places == sorted(places)
    cells = re.findall(r">([\d.]+)<", table[places[1] : places[2]])
    assert cells == ["40", "0.400", "0.800", "0.200", "0.400"]


def test_the_first_token_and_the_time_between_tokens_are_shown() -> None:
    times = {"mean": 9.25, "p50": 8.5, "p95": 11.75}
    spent = {"latency_ms": times, "tokens_per_request": 12.0}
    new = {**spent, "ttft_ms": {**times, "p50": 3.5}, "inter_token_ms": {**times, "mean": 1.125}}
    for more, shown in ((new, ("3.500", "1.125")), (spent, ("8.500",))):
        text = page({"lora": Judged({"adapter": figures(0.5, **more)})}, "tickets")
        assert "first token p50, ms" in text and "between tokens, ms" in text
        assert all(value in text for value in shown)


def test_a_version_that_nothing_was_measured_of_has_a_page_all_the_same() -> None:
    text = page({"lora": Judged({"kind": None, "n": 0}, "insufficient", {})}, "tickets")
    assert "Nothing was measured" in text and "no reason was recorded" in text


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    # statsmodels' proportion_confint(k, n, method="wilson"), to three digits
    [(0.0, 10, 0.0, 0.278), (0.5, 10, 0.237, 0.763), (0.9, 100, 0.826, 0.945)],
)
def test_wilson_intervals_are_those_of_the_textbook(
    share: float, n: int, low: float, high: float
) -> None:
    assert wilson(share, n) == pytest.approx((low, high), abs=1e-3)


def test_without_rows_there_is_no_interval() -> None:
    assert wilson(0.5, 0) is None
    assert wilson(None, 10) is None
