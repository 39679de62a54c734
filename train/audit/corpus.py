"""What an audit looks at: rows with their places, and what several findings want to know of them.

Knows nothing of findings. Reads nothing: files come in as bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from train.answers import Answers
from train.audit.finding import Place
from train.rows import Row, RowError, parse

DEFAULT_MAX_LENGTH = 1024
JSON_SHARE = 0.5
"""From this share of JSON answers on, JSON is what the answers are meant to be."""

_LABEL_WORDS = 6
_JSON_START = re.compile(r"""\s*(?:\{\s*(?:["}]|$)|\[\s*(?:[\[{"\]]|-?\d+\s*[,\]]))""")
_SPACE = re.compile(r"\s+")


class Tokenizer(Protocol):
    """What is used of a `tokenizers.Tokenizer`."""

    def encode_batch_fast(self, input: list[str], *, add_special_tokens: bool) -> list[Any]:
        """One encoding for each text."""


@dataclass(frozen=True)
class Source:
    """A file's name and bytes; or its rows, where it is no JSON Lines or has been read before."""

    name: str
    data: bytes = b""
    rows: Sequence[Row | RowError] | None = field(default=None, repr=False)

    def read(self) -> tuple[list[Row], list[RowError]]:
        """What it holds, and what it should not."""
        if self.rows is None:
            return parse(self.data)
        good = [row for row in self.rows if isinstance(row, Row)]
        return good, [row for row in self.rows if isinstance(row, RowError)]


@dataclass(frozen=True)
class Sample:
    """A row and the file that it is from."""

    file: str
    row: Row

    @property
    def place(self) -> Place:
        """File and line."""
        return self.file, self.row.line

    @cached_property
    def answer(self) -> str:
        """The answer without the space around it."""
        return self.row.answer.strip()

    @cached_property
    def prompt(self) -> str:
        """What is said before the answer, without the system prompt."""
        return "\n".join(m["content"] for m in self.row.messages[:-1] if m["role"] != "system")

    @property
    def system(self) -> str | None:
        """The system prompt, if there is one."""
        first = self.row.messages[0]
        return first["content"].strip() if first["role"] == "system" else None

    @property
    def texts(self) -> list[str]:
        """All messages' texts."""
        said = [message["content"] for message in self.row.messages]
        return [*said, self.row.rejected] if self.row.rejected else said

    @cached_property
    def looks_like_json(self) -> bool:
        """It begins as a JSON object or list does, whether or not it is one."""
        return _JSON_START.match(self.answer) is not None

    @cached_property
    def value(self) -> Any:
        """The answer's JSON object or list, or BROKEN."""
        if not self.looks_like_json:
            return BROKEN
        try:
            return json.loads(self.answer)
        except (ValueError, RecursionError):
            return BROKEN


BROKEN = object()


@dataclass(frozen=True)
class BadLine:
    """A line that is no row, with its bytes."""

    file: str
    error: RowError
    raw: bytes

    @property
    def place(self) -> Place:
        """File and line."""
        return self.file, self.error.line


@dataclass(frozen=True)
class Corpus:
    """The rows to train on, those to validate on, and the lines that are neither."""

    train: Sequence[Sample]
    validation: Sequence[Sample] = ()
    bad: Sequence[BadLine] = ()
    schema: Mapping[str, Any] | None = None
    max_length: int = DEFAULT_MAX_LENGTH
    tokenizer: Tokenizer | None = field(default=None, repr=False)

    @classmethod
    def read(
        cls,
        sources: Sequence[Source],
        validation: Source | None = None,
        **options: Any,
    ) -> Corpus:
        """Parse files. Nothing is raised for lines that are no rows: they are findings."""
        train: list[Sample] = []
        held: list[Sample] = []
        bad: list[BadLine] = []
        for source in (*sources, *((validation,) if validation else ())):
            rows, errors = source.read()
            into = held if source is validation else train
            into.extend(Sample(source.name, row) for row in rows)
            if errors:
                lines = source.data.split(b"\n") if source.rows is None else []
                bad += [
                    BadLine(source.name, e, lines[e.line - 1] if lines else b"") for e in errors
                ]
        return cls(train, held, bad, **options)

    @cached_property
    def samples(self) -> list[Sample]:
        """All rows of either side."""
        return [*self.train, *self.validation]

    @property
    def rows(self) -> str:
        """What the rows are: chat, preference, rated or text."""
        return self.samples[0].row.kind if self.samples else "chat"

    @cached_property
    def kind(self) -> str:
        """What most answers are: json, label or text."""
        answers = [sample.answer for sample in self.train]
        if not answers:
            return "text"
        if sum(s.looks_like_json for s in self.train) >= JSON_SHARE * len(answers):
            return "json"
        short = sum(len(answer.split()) <= _LABEL_WORDS for answer in answers)
        if short < 0.95 * len(answers):
            return "text"
        return "label" if Answers.of({}, answers).kind == "label" else "text"

    @cached_property
    def lengths(self) -> list[Length]:
        """Of each sample, in the order of `samples`; [] without a tokenizer."""
        if self.tokenizer is None:
            return []
        texts = [m["content"] for sample in self.samples for m in sample.row.messages]
        counts = iter(
            len(e.ids) for e in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        )
        return [
            Length([next(counts) for _ in sample.row.messages], sample.row.messages)
            for sample in self.samples
        ]


class Length:
    """A row's tokens. A message costs two besides its text (role and end), a row one (begin): exact
    for switchyard-tiny's template, a few tokens off for others."""

    def __init__(self, counts: list[int], messages: Sequence[Mapping[str, str]]) -> None:
        self.answer = counts[-1]
        self.total = 1 + sum(counts) + 2 * len(counts)
        at = 1
        self.first_answer = 0
        """Tokens before the first one that is learned."""
        for count, message in zip(counts, messages, strict=True):
            if message["role"] == "assistant":
                self.first_answer = at + 1
                break
            at += count + 2

    @property
    def prompt(self) -> int:
        """Tokens before the last answer."""
        return self.total - self.answer - 1


def squeezed(text: str) -> str:
    """Lower case, one space between words: what makes no difference to a reader."""
    return _SPACE.sub(" ", text).strip().casefold()
