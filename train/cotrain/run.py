"""Several jobs on one base, from their files to adapter folders: `python -m train.cotrain FOLDER`.

`FOLDER/task.json` is {"seats": N, "jobs": {job id: its folder, relative to FOLDER}}; each job's
folder is as train.run wants it, with a `task.json` of its own, and gets `adapter/` and
`outcome.json` as soon as that job is done, while others go on. News are train.run's lines with the
job's id under `job`. A file `cancel` in a job's folder takes it off before the next step; `pause`
too, and leaves its state in `state/`, from where a run that finds it there goes on. A job whose
files are wrong ends with its own error; what breaks the process (memory, disk) breaks all of them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train import rows as files
from train.answers import Answers
from train.errors import InvalidSpec, TrainingError
from train.run import Clock, Task, read
from train.spec import TrainingSpec
from train.split import Split

Report = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class _Job:
    id: str
    folder: Path
    task: Task
    spec: TrainingSpec
    data: Split
    clock: Clock


@dataclass(frozen=True)
class _Prepared:
    """A job whose rows are tokens."""

    job: _Job
    co: Any
    supervision: Any


def run(folder: Path, seats: int, jobs: dict[str, str], report: Report) -> None:
    """Bring every job to an outcome, or to its saved state if it is paused."""
    opened = [
        job
        for id_, place in jobs.items()
        if (job := _open(id_, folder / place, report)) is not None
    ]
    if not opened:
        return
    # Bad files and bad options are told above, before these ten seconds.
    import torch

    from train.cotrain.loop import cotrain
    from train.model import Base

    first = opened[0].task
    torch.set_num_threads(first.threads or os.cpu_count() or 1)
    try:
        base = Base(first.base, first.device)
        model = base.load()
    except TrainingError as error:
        for job in opened:
            leave(job.folder, error_of(error))
        return
    prepared = {each.job.id: each for job in opened if (each := _prepare(job, base)) is not None}
    trained = cotrain(
        model,
        [each.co for each in prepared.values()],
        seats=seats,
        report=report,
        wish=lambda id_: _wish(prepared[id_].job.folder),
        pausing=lambda id_: prepared[id_].job.folder / "state",
    )
    for result in trained:
        each = prepared[result.id]
        try:
            outcome = _finish(each, base, model, result)
        except TrainingError as error:
            outcome = error_of(error)
        leave(each.job.folder, outcome)


def _open(id_: str, folder: Path, report: Report) -> _Job | None:
    """Read a job's files; leaves an outcome and gives None where they are wrong."""
    clock = Clock(lambda message: report(id_, message))
    task = Task(**json.loads((folder / "task.json").read_text(encoding="utf-8")))
    try:
        spec = TrainingSpec.parse(task.spec)
        with clock.phase("reading"):
            data, warning = read(folder, task, spec)
    except TrainingError as error:
        leave(folder, error_of(error))
        return None
    if warning:
        report(id_, {"kind": "event", "level": "warn", "message": warning})
    return _Job(id_, folder, task, spec, data, clock)


def _prepare(job: _Job, base: Any) -> _Prepared | None:
    from train import dataset
    from train.cotrain.trainee import CoJob, obstacle

    spec = job.spec
    tools = (base.tokenizer, base.training_template, min(spec.max_length, base.context))
    try:
        if why := obstacle(spec):
            raise InvalidSpec(f"{why} can't be co-trained", why.partition("=")[0])
        with job.clock.phase("tokenising"):
            train, supervision = dataset.tokenise(job.data.train, *tools, base.stop_tokens())
            held, _ = dataset.tokenise(job.data.validation, *tools, base.stop_tokens())
    except TrainingError as error:
        leave(job.folder, error_of(error))
        return None
    state = job.folder / "state"
    co = CoJob(
        id=job.id,
        examples=train,
        validation=held,
        spec=spec,
        learning_rate=spec.learning_rate_for(base.hidden_size),
        epochs=spec.epochs_for(supervision.supervised / supervision.rows),
        resume=state if state.is_dir() else None,
    )
    return _Prepared(job, co, supervision)


