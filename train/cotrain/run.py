"""Several jobs on one base, from their files to adapter folders: `python -m train.cotrain FOLDER`.

`FOLDER/task.json` is {"seats": N, "jobs": {job id: its folder, relative to FOLDER}}; each job's
folder is as train.run wants it, with a `task.json` of its own, and gets `adapter/` and
`outcome.json` as soon as that job is done, while others go on. News are train.run's lines with the
job's id under `job`. A file `cancel` in a job's folder takes it off before the next step; `pause`
too, and leaves its state in `state/`, from where a run that finds it there goes on. A line {"job":
id, "folder": its folder} on the standard input is one more job; {"kind": "aboard"} tells that it
was taken, and one that was not when the process ends was never begun. A job whose files are wrong
ends with its own error; what breaks the process (memory, disk) breaks all of them.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from train import pipeline
from train.cotrain.fitness import obstacle
from train.errors import InvalidSpec, TrainingError
from train.pipeline import Prepared
from train.reading import Data, read
from train.spec import TrainingSpec
from train.task import Clock, Task

Report = Callable[[str, dict[str, Any]], None]


@dataclass(frozen=True)
class _Job:
    id: str
    folder: Path
    task: Task
    spec: TrainingSpec
    data: Data
    clock: Clock


@dataclass(frozen=True)
class _Prepared:
    """A job whose rows are tokens."""

    job: _Job
    co: Any
    prepared: Prepared


def run(
    folder: Path,
    seats: int,
    jobs: dict[str, str],
    report: Report,
    late: SimpleQueue[dict[str, str]] | None = None,
) -> None:
    """Bring every job to an outcome, or to its saved state if it is paused; those too that come
    `late`, as long as others train."""
    opened = [
        job
        for id_, place in jobs.items()
        if (job := _open(id_, folder / place, report)) is not None
    ]
    if not opened:
        return
    # Bad files and bad options are told above, before these ten seconds.
    import torch

    from registry.fingerprint import base_fingerprint
    from train.cotrain.loop import cotrain
    from train.model import Base

    first = opened[0].task
    os.nice(first.nice)
    torch.set_num_threads(first.threads or os.cpu_count() or 1)
    try:
        base = Base(first.base, first.device)
        model = base.load()
        marks = base_fingerprint(base.folder)
    except TrainingError as error:
        for job in opened:
            leave(job.id, job.folder, error_of(error), report)
        return
    prepared: dict[str, _Prepared] = {}

    def coming() -> Iterator[Any]:
        for job in _coming(opened, late or SimpleQueue(), report):
            each = None if job is None else _prepare(job, base, marks, report)
            if job is None:
                yield None
            elif each is not None:
                prepared[job.id] = each
                yield each.co

    trained = cotrain(
        model,
        coming(),
        seats=seats,
        report=report,
        failed=lambda id_, error: leave(id_, prepared[id_].job.folder, error_of(error), report),
        wish=lambda id_: _wish(prepared[id_].job.folder),
        pausing=lambda id_: prepared[id_].job.folder / "state",
        keeping=lambda id_, step: prepared[id_].job.folder / "states" / f"step-{step}",
        every_s=first.checkpoint_s,
    )
    for result in trained:
        each = prepared[result.id]
        if _wish(each.job.folder) == "cancel":
            report(result.id, {"kind": "left", "paused": False})
            continue
        try:
            outcome = _finish(each, base, model, result, report)
        except TrainingError as error:
            outcome = error_of(error)
        leave(result.id, each.job.folder, outcome, report)


def _coming(
    opened: Sequence[_Job], late: SimpleQueue[dict[str, str]], report: Report
) -> Iterator[_Job | None]:
    """Those who were there, then those who come late; None while there is nobody."""
    yield from opened
    while True:
        try:
            said = late.get_nowait()
        except Empty:
            yield None
            continue
        id_, folder = said["job"], Path(said["folder"])
        report(id_, {"kind": "aboard"})
        if _wish(folder) == "cancel":
            report(id_, {"kind": "left", "paused": False})
        elif (job := _open(id_, folder, report)) is not None:
            yield job


def _open(id_: str, folder: Path, report: Report) -> _Job | None:
    """Read a job's files; leaves an outcome and gives None where they are wrong."""
    clock = Clock(lambda message: report(id_, message))
    task = Task(**json.loads((folder / "task.json").read_text(encoding="utf-8")))
    try:
        spec = TrainingSpec.parse(task.spec)
        with clock.phase("reading"):
            data = read(folder, task, spec)
    except TrainingError as error:
        leave(id_, folder, error_of(error), report)
        return None
    if data.skipped:
        report(id_, {"kind": "event", "level": "warn", "message": data.skipped})
    return _Job(id_, folder, task, spec, data, clock)


