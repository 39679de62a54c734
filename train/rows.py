"""`messages` JSONL → rows. Says line, field and what was expected for every row that is not one.

Knows nothing about tokens or models. Other fields of a row are kept as its metadata.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from train.errors import InvalidTrainingFile

ROLES = ("system", "user", "assistant")
SHOWN_ERRORS = 20

Message = dict[str, str]


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
    """Why a line is not a row."""

    line: int
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"line {self.line}: {where}expected {self.expected}, found {self.found}"


def parse(data: bytes) -> tuple[list[Row], list[RowError]]:
    """Rows and errors in the order of the file. Blank lines are skipped, not counted as errors."""
    rows: list[Row] = []
    errors: list[RowError] = []
    for number, raw in enumerate(data.split(b"\n"), start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not line.strip():
            continue
        found = _row(number, line)
        if isinstance(found, Row):
            rows.append(found)
        else:
            errors.append(found)
    return rows, errors


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


def _row(number: int, line: bytes) -> Row | RowError:
    try:
        value = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RowError(number, "", "UTF-8 text", f"byte 0x{line[error.start]:02x}")
    except (ValueError, RecursionError) as error:
        column = error.colno if isinstance(error, json.JSONDecodeError) else 1
        return RowError(number, "", "one JSON object", f"broken JSON at column {column}")
    if not isinstance(value, dict):
        return RowError(number, "", "a JSON object", _kind(value))
    messages = value.get("messages")
    if not isinstance(messages, list) or not messages:
        return RowError(number, "messages", "a list of messages", _kind(messages))
    clean: list[Message] = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            return RowError(number, where, "an object with role and content", _kind(message))
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            shown = repr(role[:20]) if isinstance(role, str) else _kind(role)
            return RowError(number, f"{where}.role", "system, user or assistant", shown)
        if not isinstance(content, str):
            return RowError(number, f"{where}.content", "a text", _kind(content))
        try:
            content.encode("utf-8")
        except UnicodeEncodeError:
            return RowError(number, f"{where}.content", "Unicode text", "half a surrogate pair")
        if not content.strip():
            return RowError(number, f"{where}.content", "a text that is not empty", "an empty text")
        if role == "system" and index > 0:
            return RowError(
                number, f"{where}.role", "a system message only at the start", "one here"
            )
        clean.append({"role": role, "content": content})
    if clean[-1]["role"] != "assistant":
        last = f"messages[{len(clean) - 1}].role"
        return RowError(number, last, "assistant (the answer to learn)", repr(clean[-1]["role"]))
    if not any(message["role"] == "user" for message in clean):
        return RowError(number, "messages", "at least one user message", "none")
    metadata = {key: item for key, item in value.items() if key != "messages"}
    return Row(number, tuple(clean), metadata)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    names = {dict: "an object", str: "a text", bool: "true or false", int: "a number"}
    return names.get(type(value), "a number")
