"""Files of every known format become the same rows, and what is wrong is named where it is."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.formats.containers import Unreadable
from train.formats.reading import iter_rows, line_of
from train.rows import Row, RowError, canonical, parse

ASKED = [{"role": "user", "content": "Where is it?"}]
SAID = {"role": "assistant", "content": "On its way."}
OTHER = {"role": "assistant", "content": "No idea."}


def rows(path: Path | str) -> list[Row]:
    found = list(iter_rows(path))
    assert all(isinstance(row, Row) for row in found), found
    return [row for row in found if isinstance(row, Row)]


def errors(path: Path) -> list[str]:
    return [str(row) for row in iter_rows(path) if isinstance(row, RowError)]


def written(path: Path, records: list[dict[str, Any]]) -> Path:
    """The records in the format of the path's name."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in records))
    elif path.suffix == ".json":
        path.write_text(json.dumps(records, indent=1))
    elif path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    else:
        with path.open("w", newline="") as file:
            delimiter = "\t" if path.suffix == ".tsv" else ";"
            table = csv.DictWriter(file, list(records[0]), delimiter=delimiter)
            table.writeheader()
            cells = [
                {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in r.items()}
                for r in records
            ]
            table.writerows(cells)
    return path


SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "messages": ("chat", {"messages": [*ASKED, SAID]}),
    "prompt and completion": ("chat", {"prompt": "Where is it?", "completion": "On its way."}),
    "alpaca": ("chat", {"instruction": "Where is it?", "input": "", "output": "On its way."}),
    "openai preference": (
        "preference",
        {
            "input": {"messages": ASKED},
            "preferred_output": [SAID],
            "non_preferred_output": [OTHER],
        },
    ),
    "texts of a preference": (
        "preference",
        {"prompt": "Where is it?", "chosen": "On its way.", "rejected": "No idea."},
    ),
    "messages of a preference": (
        "preference",
        {"prompt": ASKED, "chosen": [SAID], "rejected": [OTHER]},
    ),
    "rated": ("rated", {"prompt": "Where is it?", "completion": "On its way.", "label": False}),
    "text": ("text", {"text": "On its way."}),
}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_read_from_every_container(name: str, suffix: str, tmp_path: Path) -> None:
    kind, record = SHAPES[name]
    path = written(tmp_path / f"data{suffix}", [{**record, "customer_id": "c7"}] * 3)
    found = rows(path)
    assert [row.line for row in found] == [1, 2, 3]
    assert canonical(found[0]) == canonical(found[1]) == canonical(found[2])
    assert found[0].kind == kind
    assert found[0].metadata == {"customer_id": "c7"}
    assert found[0].answer == "On its way."
    assert found[0].prompt == ([] if kind == "text" else ASKED)
    assert found[0].rejected == ("No idea." if kind == "preference" else "")
    assert found[0].good is (kind != "rated")


@pytest.mark.parametrize("name", SHAPES)
def test_the_canonical_line_says_the_same_and_keeps_source_and_weight(name: str) -> None:
    _, record = SHAPES[name]
    [row], _ = parse(json.dumps(record).encode())
    [again], _ = parse(line_of(row, "a.csv", 2.0))
    assert (again.kind, again.messages, again.rejected, again.good) == (
        row.kind, row.messages, row.rejected, row.good
    )  # fmt: skip
    assert (again.source, again.weight) == ("a.csv", 2.0)


def test_a_weight_without_a_source_is_the_tenants_own() -> None:
    [row], _ = parse(b'{"text": "a parcel", "weight": 12.5}')
    assert (row.weight, row.metadata) == (1.0, {"weight": 12.5})


def test_alpacas_input_stands_below_the_instruction(tmp_path: Path) -> None:
    record = {"instruction": "Translate.", "input": "Hello", "output": "Hallo"}
    [row] = rows(written(tmp_path / "a.json", [record]))
    assert row.question == "Translate.\n\nHello"


def test_passages_of_a_text_are_between_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"\xef\xbb\xbfOne\nline.\r\n\r\n\n  \nAnother.\n")
    assert [(row.line, row.kind, row.answer) for row in rows(path)] == [
        (1, "text", "One\nline."),
        (6, "text", "Another."),
    ]


def test_a_folder_dataset_of_hugging_faces_is_read_by_config_and_split(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    written(tmp_path / "train.jsonl", [SHAPES["alpaca"][1]] * 2)
    written(tmp_path / "test.jsonl", [SHAPES["alpaca"][1]])
    assert len(rows(f"hf:{tmp_path}")) == 2
    assert len(rows(f"hf:{tmp_path}:test")) == 1
    assert len(rows(f"hf:{tmp_path}:default:test")) == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", "prompt,completion\nhi,there\nhi,\n", "row 2: completion: expected a text"),
        ("a.csv", "prompt,completion\nhi,there,you\n", "row 1: expected 2 cells"),
        ("a.csv", "prompt;completion\nhi\n", "row 1: expected 2 cells, as the header has, found 1"),
        (
            "a.csv",
            "prompt,completion,label\na,b,true\na,b,maybe\n",
            "row 2: label: expected true or false, found a text",
        ),
        ("a.json", '[{"text": "a"}, {"text": 5}]', "line 2: text: expected a text, found a number"),
        ("a.json", '[{"text": "a"}, {"te', "expected one JSON object, found broken JSON"),
        ("a.json", '[{"text": "a"}', "expected ] at the array's end"),
        ("a.jsonl", '{"prompt": "a", "chosen": "b", "rejected": ""}', "line 1: rejected: expected"),
        (
            "a.jsonl",
            '{"prompt": "a", "completion": "b"}\n{"text": "b"}',
            "line 2: prompt: expected a text, found nothing",
        ),
        (
            "a.jsonl",
            json.dumps({**SHAPES["openai preference"][1], "input": {}}),
            "line 1: input.messages: expected a text, found nothing",
        ),
    ],
)
def test_what_is_wrong_is_told_with_row_and_field(
    name: str, content: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert complaint in "\n".join(errors(path))


def test_bytes_that_are_not_utf8_are_told_in_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt,completion\nhi,there\nhi,\xff\n")
    assert "expected UTF-8 text, found byte 0xff" in errors(tmp_path / "a.csv")[0]


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"nothing of the sort")
    with pytest.raises(Unreadable, match="not a Parquet file"):
        list(iter_rows(tmp_path / "a.parquet"))


def test_an_array_longer_than_what_is_read_at_once_is_read_whole(tmp_path: Path) -> None:
    records = [{"text": f"{i} " + "ä" * (200_000 if i == 5 else 900)} for i in range(200)]
    (tmp_path / "a.json").write_text(json.dumps(records, ensure_ascii=False))
    found = rows(tmp_path / "a.json")
    assert [row.answer for row in found] == [record["text"] for record in records]


def test_rows_come_before_the_file_has_been_read_to_its_end(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", [{"text": "a" * 1000}] * 500)
    read: list[int] = []
    next(iter(iter_rows(path, read.append)))
    assert read[-1] < path.stat().st_size / 10


@given(st.binary(max_size=200), st.sampled_from([".csv", ".json", ".txt", ".jsonl"]))
def test_no_bytes_break_a_reader(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"bytes{suffix}"
    path.write_bytes(data)
    assert all(isinstance(row, Row | RowError) for row in iter_rows(path))
