"""What an adapter forgot of what its base could do: how likely it finds the general set's answers.

Paired by row, against the base and in natural logarithms: the change is that of perplexity, the
chance is an exact test's (train.paired). Knows figures, not models; an engine is asked through the
client that is handed in. Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from train import paired
from train.answers import chrf
from train.engine import Engine
from train.errors import InvalidSpec
from train.rows import Row, digest
from train.split import group
from train.verdict import FEWEST, RESAMPLES, Guard, compare

MAX_FORGETTING = 999.0
"""By how much perplexity on the general set may rise, if nothing else is said: a thousandfold. It
tells a model that fell apart from one that learned a narrow task; see docs/training.md for what was
measured of either."""
MOST_TOKENS = 64
"""A general answer is decoded no further than this."""
ANSWERED = 16
"""On so many rows answers are decoded too, as that takes longer than reading."""
_FURTHEST = 100.0
"""Nats a token: so unlikely that more makes no difference."""


@dataclass(frozen=True)
class Forgetting:
    """`losses` are nats a token of each row's answer, by "base", "adapter" and, where there is one,
    "parent"; `clusters` names each row's conversation. `allowed` is the share by which perplexity
    may rise, None for any. `chrf` is each system's mean on the rows that were answered, `digest`
    the rows' SHA-256: figures on other rows are not to be compared."""

    source: str
    losses: Mapping[str, Sequence[float]]
    clusters: Sequence[str]
    allowed: float | None = None
    chrf: Mapping[str, float] = field(default_factory=dict)
    digest: str = ""

    @property
    def n(self) -> int:
        """How many rows measured."""
        return len(self.clusters)

    @property
    def change(self) -> float:
        """By which share the adapter's perplexity is above the base's: 0.5 is half as much again.
        Rows count alike, however long their answers are."""
        return math.expm1(_mean(self._rise))

    @property
    def _rise(self) -> list[float]:
        pairs = zip(self.losses["adapter"], self.losses["base"], strict=True)
        return [ours - base for ours, base in pairs]

    def figures(self) -> dict[str, Any]:
        """For the version's evaluation; no text. `interval` is where `change` lies at 95 %."""
        sums, sizes = paired.cluster_sums(self._rise, self.clusters)
        low, high = paired.interval(sums, sizes, resamples=RESAMPLES)
        return {
            "source": self.source,
            "rows_sha256": self.digest,
            "n": self.n,
            "parent": None,
            **{name: self._system(name) for name in self.losses},
            "change": round(self.change, 6),
            "interval": [round(math.expm1(low), 6), round(math.expm1(high), 6)],
            "max_forgetting": self.allowed,
        }

    def _system(self, name: str) -> dict[str, float]:
        found = {"perplexity": float(f"{math.exp(_mean(self.losses[name])):.6g}")}
        if name in self.chrf:
            found["chrf"] = round(self.chrf[name], 6)
        return found

    def guard(self) -> Guard | None:
        """What the verdict holds against the adapter: that perplexity rose by more than is allowed,
        and not by chance. None where any rise is allowed or rows are too few to show one."""
        if self.allowed is None or len(set(self.clusters)) < FEWEST:
            return None
        room = math.log1p(self.allowed)
        left = [room - rise for rise in self._rise]
        base, ours = (math.exp(_mean(self.losses[name])) for name in ("base", "adapter"))
        return Guard(
            "general",
            compare(left, [0.0] * len(left), self.clusters),
            f"forgot: perplexity on {self.n} general rows is {ours:.3g} and the base's {base:.3g}, "
            f"{rise(self.change)} where {rise(self.allowed)} is allowed",
            {"n": self.n, "change": round(self.change, 6), "max_forgetting": self.allowed},
        )


def forgetting(
    source: str,
    rows: Sequence[Row],
    losses: Mapping[str, Sequence[float]],
    allowed: float | None,
    said: Mapping[str, Sequence[str]] | None = None,
) -> Forgetting | None:
    """Of the rows that every system has a loss of (NaN is none); None without such a row. `said`
    are each system's answers to the first rows."""
    kept = [i for i in range(len(rows)) if not any(math.isnan(loss[i]) for loss in losses.values())]
    if not kept:
        return None
    return Forgetting(
        source,
        {name: [min(found[i], _FURTHEST) for i in kept] for name, found in losses.items()},
        [group(rows[i]) for i in kept],
        allowed,
        {
            name: _mean([chrf(text, row.answer) for text, row in zip(texts, rows, strict=False)])
            for name, texts in (said or {}).items()
            if texts
        },
        digest(rows[i] for i in kept),
    )


def through(
    engine: Engine,
    models: Mapping[str, str],
    source: str,
    rows: Sequence[Row],
    allowed: float | None,
) -> Forgetting | None:
    """The same through an engine: `models` maps base, adapter and parent to its names for them.
    Rows that don't fit its context are left out. Raises EngineError."""
    base = models["base"]
    context = engine.context(base)
    fitting: list[Row] = []
    texts: list[tuple[list[int], int]] = []
    for row in rows:
        start = engine.tokenize(base, row.prompt, prompt=True)
        whole = engine.tokenize(base, row.messages, prompt=False)
        room = len(start) + MOST_TOKENS <= context and len(whole) < context
        if room and whole[: len(start)] == start and len(whole) > len(start):
            fitting.append(row)
            texts.append((whole, len(start)))
    if not texts:
        return None
    losses: dict[str, list[float]] = {}
    said: dict[str, list[str]] = {}
    for name, model in models.items():
        found = engine.logprobs(model, [ids for ids, _ in texts])
        losses[name] = [
            -_mean(given[start - 1 :]) for given, (_, start) in zip(found, texts, strict=True)
        ]
        asked = [row.prompt for row in fitting[:ANSWERED]]
        said[name] = [answer.text for answer in engine.answer(model, asked, max_tokens=MOST_TOKENS)]
    return forgetting(source, fitting, losses, allowed, said)


def last_answers(rows: Sequence[Row]) -> list[Row]:
    """Rows of which the last answer alone is measured, as it is through an engine."""
    return [replace(row, kind="rated") for row in rows]


def max_forgetting(answers: Mapping[str, Any]) -> float | None:
    """By how much perplexity on the general set may rise; None for any. Raises InvalidSpec."""
    found = answers.get("max_forgetting", MAX_FORGETTING)
    if found == "off":
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1e6:
        raise InvalidSpec(
            f"The adapter's answers.max_forgetting is {found!r}: expected a share by which "
            'perplexity may rise, such as 0.5 for half as much again, or "off"',
            "max_forgetting",
        )
    return float(found)


def rise(share: float) -> str:
    """A change of perplexity for people: +6 %, or × 14 where it is the double or more."""
    return f"{100 * share:+.0f} %" if share < 1 else f"× {1 + share:.3g}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
