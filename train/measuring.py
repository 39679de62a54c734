"""Which evaluation a job's objective asks for, in memory; and the same questions for an engine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from train import exam, likelihood
from train.answers import Answers
from train.evaluate import evaluate, longest_answer
from train.evaluation import Evaluation, min_effect
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
) -> Evaluation:
    """The evaluation that the objective asks for. Of generated answers it also leaves `exam.json`:
    the same questions, for the engine."""
    parent = "parent" if task.parent is not None else None

    def tell(system: str) -> None:
        report({"kind": "progress", "phase": "evaluating", "system": system})

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
