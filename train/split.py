"""Train / validation / test by group, stable under added data.

A row's side depends on its own group's hash and on nothing else, so adding rows never moves one: a
row that has measured is never learned from later. The exception is a side that the hash left empty,
which is given the group nearest to it: once added rows fill the side, that group may go back.
What must stay together (a conversation, a customer, the same question) has one group.
Near-duplicates that the hash put on both sides are left out of training, rather than clustered:
added rows can join two clusters, and would then move all of one. What measures is never touched.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from train.rows import Row

GROUP_FIELDS = ("group", "conversation_id", "customer_id")
HELD_OUT = "held_out"
"""A row's field."""
NEAR = 0.8
"""Jaccard similarity of word triples from which two questions count as near-duplicates."""

_COMMON = 0.2  # triples in more than this share of rows are the template, not the question
_WORD = re.compile(r"\w+")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Split:
    """Rows to learn from, rows that say when to stop, rows to measure on, and those left out of
    training because they are too near to the latter two."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]
    left_out: list[Row]


def split(
    rows: Sequence[Row],
    validation: float,
    test: float = 0.0,
    *,
    group_by: str | None = None,
    salt: str = "split-1",
) -> Split:
    """Divide rows so that about these shares of the groups are for validation and test.

    With as many groups as wanted sides none is empty; with two, the test is. A group of which a row
    `is_held_out` is for the test, whatever its hash. The order of rows is kept.
    """
    keys = [group(row, group_by) for row in rows]
    order = sorted((_point(key, salt), key) for key in set(keys))
    sides = {key: _side(point, validation, test) for point, key in order}
    sides |= {key: 2 for row, key in zip(rows, keys, strict=True) if is_held_out(row)}
    wanted = [0, 1, *([2] if test and len(order) > 2 else [])]
    for side in wanted[: len(order)]:
        _fill(side, sides, [key for _, key in order])
    parts: list[list[Row]] = [[], [], []]
    for row, key in zip(rows, keys, strict=True):
        parts[sides[key]].append(row)
    return separate(*parts)


def is_held_out(row: Row) -> bool:
    """Whether a row says of itself that it measures, and is never learned from."""
    return row.metadata.get(HELD_OUT) is True


def _side(point: float, validation: float, test: float) -> int:
    """0 to learn from, 1 validation, 2 test."""
    if point < test:
        return 2
    return 1 if point < test + validation else 0


def _fill(side: int, sides: dict[str, int], order: Sequence[str]) -> None:
    """Give an empty side the group whose hash is nearest, from a side that can spare it."""
    if side in sides.values():
        return
    counts = Counter(sides.values())
    ranked = reversed(order) if side == 0 else order
    given = next((key for key in ranked if counts[sides[key]] > 1), None)
    if given is not None:
        sides[given] = side


def separate(train: Sequence[Row], validation: Sequence[Row], test: Sequence[Row] = ()) -> Split:
    """Leave out of training what is, or nearly is, a validation or test row's question."""
    near = _near(train, [*validation, *test])
    return Split(
        [row for index, row in enumerate(train) if index not in near],
        list(validation),
        list(test),
        [row for index, row in enumerate(train) if index in near],
    )


def group(row: Row, group_by: str | None = None) -> str:
    """What must stay on one side: the row's group field if it has one, else its normal question."""
    for name in (group_by,) if group_by else GROUP_FIELDS:
        value = row.metadata.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return f"{name}:{value}"
    return f"question:{normal(row.question)}"


def apart(rows: Sequence[Row], others: Sequence[Row]) -> list[Row]:
    """Those of `rows` that share neither question nor group with one of `others`."""
    taken = {mark for row in others for mark in _marks(row)}
    return [row for row in rows if not taken & _marks(row)]


def _marks(row: Row) -> set[str]:
    return {group(row), f"question:{normal(row.question)}"}


def normal(text: str) -> str:
    """Lower case, numbers as 0, punctuation and spacing gone."""
    words = _WORD.findall(_DIGITS.sub("0", text.lower()))
    return " ".join(words) or text.strip()


def rank_by_hash(rows: Sequence[Row], salt: str) -> list[Row]:
    """The rows in an order that depends on each row alone: for choosing some of them."""
    return sorted(rows, key=lambda row: (_point(_identity(row), salt), row.line))


def _identity(row: Row) -> str:
    return "\x1e".join(f"{m['role']}\x1f{m['content']}" for m in row.messages)


def _point(key: str, salt: str) -> float:
    """A number in [0, 1) that the key alone decides."""
    return int.from_bytes(hashlib.sha256(f"{salt}\0{key}".encode()).digest()[:8]) / 2.0**64


def _triples(text: str) -> frozenset[str]:
    words = normal(text).split()
    if len(words) < 3:
        return frozenset({" ".join(words)})
    return frozenset(" ".join(words[i : i + 3]) for i in range(len(words) - 2))


def _near(train: Sequence[Row], validation: Sequence[Row]) -> set[int]:
    """Indices of training rows whose question is nearly a validation row's.

    Triples shared by more than a fifth of the rows are no evidence and are not counted; a question
    made of nothing else is compared as a whole.
    """
    theirs = [_triples(row.question) for row in validation]
    ours = [_triples(row.question) for row in train]
    counts = Counter(triple for triples in (*theirs, *ours) for triple in triples)
    limit = max(2.0, _COMMON * (len(train) + len(validation)))
    rare = frozenset(triple for triple, count in counts.items() if count <= limit)
    theirs = [triples & rare or triples for triples in theirs]
    ours = [triples & rare or triples for triples in ours]
    index: dict[str, list[int]] = defaultdict(list)
    for number, triples in enumerate(theirs):
        for triple in triples:
            index[triple].append(number)
    near: set[int] = set()
    for number, triples in enumerate(ours):
        shared = Counter(other for triple in triples for other in index.get(triple, ()))
        for other, common in shared.items():
            if common >= NEAR * (len(triples) + len(theirs[other]) - common):
                near.add(number)
                break
    return near
