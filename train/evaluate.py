"""The held-out score of the base (zero-shot, few-shot), the adapter and its parent, on the same
rows, and what follows from it.

Decodes greedily with the model in memory; what an answer is worth is train.answers' business, what
a difference is worth train.verdict's.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from train import perplexity
from train.answers import Answers, Score, summarise
from train.dataset import prompt_ids
from train.generate import generate
from train.metrics import measure
from train.model import Base
from train.rows import Message, Row
from train.split import group, rank_by_hash
from train.verdict import Verdict, decide

SLICE = "slice"
"""The metadata field that says which part of the tenant's traffic a row stands for."""
_SPARE_TOKENS = 8  # an answer may be this much longer than the longest reference


@dataclass(frozen=True)
class Evaluation:
    """Scores of each system, row by row, and the figures that are kept with the version."""

    rows: list[Row]
    scores: dict[str, list[Score]]
    figures: dict[str, Any] = field(default_factory=dict)

    def values(self, system: str) -> list[float]:
        """What the paired test compares."""
        return [score.value for score in self.scores[system]]

    def judge(self, *, group_by: str | None = None) -> Verdict:
        """The adapter against the others on the same rows, those of a conversation together.

        What may not get worse beside the score: the share of valid answers, a record's fields, and
        the score on the rows of each `slice`. Not on the rows of each label: a base that says the
        same label to everything is perfect there.
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
        metrics = {
            "valid": {
                name: [float(score.valid) for score in found] for name, found in self.scores.items()
            }
        }
        if self.figures["kind"] == "json":
            metrics["fields"] = {
                name: [score.fields or 0.0 for score in found]
                for name, found in self.scores.items()
            }
        return decide(
            self.values("adapter"),
            baselines,
            self.values("parent") if "parent" in self.scores else None,
            clusters=[group(row, group_by) for row in self.rows],
            slices=slices,
            metrics=metrics,
        )


def evaluate(
    model: Any,
    base: Base,
    rows: Sequence[Row],
    examples: Sequence[Row],
    answers: Answers,
    *,
    few_shot: int,
    parent: str | None,
    tell: Callable[[str], None],
) -> Evaluation:
    """Score `model` (a PEFT model; `parent` names its second adapter) on `rows`.

    `examples` are training rows: the few-shot baseline puts up to `few_shot` of them before the
    prompt, as many as fit the context.
    """
    tokenizer = base.tokenizer
    references = tokenizer([row.answer for row in rows], add_special_tokens=False)["input_ids"]
    longest = max(len(ids) for ids in references) + _SPARE_TOKENS
    prompts = [prompt_ids(row.prompt, tokenizer) for row in rows]
    room = base.context - longest
    shots = choose_examples(examples, answers, few_shot)
    crowded = with_examples(rows, shots, tokenizer, room)
    scores: dict[str, list[Score]] = {}
    measured: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}

    def run(system: str, given: list[list[int]], adapter: str | None) -> None:
        tell(system)
        started = time.monotonic()
        if adapter is not None:
            model.set_adapter(adapter)
        with model.disable_adapter() if adapter is None else nullcontext():
            tokens = generate(
                model,
                [ids[-room:] for ids in given],
                stop=base.stop_tokens(),
                pad=int(tokenizer.pad_token_id or 0),
                max_new_tokens=longest,
            )
        texts = tokenizer.batch_decode(tokens, skip_special_tokens=True)
        scores[system] = [
            answers.score(text, row.answer) for text, row in zip(texts, rows, strict=True)
        ]
        measured[system] = measure(answers, texts, [row.answer for row in rows])
        seconds[system] = round(time.monotonic() - started, 2)

    run("base_zero_shot", prompts, None)
    if crowded is not None:
        run("base_few_shot", crowded[0], None)
    if parent is not None:
        run("parent", prompts, parent)
    run("adapter", prompts, "default")
    lines = [row.line for row in rows]
    figures: dict[str, Any] = {
        "kind": answers.kind,
        "n": len(rows),
        "parent": None,
        "base_few_shot": None,
        **{
            system: {**summarise(found, lines), "metrics": measured[system]}
            for system, found in scores.items()
        },
        "perplexity": perplexity.figures(model, base, rows, parent),
        "seconds": seconds,
    }
    if crowded is not None:
        figures["base_few_shot"]["examples"] = crowded[1]
    return Evaluation(list(rows), scores, figures)


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


def with_examples(
    rows: Sequence[Row], shots: Sequence[Row], tokenizer: Any, room: int
) -> tuple[list[list[int]], int] | None:
    """(prompts with the examples as earlier turns, how many fit into `room` tokens), or None when
    not one fits."""
    longest = max(rows, key=lambda row: sum(len(m["content"]) for m in row.prompt))
    for count in range(len(shots), 0, -1):
        turns = [m for row in shots[:count] for m in row.messages if m["role"] != "system"]
        if len(prompt_ids(_crowd(longest, turns), tokenizer)) > room:
            continue
        prompts = [prompt_ids(_crowd(row, turns), tokenizer) for row in rows]
        if max(map(len, prompts)) <= room:
            return prompts, count
    return None


def _crowd(row: Row, turns: list[Message]) -> list[Message]:
    """A row's system message first, then the examples, then its own turns."""
    prompt = row.prompt
    system = [m for m in prompt if m["role"] == "system"]
    return [*system, *turns, *(m for m in prompt if m["role"] != "system")]
