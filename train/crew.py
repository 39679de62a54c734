"""Jobs that train together in one child process, and which jobs those are.

Each job has a seat, which is to the worker what a child of its own would be; seats that are free
are taken by jobs that come later. A job is never put among others twice: one that was begun before,
or has a state, goes on alone. So a job that brings its process down costs the others one attempt.
Imports no torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Container, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from registry import Registry
from registry.errors import NotFound
from registry.job import Job
from train.child import Child
from train.cotrain.fitness import cotrained, obstacle
from train.durable import PAUSED_EXIT
from train.errors import TrainingError
from train.layout import options_of
from train.settings import WorkerSettings
from train.spec import TrainingSpec
from train.task import Task

_GONE = -15
"""What the exit code of a seat is that was given up while the others go on."""


def companions(registry: Registry, settings: WorkerSettings, worker: str, job: Job) -> list[Job]:
    """Lease jobs that wait now and can be trained together with `job`, which is leased already."""
    base = _base(registry, settings, job)
    if settings.cotrain < 2 or settings.max_attempts < 2 or job.attempts > 1 or base is None:
        return []
    waiting = [
        other.id
        for other in registry.jobs.all(active=True)
        if other.state == "queued"
        and other.attempts == 0
        and _base(registry, settings, other) == base
    ]
    taken: list[Job] = []
    while waiting and len(taken) + 1 < settings.cotrain:
        found = registry.jobs.lease(
            worker, settings.lease_s, tenant_jobs=settings.tenant_jobs, only=waiting
        )
        if found is None:
            break
        waiting.remove(found.id)
        taken.append(found)
    return taken


def joiner(
    registry: Registry, settings: WorkerSettings, worker: str, base: str, before: Container[str]
) -> Job | None:
    """Lease the job whose turn it is, if it can join those that train on `base` already and is none
    of `before`, who had a seat. One that can't keeps its turn: nobody gets past it, so that it
    never waits for more than the crew's end."""
    job = registry.jobs.next(tenant_jobs=settings.tenant_jobs)
    if job is None or job.attempts or job.id in before:
        return None
    if _base(registry, settings, job) != base:
        return None
    return registry.jobs.lease(
        worker, settings.lease_s, tenant_jobs=settings.tenant_jobs, only=[job.id]
    )


def begin(tasks: Sequence[tuple[Job, Path, Task]], most: int) -> list[Child | Seat]:
    """Start training: one job in a process of its own, several in one together, in the order given,
    and at most so many at once. A job that was paused among others goes on by the same loop, alone.
    Raises OSError."""
    _, folder, task = tasks[0]
    if len(tasks) == 1 and not (task.resume and cotrained(folder / task.resume)):
        return [Child(folder, task)]
    return [*Crew(tasks, most).seats.values()]


class Crew:
    """A running `python -m train.cotrain FOLDER`. It ends when its last seat is closed."""

    def __init__(self, tasks: Sequence[tuple[Job, Path, Task]], most: int) -> None:
        first, place, task = tasks[0]
        self.base = task.base
        self._most = most
        self._alone = len(tasks) == 1
        # Beside the first job's folder, and swept away as that is if this worker dies.
        self.folder = Path(tempfile.mkdtemp(prefix=f"{first.id}-crew-", dir=place.parent))
        try:
            for _, folder, each in tasks:
                text = json.dumps(asdict(each))
                (folder / "task.json").write_text(text, encoding="utf-8")
            jobs = {job.id: str(folder) for job, folder, _ in tasks}
            wanted = {"seats": most, "jobs": jobs}
            self.child = Child(self.folder, task, "train.cotrain", wanted)
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self.seats = {job.id: Seat(self, folder, len(tasks)) for job, folder, _ in tasks}

    @property
    def open(self) -> bool:
        """Whether somebody can join: others train, and a seat is free. Never where a job is to be
        alone."""
        trains = self._training()
        return not self._alone and 0 < trains < self._most and self.child.exit_code is None

    def join(self, job: Job, folder: Path, task: Task) -> Seat:
        """One more job, which the process takes before its next step. Raises OSError."""
        (folder / "task.json").write_text(json.dumps(asdict(task)), encoding="utf-8")
        seat = self.seats[job.id] = Seat(self, folder, self._training() + 1, begun=False)
        self.child.say(json.dumps({"job": job.id, "folder": str(folder)}))
        return seat

    def _training(self) -> int:
        return sum(seat.trains for seat in self.seats.values())

    def hear(self) -> int | None:
        """Hand the news to whom they are about; the process's exit code, None while it runs."""
        code = self.child.exit_code  # before the news, so that none of it is missed
        for message in self.child.news():
            self.seats[message.pop("job")].take(message)
        return code

    def close(self) -> None:
        """End the process, if nobody needs it any more, and remove what it was writing to."""
        if any(not seat.closed for seat in self.seats.values()):
            return
        if self.child.exit_code is None:
            self.child.stop()
        else:
            self.child.close()
        for seat in self.seats.values():
            shutil.rmtree(seat.folder, ignore_errors=True)
        self.child.clear()


