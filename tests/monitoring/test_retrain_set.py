"""The retraining file: old rows as they were, corrections behind them, the last word winning."""

from __future__ import annotations

import json

from monitoring.retrain_set import build
from registry.exchanges import Feedback


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
    assert made.sources == {"replayed": 1, "corrected": 1, "superseded": 1, "unreadable": 0}


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
    assert made.sources == {"replayed": 1, "corrected": 0, "superseded": 0, "unreadable": 5}