def _prepare(job: _Job, base: Any, marks: dict[str, str], report: Report) -> _Prepared | None:
    from train.cotrain.trainee import CoJob

    spec = job.spec
    try:
        if why := obstacle(spec):
            raise InvalidSpec(f"{why} can't be co-trained", why.partition("=")[0])
        prepared = pipeline.prepare(
            job.task,
            spec,
            job.data,
            base,
            job.clock,
            lambda message: report(job.id, message),
            job.data.replayed,
        )
    except TrainingError as error:
        leave(job.id, job.folder, error_of(error), report)
        return None
    state = job.folder / (job.task.resume or "state")
    co = CoJob(
        id=job.id,
        examples=prepared.train,
        validation=prepared.held,
        spec=spec,
        learning_rate=spec.learning_rate_for(base.hidden_size),
        epochs=spec.epochs_for(prepared.answer_tokens),
        resume=state if state.is_dir() else None,
        key=pipeline.state_key(job.task, marks, job.data.digest),
    )
    return _Prepared(job, co, prepared)


def _finish(each: _Prepared, base: Any, model: Any, result: Any, report: Report) -> dict[str, Any]:
    """Evaluate, judge, probe and write one adapter; the base is as it was afterwards."""
    from train.cotrain.worn import wearing

    job = each.job
    each.prepared.supervision.update(result.proof)
    with wearing(model, job.spec, result) as trained:
        outcome = pipeline.conclude(
            job.folder,
            job.task,
            job.spec,
            job.data,
            each.prepared,
            base,
            trained.model,
            trained,
            job.clock,
            lambda message: report(job.id, message),
            more={},
        )
    outcome["result"]["cotrained"] = True
    return outcome


def _wish(folder: Path) -> str:
    return next((name for name in ("cancel", "pause") if (folder / name).exists()), "")


def error_of(error: TrainingError) -> dict[str, Any]:
    """An outcome that is an error."""
    return {"error": {"code": error.code, "message": error.message, "param": error.param}}


def leave(id_: str, folder: Path, outcome: dict[str, Any], report: Report) -> None:
    """Write a job's outcome, whole or not at all, and tell that it is there."""
    partial = folder / "outcome.json.tmp"
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.rename(folder / "outcome.json")
    report(id_, {"kind": "left", "paused": False})


def main(folder: Path) -> int:
    """Run the jobs in `folder`; 0 when each has an outcome or was paused or cancelled."""
    news = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the news
    late: SimpleQueue[dict[str, str]] = SimpleQueue()
    threading.Thread(target=_listen, args=(late,), daemon=True).start()

    def report(job: str, message: dict[str, Any]) -> None:
        news.write(json.dumps({"job": job, **message}) + "\n")

    whole = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    run(folder, whole["seats"], whole["jobs"], report, late)
    return 0


def _listen(late: SimpleQueue[dict[str, str]]) -> None:
    # The worker holds the other end: a read that returns nothing says that it is gone.
    rest = b""
    while said := os.read(0, 4096):
        *lines, rest = (rest + said).split(b"\n")
        for line in lines:
            late.put(json.loads(line))
    os._exit(3)