def _finish(each: _Prepared, base: Any, model: Any, result: Any) -> dict[str, Any]:
    """Evaluate, judge, probe and write one adapter; the base is as it was afterwards."""
    from registry.fingerprint import base_fingerprint
    from train import artifact, verdict
    from train.cotrain.worn import wearing
    from train.evaluate import evaluate
    from train.probes import probe

    job = each.job
    task, data, clock = job.task, job.data, job.clock
    with wearing(model, job.spec, result) as trained:
        facts = artifact.manifest(
            trained,
            base,
            job.spec,
            tenant=task.tenant,
            adapter=task.adapter,
            base_name=task.base_name,
            fingerprint=base_fingerprint(base.folder),
            dataset_sha256=files.digest([*data.train, *data.validation]),
        )
        if task.parent is not None:
            trained.model.load_adapter(str(job.folder / task.parent), adapter_name="parent")
        figures: dict[str, Any] = {"kind": None, "n": 0}
        judged = verdict.decide([], {})
        if data.validation:
            with clock.phase("evaluating"):
                answers = Answers.of(
                    task.answers, [row.answer for row in (*data.train, *data.validation)]
                )
                evaluation = evaluate(
                    trained.model,
                    base,
                    data.validation,
                    data.train,
                    answers,
                    few_shot=task.few_shot,
                    parent="parent" if task.parent is not None else None,
                    tell=lambda _: None,
                )
            figures = evaluation.figures
            judged = evaluation.judge(group_by=job.spec.group_by)
        with clock.phase("probing"):
            probes = probe(trained.model, base, data.validation, data.train, task.probes)
        with clock.phase("writing"):
            artifact.write(job.folder / "adapter", trained, facts, probes)
    figures |= {
        "loss": result.best_validation_loss,
        "train_loss": result.last_loss,
        "seconds": clock.total()["total"],
    }
    return {
        "manifest": facts,
        "evaluation": figures,
        "verdict": judged.verdict,
        "reasons": judged.reasons,
        "result": {
            "seconds": clock.total(),
            "data": {
                "train_rows": len(data.train),
                "validation_rows": len(data.validation),
                "left_out_rows": len(data.left_out),
                **each.supervision.json(),
            },
            "training": {
                "steps": result.steps,
                "epochs": result.epochs,
                "best_epoch": result.best_epoch,
                "first_loss": result.first_loss,
                "last_loss": result.last_loss,
                "validation_loss": result.best_validation_loss,
                "learning_rate": result.learning_rate,
                "trained_tokens": result.tokens,
                "tokens_per_s": result.tokens_per_s,
                "cotrained": True,
            },
        },
    }


def _wish(folder: Path) -> str:
    return next((name for name in ("cancel", "pause") if (folder / name).exists()), "")


def error_of(error: TrainingError) -> dict[str, Any]:
    """An outcome that is an error."""
    return {"error": {"code": error.code, "message": error.message, "param": error.param}}


def leave(folder: Path, outcome: dict[str, Any]) -> None:
    """Write a job's outcome, whole or not at all."""
    partial = folder / "outcome.json.tmp"
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.rename(folder / "outcome.json")


def main(folder: Path) -> int:
    """Run the jobs in `folder`; 0 when each has an outcome or was paused or cancelled."""
    news = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the news
    threading.Thread(target=_die_with_parent, daemon=True).start()

    def report(job: str, message: dict[str, Any]) -> None:
        news.write(json.dumps({"job": job, **message}) + "\n")

    whole = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    run(folder, whole["seats"], whole["jobs"], report)
    return 0


def _die_with_parent() -> None:
    # The worker holds the other end and never writes: a read returns when it is gone.
    while os.read(0, 4096):
        pass
    os._exit(3)
