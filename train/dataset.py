"""Rows → token ids and labels, and an account of what will be learned from.

Labels are -100 where nothing is learned: everything but what the assistant says. They are made
here, not in the trainer, so that what is counted is what is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from train.errors import BaseUnavailable, NothingSupervised
from train.rows import Row

IGNORED = -100


@dataclass(frozen=True)
class Example:
    """A row as the model sees it."""

    row: Row
    input_ids: list[int]
    labels: list[int]


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
    encoded = tokenizer.apply_chat_template(
        [list(row.messages) for row in rows],
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
        padding=False,
        truncation=False,
    )
    examples: list[Example] = []
    cut: list[int] = []
    lost: list[int] = []
    pairs = zip(rows, encoded["input_ids"], encoded["assistant_masks"], strict=True)
    for row, ids, mask in pairs:
        whole = sum(mask)
        kept = sum(mask[:max_length])
        if whole and not _ends_with_stop(ids, mask, stop):
            raise BaseUnavailable(
                "The base's chat template leaves the token that ends an answer outside of what is "
                "learned, so the model would never stop: move it inside {% generation %}",
                "base",
            )
        if kept < whole:
            (cut if kept else lost).append(row.line)
        elif not whole:
            lost.append(row.line)
        if kept:
            ids, mask = ids[:max_length], mask[:max_length]
            labels = [token if on else IGNORED for token, on in zip(ids, mask, strict=True)]
            examples.append(Example(row, list(ids), labels))
    if not examples:
        raise NothingSupervised(
            f"No row keeps a token to learn from within max_length={max_length}: lines "
            f"{', '.join(map(str, lost[:20]))}. Raise max_length or shorten the prompts",
            "max_length",
        )
    tokens = sum(len(example.input_ids) for example in examples)
    supervised = sum(label != IGNORED for example in examples for label in example.labels)
    return examples, Supervision(len(examples), tokens, supervised, cut, lost)


def prompt_ids(messages: Sequence[dict[str, str]], tokenizer: Any) -> list[int]:
    """A prompt as the engine sees it: the chat template with the start of an answer."""
    encoded = tokenizer.apply_chat_template(
        list(messages), tokenize=True, add_generation_prompt=True, return_dict=True
    )
    return list(encoded["input_ids"])


def _ends_with_stop(ids: Sequence[int], mask: Sequence[int], stop: set[int]) -> bool:
    last = max(index for index, on in enumerate(mask) if on)
    return ids[last] in stop
