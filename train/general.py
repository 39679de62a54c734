"""The general set: rows that have nothing to do with the tenant, by which forgetting is seen.

A file of the platform team's; without one, made-up chats by the generators that the shipped base
was trained with, and the generators' answers. Whether a row measures or may be learned from
(replay) is decided by its own question's hash: no row ever does both, whatever else the file holds,
however many are wanted, and whichever seed a job has. Imports no torch.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from train.base.corpus import chats
from train.errors import InvalidSpec
from train.rows import Message, Row, RowError, parse
from train.split import group, rank_by_hash

LIMIT = 64
"""How many rows measure, if nothing else is said."""
FILE, MADE_UP = "file", "made-up"
_SEED = 2**31
"""Of the made-up rows that measure: beyond the seeds that a job can have."""
_TRIES = 12
"""Made-up chats looked at for each row wanted."""
_SHOWN = 5


@dataclass(frozen=True)
class General:
    """`measured` are the chats by which forgetting is seen, `spare` those that can be replayed.
    `source` says where they are from: "file" or "made-up"; made-up ones are never spare."""

    source: str
    measured: list[Row]
    spare: list[Row] = field(default_factory=list)


def of_file(content: bytes, name: str, limit: int = LIMIT) -> General:
    """From JSON Lines of chats, `name` being what to call the file; at most `limit` rows measure.

    Raises InvalidSpec with the file, the wrong lines and what was expected there.
    """
    rows, errors = parse(content)
    wrong = [str(error) for error in (*errors, *_no_chats(rows))]
    if not rows and not wrong:
        wrong = ['no rows: expected one {"messages": […]} object a line']
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise InvalidSpec(f"The general set {name}: {'; '.join(wrong[:_SHOWN])}{more}", "general")
    return General(
        FILE,
        rank_by_hash([row for row in rows if measures(row)], "general-1")[:limit],
        [row for row in rows if not measures(row)],
    )


def made_up(limit: int = LIMIT) -> General:
    """Chats with one answer, the same every time. Their lines count from 1 and are in no file."""
    found: dict[str, list[Message]] = {}
    for messages in itertools.islice(_chats(_SEED), _TRIES * limit):
        row = Row(0, tuple(messages))
        if sum(m["role"] == "assistant" for m in messages) == 1 and measures(row):
            found.setdefault(group(row), messages)
    rows = [Row(line, tuple(messages)) for line, messages in enumerate(found.values(), start=1)]
    return General(MADE_UP, rows[:limit])


def prompts(seed: int) -> Iterator[list[Message]]:
    """Made-up prompts without end, to be answered and replayed; none of them measures."""
    return (messages[:-1] for messages in _chats(seed) if not measures(Row(0, tuple(messages))))


def _chats(seed: int) -> Iterator[list[Message]]:
    for made in chats(seed):
        yield [{"role": m["role"], "content": m["content"]} for m in made.messages]


def measures(row: Row) -> bool:
    """Whether a row measures, and so must never be learned from: about half of all do."""
    return hashlib.sha256(f"general-1\0{group(row)}".encode()).digest()[0] < 128


def as_they_stand(general: General, share: float, of: int, seed: int) -> list[Row]:
    """About `share` spare rows for each of `of` rows, to be learned as they are; fewer where there
    are not so many. Lines count from -1 downwards. Raises InvalidSpec where there is none."""
    if not general.spare:
        what = (
            "there is no general file" if general.source == MADE_UP else "it has no rows to spare"
        )
        raise InvalidSpec(
            f"replay_source=file, but {what}: expected one under SWITCHYARD_WORKER_GENERAL or the "
            "job's option general; about half of its rows measure, the others can be replayed",
            "replay_source",
        )
    chosen = rank_by_hash(general.spare, f"replay-{seed}")[: round(share * of)]
    return [
        replace(row, line=-number, metadata={"replay": True}, source="replay", weight=1.0)
        for number, row in enumerate(chosen, start=1)
    ]


def _no_chats(rows: Sequence[Row]) -> Iterator[RowError]:
    for row in rows:
        if row.kind != "chat":
            yield RowError(row.line, "", "a chat, as `messages`", f"a {row.kind} row")
