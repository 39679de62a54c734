"""The training file of a retraining: the live version's own file as replay, and the corrections.

Replay keeps what the adapter could do already; corrections bring what is new. Only what people
corrected goes in: never an answer of a model that nobody looked at. Same inputs, same bytes.

What is new has a slice of its own, and where there is enough of it a part is held out: of all rows
together, those that measure would hold too little of it to show whether it was learned. What was
held out once stays so, and a validation file of the tenant's goes along as it is.
Knows rows of JSONL; what a good row is for training is for `train/` to judge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from registry import Registry
from registry.errors import NotFound, StoreError
from registry.exchanges import Feedback
from registry.store import canonical

HELD_OUT = 0.25
"""The part of the corrections that measures."""
FEWEST = 10
"""Fewer than this show nothing (train.verdict)."""


@dataclass(frozen=True)
class RetrainSet:
    """JSONL bytes, their SHA-256 and where the rows came from."""

    data: bytes
    replayed: int
    corrected: int
    superseded: int
    """Old rows left out because a correction has the same prompt."""
    unreadable: int
    """Old rows left out because they hold no messages."""
    held_out: int = 0
    """Of the corrected rows, those that measure; 0 where there are too few to hold some out."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def sources(self) -> dict[str, int]:
        """Row counts, for the receipt."""
        return {
            "replayed": self.replayed,
            "corrected": self.corrected,
            "superseded": self.superseded,
            "unreadable": self.unreadable,
            "held_out": self.held_out,
        }


def training_file(registry: Registry, tenant: str, digest: str) -> str | None:
    """The id of the file that a version was trained on, or None when that is not known any more."""
    try:
        version = registry.versions.get(digest)
        if version.job_id is None:
            return None
        file_id = registry.jobs.get(version.job_id).training_file
        registry.files.get(tenant, file_id)
    except NotFound:
        return None
    return file_id


def validation_file(registry: Registry, tenant: str, digest: str) -> str | None:
    """The id of the file that a version was measured by, where its job named one that is there."""
    try:
        version = registry.versions.get(digest)
        job = None if version.job_id is None else registry.jobs.get(version.job_id)
        if job is None or job.validation_file is None:
            return None
        return registry.files.get(tenant, job.validation_file).id
    except NotFound:
        return None


def old_rows(registry: Registry, tenant: str, file_id: str) -> bytes | None:
    """A training file's bytes; None when the store lost or damaged them."""
    try:
        return registry.content(tenant, file_id)
    except (NotFound, StoreError):
        return None


def build(old: bytes, corrections: Sequence[Feedback], news: str = "corrected") -> RetrainSet:
    """Old rows in their order, then one row a correction, the last word on a prompt winning.
    `news` is the slice of these."""
    last: dict[bytes, dict[str, Any]] = {}
    for feedback in sorted(corrections, key=lambda row: row.number):
        prompt = (feedback.messages or {}).get("messages")
        if isinstance(prompt, list) and prompt and feedback.better is not None:
            answer = {"role": "assistant", "content": feedback.better}
            last[canonical(prompt)] = {
                "messages": [*prompt, answer],
                "source": "correction",
                "slice": news,
                "feedback": feedback.id,
            }
    lines: list[str] = []
    superseded = unreadable = 0
    measured: set[bytes] = set()
    for line in old.decode("utf-8", "replace").splitlines():
        if not line.strip():
            continue
        row = _row(line)
        if row is None:
            unreadable += 1
        elif (prompt := canonical(row["messages"][:-1])) in last:
            superseded += 1
            if row.get("held_out") is True:
                measured.add(prompt)
        else:
            lines.append(line)
    replayed = len(lines)
    measured |= _drawn(last)
    for prompt in measured:
        last[prompt]["held_out"] = True
    lines += [json.dumps(row, ensure_ascii=False) for row in last.values()]
    data = "".join(f"{line}\n" for line in lines).encode()
    held_out = len(measured) if len(measured) >= FEWEST else 0
    return RetrainSet(data, replayed, len(last), superseded, unreadable, held_out)


def _drawn(prompts: Collection[bytes]) -> set[bytes]:
    """Those that measure, by their own hash; none where they would be too few."""
    count = int(HELD_OUT * len(prompts))
    ranked = sorted(prompts, key=lambda prompt: hashlib.sha256(b"held out\0" + prompt).digest())
    return {*ranked[:count]} if count >= FEWEST else set()


def _row(line: str) -> dict[str, Any] | None:
    """A row with messages; None for what is none."""
    try:
        row = json.loads(line)
        messages = row["messages"]
    except (ValueError, TypeError, KeyError):
        return None
    good = isinstance(messages, list) and messages and isinstance(messages[-1], dict)
    return row if good else None
