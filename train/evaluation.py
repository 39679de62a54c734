"""What several systems scored on the same held-out rows, and what follows from it.

Knows nothing about who answered, nor how: a model in memory (train.evaluate) or an engine
(train.exam). Imports no torch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from train.answers import Answers, Score
from train.errors import InvalidSpec
from train.forgetting import Forgetting
from train.rows import SLICE, Message, Row
from train.split import group, rank_by_hash
from train.verdict import MIN_EFFECT, Verdict, decide


@dataclass(frozen=True)
class Evaluation:
    """Scores of each system, row by row, and the figures that are kept with the version. `guards`
    has further scores that may not get worse, by name and system; None where a row has none.
    `forgetting` is what the adapter forgot, where that was measured."""

    rows: list[Row]
    scores: dict[str, list[Score]]
    figures: dict[str, Any] = field(default_factory=dict)
    guards: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    forgetting: Forgetting | None = None

    def beside(self, forgetting: Forgetting | None) -> Evaluation:
        """The same with what was forgotten, among the figures too, under `general`."""
        found = None if forgetting is None else forgetting.figures()
        return replace(self, figures={**self.figures, "general": found}, forgetting=forgetting)

    def values(self, system: str) -> list[float]:
        """What the paired test compares."""
        return [score.value for score in self.scores[system]]

    def judge(
        self,
        *,
        group_by: str | None = None,
        min_effect: float | None = None,
        gain_on: str | None = None,
    ) -> Verdict:
        """The adapter against the others on the same rows, those of a conversation together.
        `min_effect` is the smallest gain that matters, 0 to 1 (train.verdict's own if None).
        `gain_on` is the slice on which it must be better than its parent; the others together are
        a slice then, too.

        What may not get worse beside the score: the share of valid answers, a record's fields, the
        guards, the score on the rows of each `slice`, and, by more than is allowed, perplexity on
        the general set. Not the score on the rows of each label: a base that says the same label to
        everything is perfect there.
        """
        baselines = {
            name: self.values(name) for name in self.scores if name not in ("adapter", "parent")
        }
        names = [row.metadata.get(SLICE) for row in self.rows]
        slices = {
            name: [other == name for other in names]
            for name in dict.fromkeys(names)
            if isinstance(name, str)
        }
        news = slices.get(gain_on) if gain_on is not None else None
        if news is not None:
            slices[f"not {gain_on}"] = [not inside for inside in news]
        metrics: dict[str, Mapping[str, Sequence[float | None]]] = {
            "valid": {
                name: [float(score.valid) for score in found] for name, found in self.scores.items()
            },
            **self.guards,
        }
        if self.figures["kind"] == "json":
            metrics["fields"] = {
                name: [score.fields or 0.0 for score in found]
                for name, found in self.scores.items()
            }
        guard = None if self.forgetting is None else self.forgetting.guard()
        return decide(
            self.values("adapter"),
            baselines,
            self.values("parent") if "parent" in self.scores else None,
            clusters=[group(row, group_by) for row in self.rows],
            slices=slices,
            metrics=metrics,
            guards=[] if guard is None else [guard],
            min_effect=MIN_EFFECT if min_effect is None else min_effect,
            gain_on=None if gain_on is None else (gain_on, news or [False] * len(self.rows)),
        )


def choose_examples(rows: Sequence[Row], answers: Answers, count: int) -> list[Row]:
    """The same few rows for the same data: one of each label in turn, or any by hash."""
    ranked = rank_by_hash(rows, "few-shot-1")
    if answers.kind != "label":
        return ranked[:count]
    by_label: dict[str, list[Row]] = defaultdict(list)
    for row in ranked:
        by_label[row.answer.strip()].append(row)
    piles = list(by_label.values())
    turns = [pile[turn] for turn in range(count) for pile in piles if turn < len(pile)]
    return turns[:count]


def crowd(row: Row, turns: Sequence[Message]) -> list[Message]:
    """A row's system message first, then the examples, then its own turns."""
    prompt = row.prompt
    system = [m for m in prompt if m["role"] == "system"]
    return [*system, *turns, *(m for m in prompt if m["role"] != "system")]


def min_effect(answers: dict[str, Any]) -> float | None:
    """The smallest gain that matters to the tenant. Raises InvalidSpec."""
    found = answers.get("min_effect")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1:
        raise InvalidSpec(
            f"The adapter's answers.min_effect is {found!r}: expected a number between 0 and 1",
            "min_effect",
        )
    return float(found)
