"""Evaluations by likelihood, for objectives that no generated answer shows: plain text by how well
it is predicted, preferences by which of two answers is the likelier. Paired by row, as all are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from train import perplexity
from train.answers import Score, summarise
from train.dataset import IGNORED, tokenise
from train.evaluation import Evaluation
from train.model import Base
from train.rows import Row


def evaluate_texts(
    model: Any,
    base: Base,
    rows: Sequence[Row],
    *,
    parent: str | None,
    tell: Callable[[str], None],
) -> Evaluation:
    """A row's score is e^−loss, the token's probability in the geometric mean: from 0 to 1, and
    above the base's where the text is predicted better. None of them is `exact`."""

    def score(adapter: str | None) -> list[Score]:
        losses = perplexity.perplexity(model, base, rows, adapter).losses
        return [Score(False, 0.0 if math.isnan(x) else math.exp(-x), True) for x in losses]

    return _evaluation("perplexity", model, base, rows, score, parent, tell)


def evaluate_preferences(
    model: Any,
    base: Base,
    rows: Sequence[Row],
    *,
    parent: str | None,
    tell: Callable[[str], None],
) -> Evaluation:
    """A row is right where the answer that was liked has the higher probability. Compared as whole
    answers, as DPO does: the longer of two is at a disadvantage, for every system alike."""
    tools = (base.tokenizer, base.training_template, base.context, base.stop_tokens())
    liked, _ = tokenise(rows, *tools)
    less = [
        replace(
            example,
            input_ids=[*example.prompt, *example.rejected],
            labels=[IGNORED] * len(example.prompt) + example.rejected,
        )
        for example in liked
    ]
    measured = [example.row for example in liked]

    def score(adapter: str | None) -> list[Score]:
        pairs: list[list[float]] = [
            perplexity.loglikelihoods(model, examples, adapter) for examples in (liked, less)
        ]
        right = [better > worse for better, worse in zip(*pairs, strict=True)]
        return [Score(found, float(found), True) for found in right]

    return _evaluation("preference", model, base, measured, score, parent, tell)


def _evaluation(
    kind: str,
    model: Any,
    base: Base,
    rows: Sequence[Row],
    score: Callable[[str | None], list[Score]],
    parent: str | None,
    tell: Callable[[str], None],
) -> Evaluation:
    systems = {
        "base_zero_shot": None,
        **({"parent": parent} if parent is not None else {}),
        "adapter": "default",
    }
    scores: dict[str, list[Score]] = {}
    seconds: dict[str, float] = {}
    for system, adapter in systems.items():
        tell(system)
        started = time.monotonic()
        scores[system] = score(adapter)
        seconds[system] = round(time.monotonic() - started, 2)
    lines = [row.line for row in rows]
    return Evaluation(
        list(rows),
        scores,
        {
            "kind": kind,
            "n": len(rows),
            "parent": None,
            "base_few_shot": None,
            **{system: summarise(found, lines) for system, found in scores.items()},
            "perplexity": perplexity.figures(model, base, rows, parent),
            "seconds": seconds,
        },
    )
