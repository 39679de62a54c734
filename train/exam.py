"""Evaluation of what is served, through the engine that serves it: `python -m train.exam FOLDER`.

Reads exam.json in FOLDER and leaves exam-outcome.json there. Knows nothing about the registry and
imports no torch: the caller says which systems there are and under which model names.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from train.answers import Answers, summarise
from train.engine import Answer, Engine, EngineError
from train.evaluation import Evaluation, choose_examples, crowd
from train.forgetting import Forgetting, through
from train.general import General
from train.judge import KEY as JUDGE_KEY
from train.judge import Judge, opinion
from train.metrics import measure
from train.rows import Row

KEY = "SWITCHYARD_WORKER_ENGINE_KEY"
"""The environment variable with the engine's key; it is never written to a file."""
FEW_SHOT = "base_few_shot"


@dataclass(frozen=True)
class Exam:
    """What to ask of whom. `systems` maps base_zero_shot, base_few_shot, parent, adapter (or
    further rivals) to model names of the engine; only base_few_shot gets the `shots` before its
    question. `max_tokens` bounds an answer. `min_effect`: the smallest gain that matters.
    `gain_on`: the slice on which the parent must be beaten.
    `general` are the rows that show what was forgotten, from `general_source`; `max_forgetting`
    is what is allowed."""

    rows: list[Row]
    systems: dict[str, str]
    kind: str
    labels: list[str] = field(default_factory=list)
    schema: dict[str, Any] | None = None
    shots: list[Row] = field(default_factory=list)
    max_tokens: int = 256
    group_by: str | None = None
    min_effect: float | None = None
    gain_on: str | None = None
    price_per_million: float | None = None
    general: list[Row] = field(default_factory=list)
    general_source: str = ""
    max_forgetting: float | None = None

    @property
    def answers(self) -> Answers:
        """How the answers are judged."""
        return Answers(self.kind, tuple(self.labels), self.schema)

    def asking(self, systems: dict[str, str], price_per_million: float | None = None) -> Exam:
        """The same, of these systems."""
        return replace(self, systems=systems, price_per_million=price_per_million)

    def json(self) -> dict[str, Any]:
        """As exam.json holds it."""
        return asdict(self)

    @classmethod
    def load(cls, value: Mapping[str, Any]) -> Exam:
        """From exam.json. Raises TypeError or KeyError for what is none."""
        rows = {
            name: [_row(row) for row in value.get(name) or []]
            for name in ("rows", "shots", "general")
        }
        return cls(**{**value, **rows})


def prepare(
    rows: Sequence[Row],
    examples: Sequence[Row],
    answers: Answers,
    *,
    few_shot: int,
    max_tokens: int,
    group_by: str | None = None,
    min_effect: float | None = None,
    gain_on: str | None = None,
    general: General | None = None,
    max_forgetting: float | None = None,
) -> Exam:
    """An exam on `rows` whose systems are yet to be named; `examples` are training rows."""
    return Exam(
        rows=list(rows),
        systems={},
        kind=answers.kind,
        labels=list(answers.labels),
        schema=None if answers.schema is None else dict(answers.schema),
        shots=choose_examples(examples, answers, few_shot),
        max_tokens=max_tokens,
        group_by=group_by,
        min_effect=min_effect,
        gain_on=gain_on,
        general=[] if general is None else general.measured,
        general_source="" if general is None else general.source,
        max_forgetting=max_forgetting,
    )


