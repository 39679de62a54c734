"""A job's files, divided: which rows measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.train.making import task
from train.reading import Data, read
from train.spec import TrainingSpec


def line(question: str, **fields: Any) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}]
    return json.dumps({"messages": messages, **fields})


def retraining(rows: int, news: int, held: int) -> list[str]:
    """Old rows, and new ones in a slice of which `held` say that they measure."""
    old = [line(f"old {word(n)} question {word(n * 7)}") for n in range(rows)]
    new = [
        line(f"new {word(n)} thing {word(n * 5)}", slice="new", **_says(n < held))
        for n in range(news)
    ]
    return [*old, *new]


def _says(held: bool) -> dict[str, bool]:
    return {"held_out": True} if held else {}


def word(number: int) -> str:
    """Letters: numbers are all alike to whoever looks for near-duplicates."""
    return "".join(chr(97 + int(digit)) for digit in f"{number:05d}")


def read_in(folder: Path, lines: list[str], validation: list[str] | None = None) -> Data:
    (folder / "training.jsonl").write_text("\n".join(lines))
    if validation is not None:
        (folder / "validation.jsonl").write_text("\n".join(validation))
    named = None if validation is None else "validation.jsonl"
    job = task("base", validation=named, evaluation_rows=100)
    return read(folder, job, TrainingSpec(gain_on="new"))


def new_in(rows: list[Any]) -> int:
    return sum(row.metadata.get("slice") == "new" for row in rows)


def test_rows_that_say_so_measure_and_are_not_learned_from(tmp_path: Path) -> None:
    data = read_in(tmp_path, retraining(2000, 60, 20))
    assert len(data.measured) == 100
    assert 20 <= new_in(data.measured) <= 40
    held = [row for row in data.measured if row.metadata.get("held_out")]
    assert len(held) == 20, "all of them, of some 226 that could measure"
    assert not [r for r in (*data.split.train, *data.split.validation) if "held_out" in r.metadata]
    assert not data.selected_on_test


def test_what_is_new_takes_no_more_than_half_of_the_places(tmp_path: Path) -> None:
    data = read_in(tmp_path, retraining(2000, 400, 200))
    assert (len(data.measured), new_in(data.measured)) == (100, 50)


def test_beside_a_validation_file_they_measure_too(tmp_path: Path) -> None:
    golden = [line(f"golden {word(n)} set {word(n * 3)}") for n in range(60)]
    data = read_in(tmp_path, retraining(200, 60, 20), golden)
    assert (len(data.measured), new_in(data.measured)) == (80, 20)
    assert len(data.split.validation) == 60, "says when to stop, by itself"
    assert data.selected_on_test
    assert new_in(data.split.train) == 40
