"""The held-out score of the base (zero-shot, few-shot), the adapter and its parent, on the same
rows, and what follows from it.

Decodes greedily with the model in memory; what an answer is worth is train.answers' business, what
a difference is worth train.verdict's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

from train import perplexity
from train.answers import Answers, Score, summarise
from train.dataset import prompt_ids
from train.evaluation import Evaluation, choose_examples, crowd
from train.generate import generate
from train.metrics import measure
from train.model import Base
from train.rows import Row

_SPARE_TOKENS = 8  # an answer may be this much longer than the longest reference


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
    longest = longest_answer(rows, tokenizer)
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
        "through": "memory",
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


def longest_answer(rows: Sequence[Row], tokenizer: Any) -> int:
    """How many tokens an answer may have: a few more than the longest reference."""
    references = tokenizer([row.answer for row in rows], add_special_tokens=False)["input_ids"]
    return max(len(ids) for ids in references) + _SPARE_TOKENS


def with_examples(
    rows: Sequence[Row], shots: Sequence[Row], tokenizer: Any, room: int
) -> tuple[list[list[int]], int] | None:
    """(prompts with the examples as earlier turns, how many fit into `room` tokens), or None when
    not one fits."""
    longest = max(rows, key=lambda row: sum(len(m["content"]) for m in row.prompt))
    for count in range(len(shots), 0, -1):
        turns = [m for row in shots[:count] for m in row.messages if m["role"] != "system"]
        if len(prompt_ids(crowd(longest, turns), tokenizer)) > room:
            continue
        prompts = [prompt_ids(crowd(row, turns), tokenizer) for row in rows]
        if max(map(len, prompts)) <= room:
            return prompts, count
    return None
