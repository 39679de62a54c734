"""JSON Lines of any known shape → rows. Says line, field and what was expected for every row that
is not one.

Knows nothing about tokens or models. Other fields of a row are kept as its metadata. Other files
than JSON Lines are read by `train.formats.reading`.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from registry.examples.messages import Fault, named
from registry.examples.messages import Message as Message
from registry.examples.shapes import LOOKED_AT, Shape, seen
from train.errors import InvalidTrainingFile
from train.spec import TrainingSpec

SHOWN_ERRORS = 20
SLICE = "slice"
"""A row's field: which part of the tenant's traffic it stands for."""

KINDS = ("chat", "preference", "rated", "text")


@dataclass(frozen=True)
class Row:
    """One example: a conversation whose last message is the answer. `line` counts from 1.

    `kind` "preference": `rejected` is an answer that was liked less than the last message. "rated":
    `good` says whether the answer was liked. "text": the one message is an assistant's, and all of
    it is learned. `source` names the file where there are several, `weight` how often its rows
    count.
    """

    line: int
    messages: tuple[Message, ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    kind: str = "chat"
    rejected: str = ""
    good: bool = True
    source: str = ""
    weight: float = 1.0

    @property
    def prompt(self) -> list[Message]:
        """All messages before the answer."""
        return list(self.messages[:-1])

    @property
    def answer(self) -> str:
        """The last message's text."""
        return self.messages[-1]["content"]

    @property
    def question(self) -> str:
        """The first user message's text; a plain text's own."""
        text = self.answer if self.kind == "text" else ""
        return next((m["content"] for m in self.messages if m["role"] == "user"), text)


@dataclass(frozen=True)
class RowError:
    """Why a line is not a row. `unit` is what is counted: lines of a text, rows of a table."""

    line: int
    field: str
    expected: str
    found: str
    unit: str = "line"

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"{self.unit} {self.line}: {where}expected {self.expected}, found {self.found}"


def parse(data: bytes) -> tuple[list[Row], list[RowError]]:
    """Rows and errors in the order of the file. Blank lines are skipped, not counted as errors."""
    rows: list[Row] = []
    errors: list[RowError] = []
    for found in rows_of(lines(io.BytesIO(data))):
        if isinstance(found, Row):
            rows.append(found)
        else:
            errors.append(found)
    return rows, errors


Record = tuple[int, Any]
"""A record's number, from 1, and its JSON value; or the RowError that stands in its place."""


def lines(file: Iterable[bytes]) -> Iterator[Record]:
    """The records of JSON Lines, one at a time."""
    for number, raw in enumerate(file, start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if line.strip():
            yield number, _json(number, line.rstrip(b"\n"))


def rows_of(records: Iterable[Record], unit: str = "line") -> Iterator[Row | RowError]:
    """Rows of the shape that the first LOOKED_AT records have; holds no more than those."""
    ahead = iter(records)
    first = list(itertools.islice(ahead, LOOKED_AT))
    shape = seen(value for _, value in first)
    for number, value in itertools.chain(first, ahead):
        yield row_of(number, value, shape, unit)


def row_of(number: int, value: Any, shape: Shape, unit: str = "line") -> Row | RowError:
    """One record as a row. A weight counts only beside a source: it is how a file of several was
    weighed, and any other `weight` is the tenant's own."""
    if isinstance(value, RowError):
        return value
    if not isinstance(value, dict):
        return RowError(number, "", "a JSON object", named(value), unit)
    parts = shape.parts(value)
    if isinstance(parts, Fault):
        return RowError(number, *parts, unit)
    metadata = {key: item for key, item in value.items() if key not in parts.fields}
    source = metadata.get("source")
    source = source if isinstance(source, str) else ""
    weight = metadata.get("weight", 1.0) if source else 1.0
    number_like = isinstance(weight, int | float) and not isinstance(weight, bool)
    if not (number_like and math.isfinite(weight) and weight > 0):
        weight = 1.0
    return Row(
        number,
        tuple(parts.messages),
        metadata,
        parts.kind,
        parts.rejected,
        parts.good,
        source,
        float(weight),
    )


def canonical(row: Row) -> dict[str, Any]:
    """The row as an object of the one shape that its kind has, metadata beside."""
    asked, said = row.prompt, row.answer
    shape: dict[str, Any]
    if row.kind == "preference":
        shape = {
            "input": {"messages": asked},
            "preferred_output": [{"role": "assistant", "content": said}],
            "non_preferred_output": [{"role": "assistant", "content": row.rejected}],
        }
    elif row.kind == "rated":
        shape = {"prompt": asked, "completion": said, "label": row.good}
    elif row.kind == "text":
        shape = {"text": said}
    else:
        shape = {"messages": list(row.messages)}
    return {**shape, **{name: value for name, value in row.metadata.items() if name not in shape}}


def read(data: bytes, *, keep_good_rows: bool = False, param: str = "training_file") -> list[Row]:
    """The rows of a file. Raises InvalidTrainingFile when one is wrong, unless the good ones are
    to be kept; always when none is left."""
    rows, errors = parse(data)
    if errors and not (keep_good_rows and rows):
        raise InvalidTrainingFile(describe(errors, len(rows) + len(errors)), param)
    if not rows:
        raise InvalidTrainingFile(
            'The file holds no rows: expected JSON Lines, one {"messages": […]} object a line',
            param,
        )
    return rows


def describe(errors: list[RowError], total: int) -> str:
    """The errors as a text for people, the first SHOWN_ERRORS of them in full."""
    shown = "; ".join(str(error) for error in errors[:SHOWN_ERRORS])
    more = f"; and {len(errors) - SHOWN_ERRORS} more" if len(errors) > SHOWN_ERRORS else ""
    return (
        f"{len(errors)} of {total} rows are not valid: {shown}{more}. "
        "Mend them, or set keep_good_rows to train on the others"
    )


FITS = {"chat": "sft", "preference": "dpo", "rated": "kto", "text": "pretrain"}
"""The objective that learns from rows of a kind."""


def for_objective(
    rows: Sequence[Row], spec: TrainingSpec, param: str = "training_file"
) -> list[Row]:
    """The rows as the job's objective learns from them: of a pair, "sft" takes the better answer.

    Raises InvalidTrainingFile where their kind is another objective's, or there are several.
    """
    kinds = sorted({row.kind for row in rows})
    if len(kinds) != 1:
        raise InvalidTrainingFile(
            f"The file holds rows of several kinds: {', '.join(kinds)}; expected one", param
        )
    if kinds == ["preference"] and spec.objective == "sft":
        return [replace(row, kind="chat", rejected="") for row in rows]
    if FITS[kinds[0]] != spec.objective:
        raise InvalidTrainingFile(
            f"The file holds {kinds[0]} rows, which objective={spec.objective} can't learn from: "
            f"set objective={FITS[kinds[0]]}",
            param,
        )
    return list(rows)


def digest(rows: Iterable[Row]) -> str:
    """SHA-256 of what the rows say, hex; line numbers and metadata don't count."""
    hasher = hashlib.sha256()
    for row in rows:
        said: Any = row.messages
        if row.kind != "chat":
            said = [row.kind, row.messages, row.rejected, row.good]
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        hasher.update(text.encode())
        hasher.update(b"\n")
    return hasher.hexdigest()


def _json(number: int, line: bytes) -> Any:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RowError(number, "", "UTF-8 text", f"byte 0x{line[error.start]:02x}")
    except (ValueError, RecursionError) as error:
        column = error.colno if isinstance(error, json.JSONDecodeError) else 1
        return RowError(number, "", "one JSON object", f"broken JSON at column {column}")