def examine(
    exam: Exam,
    engine: Engine,
    tell: Callable[[str], None] = lambda _: None,
    told: Callable[[], None] = lambda: None,
    judge: Judge | None = None,
) -> Evaluation:
    """Ask every system every row and score the answers; texts are shown to the judge too, if there
    is one, who may not be reached. Raises EngineError, also when a system can't be asked; only
    base_few_shot is left out where the examples don't fit (HTTP 400)."""
    if "adapter" not in exam.systems or not exam.rows:
        raise ValueError("An exam needs rows and a system called adapter")
    answers, lines = exam.answers, [row.line for row in exam.rows]
    expected = [row.answer for row in exam.rows]
    figures: dict[str, Any] = {
        "kind": answers.kind, "through": "engine", "n": len(exam.rows),
        "parent": None, FEW_SHOT: None, "seconds": {},
    }  # fmt: skip
    scores, said = {}, {}
    turns = [m for row in exam.shots for m in row.messages if m["role"] != "system"]
    for system, model in exam.systems.items():
        if system == FEW_SHOT and not turns:
            continue
        tell(system)
        before = turns if system == FEW_SHOT else []
        asked = [crowd(row, before) for row in exam.rows]
        started = time.monotonic()
        try:
            given = engine.answer(model, asked, max_tokens=exam.max_tokens, told=told)
        except EngineError as error:
            if system == FEW_SHOT and error.status == 400:
                continue
            raise
        texts = said[system] = [answer.text for answer in given]
        scores[system] = [answers.score(t, e) for t, e in zip(texts, expected, strict=True)]
        figures["seconds"][system] = round(time.monotonic() - started, 2)
        figures[system] = {
            **summarise(scores[system], lines),
            "metrics": measure(answers, texts, expected),
            "model": model,
            **spent(given, exam.price_per_million),
        }
        if system == FEW_SHOT:
            figures[system]["examples"] = len(exam.shots)
    tell("perplexity")
    figures["perplexity"] = _perplexities(exam, engine)
    guards = {}
    if judge is not None and exam.kind == "text":
        tell("judge")
        values = {system: [score.value for score in found] for system, found in scores.items()}
        found = opinion(judge, exam.rows, said, values, told)
        figures["judge"] = found.figures
        guards = {"judge": found.scores} if found.scores else {}
    evaluation = Evaluation(exam.rows, scores, figures, guards)
    if not exam.general or "base_zero_shot" not in exam.systems:
        return evaluation
    tell("general")
    started = time.monotonic()
    forgot = _forgotten(exam, engine)
    figures["seconds"]["general"] = round(time.monotonic() - started, 2)
    return evaluation.beside(forgot)


def _forgotten(exam: Exam, engine: Engine) -> Forgetting | None:
    """None where the engine gives no log-probabilities of a prompt."""
    named = {"base": "base_zero_shot", "adapter": "adapter", "parent": "parent"}
    models = {name: exam.systems[key] for name, key in named.items() if key in exam.systems}
    try:
        return through(engine, models, exam.general_source, exam.general, exam.max_forgetting)
    except EngineError:
        return None


def _perplexities(exam: Exam, engine: Engine) -> dict[str, Any] | None:
    """Of the base, the adapter and its parent on the held-out answers; None where the engine gives
    no log-probabilities of a prompt."""
    named = {"base": "base_zero_shot", "adapter": "adapter", "parent": "parent"}
    asked = {name: exam.systems[key] for name, key in named.items() if key in exam.systems}
    base = exam.systems.get("base_zero_shot") or exam.systems["adapter"]
    try:
        texts = [text for row in exam.rows if (text := _tokens(engine, base, row)) is not None]
        if not texts:
            return None
        return {
            name: {
                "perplexity": round(perplexity(engine, model, texts), 6),
                "tokens": sum(len(ids) - start for ids, start in texts),
            }
            for name, model in asked.items()
        }
    except EngineError:
        return None


def _tokens(engine: Engine, model: str, row: Row) -> tuple[list[int], int] | None:
    """(ids of prompt and answer, how many are the prompt's); None where the template writes a
    prompt in another way when its answer is known."""
    start = engine.tokenize(model, row.prompt, prompt=True)
    whole = engine.tokenize(model, row.messages, prompt=False)
    return (whole, len(start)) if whole[: len(start)] == start and len(whole) > len(start) else None


