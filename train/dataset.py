"""Rows → token ids and labels, and an account of what will be learned from.

Labels are -100 where nothing is learned: everything but what the assistant says; of preferences and
ratings, everything but the last answer; of plain text, nothing. They are made here, not in the
trainer, so that what is counted is what is trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from train.errors import BaseUnavailable, NothingSupervised
from train.rows import Message, Row
from train.split import rank_by_hash

IGNORED = -100


@dataclass(frozen=True)
class Example:
    """A row as the model sees it; a long plain text is several. `rejected` is the answer that was
    liked less, after the same prompt."""

    row: Row
    input_ids: list[int]
    labels: list[int]
    rejected: list[int] = field(default_factory=list)

    @property
    def prompt(self) -> list[int]:
        """What comes before the first label."""
        return self.input_ids[: self._start]

    @property
    def completion(self) -> list[int]:
        """What comes from the first label on."""
        return self.input_ids[self._start :]

    @property
    def _start(self) -> int:
        return next(index for index, label in enumerate(self.labels) if label != IGNORED)


@dataclass(frozen=True)
class Supervision:
    """What is left to learn from after truncation. `lost` and `cut` are lines of the file: of rows
    that keep no supervised token, and of rows that lost some."""

    rows: int
    tokens: int
    supervised: int
    cut: list[int]
    lost: list[int]

    def json(self) -> dict[str, Any]:
        """For the job's result; the first 20 lines of each list."""
        return {
            "rows": self.rows,
            "tokens": self.tokens,
            "supervised_tokens": self.supervised,
            "cut_rows": len(self.cut),
            "cut_lines": self.cut[:20],
            "lost_rows": len(self.lost),
            "lost_lines": self.lost[:20],
        }


def tokenise(
    rows: Sequence[Row], tokenizer: Any, template: str, max_length: int, stop: set[int]
) -> tuple[list[Example], Supervision]:
    """Tokenise and truncate to `max_length` tokens, keeping the start.

    Rows that keep no supervised token are left out and listed. Raises NothingSupervised when that
    is all of them, BaseUnavailable when the template would never teach the model to stop.
    """
    if not rows:
        return [], Supervision(0, 0, 0, [], [])
    examples: list[Example] = []
    cut: list[int] = []
    lost: list[int] = []
    whole = _Whole(tokenizer, template, stop)
    make = {"chat": _chats, "preference": _answers, "rated": _answers, "text": _texts}
    for kind, of_kind in _by_kind(rows).items():
        make[kind](of_kind, whole, max_length, examples, cut, lost)
    if not examples:
        raise NothingSupervised(
            f"No row keeps a token to learn from within max_length={max_length}: lines "
            f"{', '.join(map(str, lost[:20]))}. Raise max_length or shorten the prompts",
            "max_length",
        )
    tokens = sum(len(example.input_ids) for example in examples)
    supervised = sum(label != IGNORED for example in examples for label in example.labels)
    supervised += sum(len(example.rejected) for example in examples)
    tokens += sum(len(e.prompt) + len(e.rejected) for e in examples if e.rejected)
    return examples, Supervision(len(examples), tokens, supervised, cut, lost)


def prompt_ids(messages: Sequence[dict[str, str]], tokenizer: Any) -> list[int]:
    """A prompt as the engine sees it: the chat template with the start of an answer."""
    encoded = tokenizer.apply_chat_template(
        list(messages), tokenize=True, add_generation_prompt=True, return_dict=True
    )
    return list(encoded["input_ids"])


def weighted(rows: Sequence[Row]) -> list[Row]:
    """Each row as often as its weight says, for one epoch: 3 is three times, 0.25 a quarter of the
    source's rows, 1.5 all and half of them again. Which ones is settled by what they say."""
    repeats = [int(row.weight) for row in rows]
    sources: dict[tuple[str, float], list[Row]] = defaultdict(list)
    for row in rows:
        sources[row.source, row.weight].append(row)
    again: set[int] = set()
    for (_, weight), found in sources.items():
        count = round((weight - int(weight)) * len(found))
        again |= {id(row) for row in rank_by_hash(found, "weight-1")[:count]}
    return [
        row
        for row, times in zip(rows, repeats, strict=True)
        for _ in range(times + (id(row) in again))
    ]