class Seat:
    """One job's place in a crew, with what train.child.Child has."""

    def __init__(self, crew: Crew, folder: Path, among: int, begun: bool = True) -> None:
        self.crew = crew
        self.folder = folder
        self.among = among
        """How many jobs there were when it came, itself included."""
        self.closed = False
        self._begun = begun
        self._news: deque[dict[str, Any]] = deque()
        self._code: int | None = None
        self._left = False

    @property
    def pid(self) -> int:
        """The process id, the same for the whole crew."""
        return self.crew.child.pid

    @property
    def trains(self) -> bool:
        """Whether it takes up a seat still."""
        return self._code is None and not self.closed

    @property
    def exit_code(self) -> int | None:
        """None while this job trains, 0 once it has an outcome, PAUSED_EXIT once it rests; the
        process's if that ended first. A process that ended before it took the job did it no harm:
        it rests too."""
        code = self.crew.hear()
        if self._code is not None:
            return self._code
        return code if code is None or self._begun else PAUSED_EXIT

    def take(self, message: dict[str, Any]) -> None:
        """What the process says about this job."""
        if message["kind"] == "aboard":
            self._begun = True
        elif message["kind"] == "left":
            self._left = True
            if self._code is None:
                self._code = PAUSED_EXIT if message["paused"] else 0
        else:
            self._news.append(message)

    def news(self) -> list[dict[str, Any]]:
        """Messages since the last call, oldest first."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def outcome(self) -> dict[str, Any] | None:
        """What the job left behind, if it came to an end."""
        path = self.folder / "outcome.json"
        if not path.is_file():
            return None
        outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return outcome

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that the process wrote to its standard error."""
        return self.crew.child.log_tail(lines)

    def pause(self) -> None:
        """Ask this job to keep its state and leave."""
        (self.folder / "pause").touch()

    def wait(self, timeout: float) -> bool:
        """Wait until this job has left; False if it outlasts `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while self.exit_code is None:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.crew.child.wait(min(left, 0.05))
        return True

    def stop(self, timeout: float = 5.0) -> None:
        """Give this job up; the others go on."""
        (self.folder / "cancel").touch()
        if self.exit_code is None:
            self._code = _GONE

    def close(self) -> None:
        """Leave: the process loses a job, and ends with the last one."""
        if not self.closed:
            self.closed = True
            if self.exit_code in (None, _GONE):
                (self.folder / "cancel").touch()
            self.crew.close()

    def clear(self) -> None:
        """Remove the folder, now or as soon as the process needs it no more."""
        if self._left:
            shutil.rmtree(self.folder, ignore_errors=True)


def _base(registry: Registry, settings: WorkerSettings, job: Job) -> str | None:
    """The base of a job that can be among others; None for one that can't."""
    if job.cancel_requested or job.state_digest is not None:
        return None
    try:
        adapter = registry.adapters.get(job.tenant, job.adapter)
        spec = TrainingSpec.parse(options_of(adapter, job))
    except (NotFound, TrainingError):
        return None
    return None if obstacle(spec) else settings.resolve(spec.base or adapter.base)