def spent(given: Sequence[Answer], price_per_million: float | None = None) -> dict[str, Any]:
    """Milliseconds to the whole answer (`latency_ms`), to its first token (`ttft_ms`) and from one
    token to the next (`inter_token_ms`, where answers have two or more), tokens per request and,
    where a million tokens have a price, its cost."""
    tokens = [answer.prompt_tokens + answer.completion_tokens for answer in given]
    found: dict[str, Any] = {
        "latency_ms": _times([answer.latency_ms for answer in given]),
        "tokens_per_request": round(sum(tokens) / len(tokens), 2),
    }
    for name in ("ttft_ms", "inter_token_ms"):
        times = [value for answer in given if (value := getattr(answer, name)) is not None]
        found[name] = _times(times) if times else None
    if price_per_million is not None:
        found["cost_per_request"] = found["tokens_per_request"] * price_per_million / 1e6
    return found


def _times(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 2),
        "p50": round(float(np.percentile(values, 50)), 2),
        "p95": round(float(np.percentile(values, 95)), 2),
    }


def perplexity(engine: Engine, model: str, texts: Sequence[tuple[Sequence[int], int]]) -> float:
    """e^ the mean negative log-probability of the answers' tokens. Each text is (token ids of
    prompt and answer, how many are the prompt's). Raises EngineError; ValueError for no answer."""
    found = engine.logprobs(model, [ids for ids, _ in texts])
    parts = [p for given, (_, start) in zip(found, texts, strict=True) for p in given[start - 1 :]]
    if not parts or any(start < 1 for _, start in texts):
        raise ValueError("Expected a prompt and an answer of at least a token each")
    return math.exp(-sum(parts) / len(parts))


def exam_after(
    folder: Path,
    engine_url: str,
    *,
    base: str,
    adapter: str,
    parent: str | None = None,
    price_per_million: float | None = None,
    judge: Judge | None = None,
) -> bool:
    """Complete FOLDER's exam.json, which train.run left, with the engine and what it calls base,
    adapter and parent, and with the judge of texts (not its key); whether there is an exam to run.
    What is to be asked must be in the store; then comes `python -m train.exam FOLDER`, which leaves
    exam-outcome.json."""
    path = folder / "exam.json"
    if not path.exists():
        return False
    value = json.loads(path.read_text(encoding="utf-8"))
    systems = {"base_zero_shot": base, FEW_SHOT: base, "parent": parent, "adapter": adapter}
    value["systems"] = {name: model for name, model in systems.items() if model}
    value["price_per_million"] = price_per_million
    value |= {"engine_url": engine_url, "judge": None if judge is None else judge.json()}
    path.write_text(json.dumps(value), encoding="utf-8")
    return True


def main(folder: Path) -> int:
    """Run the exam in `folder`: 0 with exam-outcome.json, in which an error is told too."""
    value = json.loads((folder / "exam.json").read_text(encoding="utf-8"))
    engine = Engine(value.pop("engine_url"), os.environ.get(KEY))
    asked = value.pop("judge", None)
    judge = None if asked is None else Judge(**asked, key=os.environ.get(JUDGE_KEY))
    exam = Exam.load(value)
    outcome: dict[str, Any]
    try:
        evaluation = examine(exam, engine, judge=judge)
    except EngineError as error:
        outcome = {"error": {"code": "engine", "message": str(error), "param": None}}
    else:
        judged = evaluation.judge(
            group_by=exam.group_by, min_effect=exam.min_effect, gain_on=exam.gain_on
        )
        outcome = {
            "evaluation": evaluation.figures,
            "verdict": judged.verdict,
            "reasons": judged.reasons,
        }
    partial = folder / "exam-outcome.json.tmp"
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.rename(folder / "exam-outcome.json")
    return 0


def _row(value: Mapping[str, Any]) -> Row:
    return Row(**{**value, "messages": tuple(value["messages"])})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
