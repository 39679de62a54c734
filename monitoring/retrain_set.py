"""The training file of a retraining: the live version's own file as replay, and the corrections.

Replay keeps what the adapter could do already; corrections bring what is new. Only what people
corrected goes in: never an answer of a model that nobody looked at. Same inputs, same bytes.

What is new has a slice of its own, and where there is enough of it a part is held out: of all rows
together, those that measure would hold too little of it to show whether it was learned. What was
held out once stays so, and a validation file of the tenant's goes along as it is.
Old rows may have any shape (registry/examples); a file has one, so where that is another than the
corrections', they are written anew. What a good row is for training is for `train/` to judge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from registry import Registry
from registry.errors import NotFound, StoreError
from registry.examples.messages import Fault, Message
from registry.examples.shapes import LOOKED_AT, Shape, seen
from registry.exchanges import Feedback
from registry.store import canonical

KINDS = {"sft": "chat", "dpo": "preference", "kto": "rated", "pretrain": "text"}
"""What each objective learns from (train.rows.FITS, the other way round)."""
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
    """Old rows left out because they are no rows of the kind that is learned from."""
    held_out: int = 0
    """Of the corrected rows, those that measure; 0 where there are too few to hold some out."""
    unfit: int = 0
    """Corrections left out because the adapter's objective can't learn from them."""

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
            "unfit": self.unfit,
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


def build(
    old: bytes,
    corrections: Sequence[Feedback],
    news: str = "corrected",
    *,
    objective: str = "sft",
    given: Mapping[str, str] | None = None,
) -> RetrainSet:
    """Old rows in their order, then one row a correction, the last word on a prompt winning.
    `news` is the slice of these. All are of the one kind that `objective` learns from; a pair of
    answers (dpo) takes what was `given`, by the correction's id."""
    kind = KINDS[objective]
    last: dict[bytes, dict[str, Any]] = {}
    unfit = 0
    for feedback in sorted(corrections, key=lambda row: row.number):
        prompt = (feedback.messages or {}).get("messages")
        if isinstance(prompt, list) and prompt and feedback.better is not None:
            learned = _corrected(kind, prompt, feedback.better, (given or {}).get(feedback.id))
            if learned is None:
                unfit += 1
                continue
            about = {"source": "correction", "slice": news, "feedback": feedback.id}
            last[canonical(prompt)] = {**learned, **about}
    lines: list[str] = []
    superseded = unreadable = 0
    measured: set[bytes] = set()
    for line, row in _rows(old, kind):
        if row is None:
            unreadable += 1
        elif (key := canonical(row.prompt)) in last:
            superseded += 1
            if row.record.get("held_out") is True:
                measured.add(key)
        else:
            lines.append(line if row.as_it_is else json.dumps(row.record, ensure_ascii=False))
    replayed = len(lines)
    measured |= _drawn(last)
    for key in measured:
        last[key]["held_out"] = True
    lines += [json.dumps(row, ensure_ascii=False) for row in last.values()]
    data = "".join(f"{line}\n" for line in lines).encode()
    held_out = len(measured) if len(measured) >= FEWEST else 0
    return RetrainSet(data, replayed, len(last), superseded, unreadable, held_out, unfit)


def _drawn(prompts: Collection[bytes]) -> set[bytes]:
    """Those that measure, by their own hash; none where they would be too few."""
    count = int(HELD_OUT * len(prompts))
    ranked = sorted(prompts, key=lambda prompt: hashlib.sha256(b"held out\0" + prompt).digest())
    return {*ranked[:count]} if count >= FEWEST else set()


class _Row(NamedTuple):
    """An old row: its prompt, and the record that says it. `as_it_is`: its line does."""

    prompt: list[Message]
    record: dict[str, Any]
    as_it_is: bool


def _rows(old: bytes, kind: str) -> Iterator[tuple[str, _Row | None]]:
    """Each line of a file that is not blank, and its row; None for what is none of this kind."""
    lines = [line for line in old.decode("utf-8", "replace").splitlines() if line.strip()]
    records = [_json(line) for line in lines]
    shape = seen(records[:LOOKED_AT])
    for line, record in zip(lines, records, strict=True):
        yield line, _row(record, shape, kind)


def _row(record: Any, shape: Shape, kind: str) -> _Row | None:
    parts = shape.parts(record) if isinstance(record, dict) else None
    if parts is None or isinstance(parts, Fault):
        return None
    about = {name: value for name, value in record.items() if name not in parts.fields}
    *prompt, said = parts.messages
    if shape.name == "messages" and kind == "chat":
        raw = record["messages"]
        return _Row(raw[:-1] if isinstance(raw, list) else prompt, record, as_it_is=True)
    if kind == "chat" and parts.kind in ("chat", "preference"):
        learned: dict[str, Any] | None = {"messages": parts.messages}
    elif kind != parts.kind:
        learned = None
    elif kind == "preference":
        learned = _pair(prompt, said["content"], parts.rejected)
    elif kind == "rated":
        learned = {"prompt": prompt, "completion": said["content"], "label": parts.good}
    else:
        learned = None if kind != "text" else {"text": said["content"]}
    return None if learned is None else _Row(prompt, {**learned, **about}, as_it_is=False)


def _corrected(
    kind: str, prompt: list[Any], better: str, given: str | None
) -> dict[str, Any] | None:
    """A correction as a row of this kind; None where it makes none."""
    if kind == "chat":
        return {"messages": [*prompt, {"role": "assistant", "content": better}]}
    if kind == "rated":
        return {"prompt": prompt, "completion": better, "label": True}
    if kind == "preference" and given is not None and given.strip() != better.strip():
        return _pair(prompt, better, given)
    return None


def _pair(prompt: list[Any], liked: str, other: str) -> dict[str, Any]:
    return {
        "input": {"messages": prompt},
        "preferred_output": [{"role": "assistant", "content": liked}],
        "non_preferred_output": [{"role": "assistant", "content": other}],
    }


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
