"""The retraining file: old rows as they were, corrections behind them, the last word winning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitoring.retrain_set import KINDS, build
from registry.exchanges import Feedback
from train.rows import FITS, parse


def _old(prompt: str, answer: str) -> str:
    return json.dumps({"messages": [_user(prompt), {"role": "assistant", "content": answer}]})


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _said(number: int, prompt: str, answer: str) -> Feedback:
    return Feedback(
        number=number, id=f"fb-{number}", correction=answer, messages={"messages": [_user(prompt)]}
    )


def test_a_correction_replaces_the_old_row_with_its_prompt() -> None:
    old = f"{_old('a', 'x')}\n{_old('b', 'x')}\n".encode()
    made = build(old, [_said(1, "b", "y")])
    answers = {
        row["messages"][0]["content"]: row["messages"][1]["content"]
        for row in map(json.loads, made.data.splitlines())
    }
    assert answers == {"a": "x", "b": "y"}
    assert made.sources == {
        "replayed": 1,
        "corrected": 1,
        "superseded": 1,
        "unreadable": 0,
        "held_out": 0,
        "unfit": 0,
    }


def test_of_two_corrections_of_one_prompt_the_later_counts() -> None:
    made = build(b"", [_said(2, "a", "late"), _said(1, "a", "early")])
    (row,) = map(json.loads, made.data.splitlines())
    assert row["messages"][-1]["content"] == "late"


def test_the_same_inputs_give_the_same_bytes_in_any_order() -> None:
    old = _old("a", "x").encode()
    said = [_said(1, "b", "y"), _said(2, "c", "z"), _said(3, "d", "ü")]
    assert build(old, said).digest == build(old, said[::-1]).digest


def test_bad_old_rows_are_left_out_and_counted() -> None:
    old = b'{"messages": []}\nnot json\n\n{"messages": "x"}\n[1]\n\xff\n' + _old("a", "x").encode()
    made = build(old, [])
    assert made.sources == {
        "replayed": 1,
        "corrected": 0,
        "superseded": 0,
        "unreadable": 5,
        "held_out": 0,
        "unfit": 0,
    }


def _rows(data: bytes) -> dict[str, dict[str, Any]]:
    return {row["messages"][0]["content"]: row for row in map(json.loads, data.splitlines())}


def test_a_quarter_of_enough_corrections_measures_and_is_in_a_slice_of_its_own() -> None:
    made = build(_old("a", "x").encode(), [_said(n, f"new {n}", "y") for n in range(40)], "news")
    found = _rows(made.data)
    assert made.held_out == sum(row.get("held_out", False) for row in found.values()) == 10
    assert [name for name, row in found.items() if "slice" not in row] == ["a"]
    assert {row.get("slice") for row in found.values()} == {None, "news"}


def test_fewer_are_all_learned_from() -> None:
    made = build(b"", [_said(n, f"new {n}", "y") for n in range(39)])
    assert made.held_out == 0
    assert not any("held_out" in row for row in _rows(made.data).values())


def test_what_measured_once_is_never_learned_from_whatever_is_said_of_it_later() -> None:
    first = build(b"", [_said(n, f"new {n}", "y") for n in range(40)], "first")
    measured = {name for name, row in _rows(first.data).items() if row.get("held_out")}
    again = [_said(100 + n, name, "z") for n, name in enumerate(sorted(measured))]
    second = build(first.data, [*again, _said(200, "another", "z")], "second")
    found = _rows(second.data)
    assert {name for name, row in found.items() if row.get("held_out")} == measured
    assert {found[name]["slice"] for name in measured} == {"second"}
    assert found["new 0"]["slice"] == "first" or "new 0" in measured


PAIR = {
    "input": {"messages": [_user("a")]},
    "preferred_output": [{"role": "assistant", "content": "good"}],
    "non_preferred_output": [{"role": "assistant", "content": "bad"}],
}


@pytest.mark.parametrize(
    "old",
    [
        {"prompt": "a", "completion": "x", "topic": 1},
        {"instruction": "a", "input": "", "output": "x", "topic": 1},
        {"prompt": [_user("a")], "completion": [{"role": "assistant", "content": "x"}], "topic": 1},
    ],
)
def test_old_rows_of_any_shape_are_replayed_and_superseded(old: dict[str, Any]) -> None:
    line = json.dumps(old)
    made = build(line.encode(), [_said(1, "b", "y")])
    rows = parse(made.data)
    assert rows[1] == []
    assert [(row.question, row.answer, row.metadata.get("topic")) for row in rows[0]] == [
        ("a", "x", 1), ("b", "y", None),
    ]  # fmt: skip
    assert build(line.encode(), [_said(1, "a", "y")]).sources["superseded"] == 1


def test_an_adapter_that_learns_from_pairs_gets_pairs() -> None:
    old = f"{json.dumps(PAIR)}\n{_old('b', 'x')}".encode()
    said = [_said(1, "b", "y"), _said(2, "c", "z"), _said(3, "d", "same")]
    given = {"fb-1": "was", "fb-3": "same"}
    made = build(old, said, objective="dpo", given=given)
    rows, errors = parse(made.data)
    assert errors == []
    assert [(row.kind, row.question, row.answer, row.rejected) for row in rows] == [
        ("preference", "a", "good", "bad"), ("preference", "b", "y", "was"),
    ]  # fmt: skip
    assert (made.unreadable, made.unfit) == (1, 2), "no chat row, and no pair without two answers"
    plain = parse(build(json.dumps(PAIR).encode(), said[:1]).data)[0]
    assert [(row.kind, row.answer) for row in plain] == [("chat", "good"), ("chat", "y")], (
        "who learns answers takes the better one"
    )


def test_ratings_and_plain_texts() -> None:
    rated = {"prompt": "a", "completion": "x", "label": False}
    rows, errors = parse(
        build(json.dumps(rated).encode(), [_said(1, "b", "y")], objective="kto").data
    )
    assert errors == []
    assert [(row.kind, row.answer, row.good) for row in rows] == [
        ("rated", "x", False), ("rated", "y", True),
    ]  # fmt: skip
    made = build(b'{"text": "once"}', [_said(1, "b", "y")], objective="pretrain")
    assert (made.replayed, made.corrected, made.unfit) == (1, 0, 1)


def test_what_each_objective_learns_from_is_what_training_says() -> None:
    assert {objective: kind for kind, objective in FITS.items()} == KINDS
