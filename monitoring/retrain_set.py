"""The training file of a retraining: the live version's own file as replay, and the corrections.

Replay keeps what the adapter could do already; corrections bring what is new. Only what people
corrected goes in: never an answer of a model that nobody looked at. Same inputs, same bytes.
Knows rows of JSONL; what a good row is for training is for `train/` to judge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry import Registry
from registry.errors import NotFound, StoreError
from registry.exchanges import Feedback
from registry.store import canonical


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


def old_rows(registry: Registry, tenant: str, file_id: str) -> bytes | None:
    """A training file's bytes; None when the store lost or damaged them."""
    try:
        return registry.content(tenant, file_id)
    except (NotFound, StoreError):
        return None


def build(old: bytes, corrections: Sequence[Feedback]) -> RetrainSet:
    """Old rows in their order, then one row a correction, the last word on a prompt winning."""
    last: dict[bytes, dict[str, Any]] = {}
    for feedback in sorted(corrections, key=lambda row: row.number):
        prompt = (feedback.messages or {}).get("messages")
        if isinstance(prompt, list) and prompt and feedback.better is not None:
            answer = {"role": "assistant", "content": feedback.better}
            last[canonical(prompt)] = {
                "messages": [*prompt, answer],
                "source": "correction",
                "feedback": feedback.id,
            }
    lines: list[str] = []
    superseded = unreadable = 0
    for line in old.decode("utf-8", "replace").splitlines():
        if not line.strip():
            continue
        prompt = _prompt(line)
        if prompt is None:
            unreadable += 1
        elif canonical(prompt) in last:
            superseded += 1
        else:
            lines.append(line)
    replayed = len(lines)
    lines += [json.dumps(row, ensure_ascii=False) for row in last.values()]
    data = "".join(f"{line}\n" for line in lines).encode()
    return RetrainSet(data, replayed, len(last), superseded, unreadable)


def _prompt(line: str) -> list[Any] | None:
    """The messages before the answer; None for a row that has none."""
    try:
        messages = json.loads(line)["messages"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(messages, list) or not messages:
        return None
    return messages[:-1] if isinstance(messages[-1], dict) else None
