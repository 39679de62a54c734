"""Which evaluation a job's objective asks for, and what was forgotten, in memory; and the same
questions for an engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from train import exam, forgetting, likelihood
from train.answers import Answers
from train.dataset import prompt_ids
from train.evaluate import evaluate, longest_answer
from train.evaluation import Evaluation, min_effect
from train.forgetting import ANSWERED, MOST_TOKENS, Forgetting
from train.general import General
from train.generate import generate
from train.perplexity import perplexity
from train.rows import Row
from train.spec import TrainingSpec
from train.split import Split
from train.task import Report, Task


def evaluation_of(
    folder: Path,
    model: Any,
    base: Any,
    spec: TrainingSpec,
    task: Task,
    rows: Split,
    measured: Sequence[Row],
    report: Report,
    general: General | None = None,
) -> Evaluation:
    """The evaluation that the objective asks for, and what was forgotten of the `general` set. Of
    generated answers it also leaves `exam.json`: the same questions, for the engine."""
    allowed = forgetting.max_forgetting(task.answers)
    if general is not None:
        general = _fitting(general, base)
    parent = "parent" if task.parent is not None else None

    def tell(system: str) -> None:
        report({"kind": "progress", "phase": "evaluating", "system": system})

    evaluation = _evaluation(
        folder, model, base, spec, task, rows, measured, general, allowed, tell
    )
    if general is None or not general.measured:
        return evaluation
    tell("general")
    started = time.monotonic()
    forgot = _forgotten(model, base, general, parent, allowed)
    evaluation.figures["seconds"]["general"] = round(time.monotonic() - started, 2)
    return evaluation.beside(forgot)


def _evaluation(
    folder: Path,
    model: Any,
    base: Any,
    spec: TrainingSpec,
    task: Task,
    rows: Split,
    measured: Sequence[Row],
    general: General | None,
    allowed: float | None,
    tell: Callable[[str], None],
) -> Evaluation:
    parent = "parent" if task.parent is not None else None
    if spec.objective == "pretrain":
        return likelihood.evaluate_texts(model, base, measured, parent=parent, tell=tell)
    if spec.objective == "dpo":
        return likelihood.evaluate_preferences(model, base, measured, parent=parent, tell=tell)
    examples = [row for row in rows.train if row.good]
    known = [row.answer for row in (*examples, *rows.validation, *rows.test) if row.good]
    answers = Answers.of(task.answers, known)
    questions = exam.prepare(
        measured,
        examples,
        answers,
        few_shot=task.few_shot,
        max_tokens=longest_answer(measured, base.tokenizer),
        group_by=spec.group_by,
        min_effect=min_effect(task.answers),
        gain_on=spec.gain_on,
        general=general,
        max_forgetting=allowed,
    )
    (folder / "exam.json").write_text(json.dumps(questions.json()), encoding="utf-8")
    return evaluate(
        model,
        base,
        measured,
        examples,
        answers,
        few_shot=task.few_shot,
        parent=parent,
        tell=tell,
    )


def _fitting(general: General, base: Any) -> General:
    """Only rows that fit the base's context with an answer, whoever is asked."""
    room: int = base.context - MOST_TOKENS

    def fits(row: Row) -> bool:
        answer: list[int] = base.tokenizer(row.answer, add_special_tokens=False)["input_ids"]
        longer = max(0, len(answer) - MOST_TOKENS)
        return len(prompt_ids(row.prompt, base.tokenizer)) + longer < room

    return replace(general, measured=[row for row in general.measured if fits(row)])


def _forgotten(
    model: Any, base: Any, general: General, parent: str | None, allowed: float | None
) -> Forgetting | None:
    systems = {"base": None, "adapter": "default"} | ({"parent": parent} if parent else {})
    rows = forgetting.last_answers(general.measured)
    losses = {
        name: perplexity(model, base, rows, adapter).losses for name, adapter in systems.items()
    }
    prompts = [prompt_ids(row.prompt, base.tokenizer) for row in rows[:ANSWERED]]
    said: dict[str, list[str]] = {}
    for name, adapter in systems.items():
        if adapter is not None:
            model.set_adapter(adapter)
        with model.disable_adapter() if adapter is None else nullcontext():
            tokens = generate(
                model,
                prompts,
                stop=base.stop_tokens(),
                pad=int(base.tokenizer.pad_token_id or 0),
                max_new_tokens=MOST_TOKENS,
            )
        said[name] = base.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    model.set_adapter("default")
    return forgetting.forgetting(general.source, general.measured, losses, allowed, said)
