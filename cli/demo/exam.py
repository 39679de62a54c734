"""An exam: held-out rows put to a model through the router, and how many it got right."""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.demo.cast import Member, Message, rows
from cli.demo.client import Reply, ask_all, connect
from cli.errors import ProcessFailed

MAX_TOKENS = {"label": 12, "json": 96, "text": 48}


@dataclass(frozen=True)
class Paper:
    """Questions with their reference answers. `shots` are examples put before each question."""

    tenant: str
    kind: str
    questions: tuple[tuple[Message, ...], ...]
    references: tuple[str, ...]
    schema: dict[str, Any] | None = None

    @classmethod
    def of(cls, member: Member, path: Path, count: int, schema: Path | None = None) -> Paper:
        """So many rows of a held-out file, taken evenly from all of it."""
        found = [row for row in rows(path) if row and row[-1]["role"] == "assistant"]
        step = max(1.0, len(found) / count)
        chosen = [found[int(n * step)] for n in range(min(count, len(found)))]
        return cls(
            member.name,
            member.kind,
            tuple(tuple(row[:-1]) for row in chosen),
            tuple(row[-1]["content"] for row in chosen),
            json.loads(schema.read_text()) if schema else None,
        )

    @property
    def max_tokens(self) -> int:
        """Room for an answer."""
        return MAX_TOKENS[self.kind]

    def with_shots(self, shots: Sequence[Sequence[Message]]) -> Paper:
        """The same questions with examples before each, as turns of the conversation."""
        turns = [m for shot in shots for m in shot if m["role"] != "system"]
        questions = tuple(
            (
                *(m for m in question if m["role"] == "system"),
                *turns,
                *(m for m in question if m["role"] != "system"),
            )
            for question in self.questions
        )
        return Paper(self.tenant, self.kind, questions, self.references, self.schema)


@dataclass(frozen=True)
class Result:
    """`exact` is a share; latency in milliseconds; tokens are those generated, by all clients."""

    exact: float
    n: int
    p50_ms: float
    tokens_per_s: float
    fallbacks: int
    replies: tuple[Reply, ...]

    def json(self) -> dict[str, Any]:
        """Without the texts."""
        return {
            "exact": round(self.exact, 4),
            "n": self.n,
            "p50_ms": round(self.p50_ms, 1),
            "tokens_per_s": round(self.tokens_per_s, 1),
            "fallbacks": self.fallbacks,
        }


def shots(path: Path, count: int, seed: int = 0) -> list[list[Message]]:
    """Examples from a training file, with as many different answers among them as there are."""
    found = [row for row in rows(path) if _is_row(row)]
    random.Random(seed).shuffle(found)
    by_answer: dict[str, list[list[Message]]] = {}
    for row in found:
        by_answer.setdefault(row[-1]["content"], []).append(row)
    firsts = [group[0] for group in by_answer.values()]
    return (firsts + [row for group in by_answer.values() for row in group[1:]])[:count]


def sit(url: str, key: str, model: str, paper: Paper, clients: int) -> Result:
    """Put every question to the model, `clients` at a time. Raises ProcessFailed when one gets no
    answer: an exam is sat while nothing is broken on purpose."""
    from train.answers import Answers

    async def run() -> list[Reply]:
        async with connect(url, key, retries=2) as client:
            return await ask_all(
                client,
                paper.tenant,
                model,
                paper.questions,
                max_tokens=paper.max_tokens,
                clients=clients,
            )

    began = time.perf_counter()
    replies = asyncio.run(run())
    seconds = time.perf_counter() - began
    unanswered = [reply for reply in replies if not reply.good]
    if unanswered:
        first = unanswered[0]
        raise ProcessFailed(
            f"{len(unanswered)} of {len(replies)} questions of {paper.tenant} to {model} got no "
            f"answer; the first: status {first.status}: {first.error}"
        )
    answers = Answers.of({"kind": paper.kind, "schema": paper.schema}, paper.references)
    right = [
        answers.score(reply.text, reference).exact
        for reply, reference in zip(replies, paper.references, strict=True)
    ]
    return Result(
        sum(right) / len(right),
        len(right),
        1000 * statistics.median(reply.seconds for reply in replies),
        sum(reply.completion_tokens for reply in replies) / seconds,
        sum(reply.fallback not in ("", "none") for reply in replies),
        tuple(replies),
    )


def _is_row(row: Any) -> bool:
    return (
        bool(row)
        and all(isinstance(m, dict) and isinstance(m.get("content"), str) for m in row)
        and row[-1].get("role") == "assistant"
        and any(m.get("role") == "user" and m["content"].strip() for m in row)
        and bool(row[-1]["content"].strip())
    )