class _Whole:
    """Whole conversations as token ids, up to the last token that the assistant says."""

    def __init__(self, tokenizer: Any, template: str, stop: set[int]) -> None:
        self.tokenizer = tokenizer
        self._template = template
        self._stop = stop

    def __call__(self, talks: Sequence[list[Message]]) -> list[tuple[list[int], list[int]]]:
        """(ids, mask of what the assistant says) of each. Raises BaseUnavailable."""
        encoded = self.tokenizer.apply_chat_template(
            talks,
            chat_template=self._template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
            padding=False,
            truncation=False,
        )
        found = list(zip(encoded["input_ids"], encoded["assistant_masks"], strict=True))
        if any(sum(mask) and not _ends_with_stop(ids, mask, self._stop) for ids, mask in found):
            raise BaseUnavailable(
                "The base's chat template leaves the token that ends an answer outside of what is "
                "learned, so the model would never stop: move it inside {% generation %}",
                "base",
            )
        return found


def _by_kind(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.kind].append(row)
    return found


def _chats(
    rows: list[Row],
    whole: _Whole,
    max_length: int,
    examples: list[Example],
    cut: list[int],
    lost: list[int],
) -> None:
    for row, (ids, mask) in zip(rows, whole([list(row.messages) for row in rows]), strict=True):
        kept = sum(mask[:max_length])
        if kept < sum(mask):
            (cut if kept else lost).append(row.line)
        elif not kept:
            lost.append(row.line)
        if kept:
            ids, mask = ids[:max_length], mask[:max_length]
            labels = [token if on else IGNORED for token, on in zip(ids, mask, strict=True)]
            examples.append(Example(row, list(ids), labels))


def _answers(
    rows: list[Row],
    whole: _Whole,
    max_length: int,
    examples: list[Example],
    cut: list[int],
    lost: list[int],
) -> None:
    """The last answer after its prompt, and the rejected one after the same."""
    liked = whole([list(row.messages) for row in rows])
    less = whole(
        [[*row.prompt, {"role": "assistant", "content": row.rejected or "-"}] for row in rows]
    )
    for row, *both in zip(rows, liked, less, strict=True):
        prompt = prompt_ids(row.prompt, whole.tokenizer)
        start = min(_shared(prompt, ids) for ids, _ in both)
        ends = [max(i + 1 for i, on in enumerate(mask) if on) for _, mask in both]
        chosen, rejected = (
            list(ids[start : min(end, max_length)])
            for (ids, _), end in zip(both, ends, strict=True)
        )
        if row.kind == "rated":
            ends, rejected = ends[:1], []
        if not chosen or (row.kind == "preference" and not rejected):
            lost.append(row.line)
            continue
        if max(ends) > max_length:
            cut.append(row.line)
        ids = [*both[0][0][:start], *chosen]
        examples.append(Example(row, ids, [IGNORED] * start + chosen, rejected))


def _texts(
    rows: list[Row],
    whole: _Whole,
    max_length: int,
    examples: list[Example],
    _: list[int],
    lost: list[int],
) -> None:
    """Pieces of at most `max_length` tokens, the last of them with the token that ends a text. All
    is learned but each piece's first token, which nothing comes before. Nothing is cut."""
    end = whole.tokenizer.eos_token_id
    for row in rows:
        ids = list(whole.tokenizer(row.answer)["input_ids"])
        if end is not None and ids[-1:] != [end]:
            ids.append(end)
        pieces = [ids[i : i + max_length] for i in range(0, len(ids), max_length)]
        pieces = [piece for piece in pieces if len(piece) > 1]
        examples += [Example(row, piece, [IGNORED, *piece[1:]]) for piece in pieces]
        if not pieces:
            lost.append(row.line)


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))


def _ends_with_stop(ids: Sequence[int], mask: Sequence[int], stop: set[int]) -> bool:
    last = max(index for index, on in enumerate(mask) if on)
    return ids[last] in stop
