"""The worker: takes training jobs from the registry and brings each to an end, one at a time or
several that can be trained together.

It holds a job by a lease that it renews; what trains is a child process. A worker that is told to
stop puts its job back, one that dies loses its lease, and in both cases another worker goes on from
the last state that was kept. Imports no torch.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from monitoring.metrics import JOB_STATES, Metrics
from registry import Registry
from registry.errors import AlreadyExists, LeaseLost, NotFound, StoreError
from registry.job import Job
from train import examination
from train.child import Child
from train.crew import Crew, Seat, begin, companions, joiner
from train.durable import PAUSED_EXIT
from train.errors import TrainingError, disk_is_full
from train.examination import Examination
from train.layout import lay_out
from train.news import begun, pass_on
from train.publish import publish, publish_checkpoints
from train.settings import WorkerSettings
from train.task import Task
from train.uploads import Uploads, sweep

_log = structlog.get_logger()
_NO_ROOM = "The worker's disk is full: free some space and start the job again"


@dataclass
class _Work:
    """A job in hand."""

    job: Job
    child: Child | Seat
    started: float
    renewed: float
    uploads: Uploads
    pausing: float | None = None
    exam: Examination | None = None
    progress: dict[str, Any] = field(default_factory=dict)


class Worker:
    """One worker. `tick` never blocks for long: call it about twice a second."""

    def __init__(self, registry: Registry, settings: WorkerSettings, metrics: Metrics) -> None:
        self.registry = registry
        self.settings = settings
        self.metrics = metrics
        self.name = settings.name or f"{socket.gethostname()}-{os.getpid()}"
        self._works: list[_Work] = []
        self._counted = 0.0

    @property
    def job_id(self) -> str | None:
        """The first job in hand, if there is one."""
        return self._works[0].job.id if self._works else None

    @property
    def child_pid(self) -> int | None:
        """The training process, if there is one."""
        return self._works[0].child.pid if self._works else None

    @property
    def pausing(self) -> bool:
        """Whether a job in hand was asked to rest."""
        return any(work.pausing is not None for work in self._works)

    def startup(self) -> None:
        """Say who works here; make the scratch folder."""
        if self.settings.scratch is not None:
            self.settings.scratch.mkdir(parents=True, exist_ok=True)
        self._count()
        _log.info("worker_ready", worker=self.name, base=self.settings.base_name)

    def tick(self) -> None:
        """Take a job if there is none in hand, and what can go with it; see to them otherwise, and
        let in who can join them."""
        if not self._works:
            job = self.registry.jobs.lease(
                self.name, self.settings.lease_s, tenant_jobs=self.settings.tenant_jobs
            )
            if job is not None:
                others = companions(self.registry, self.settings, self.name, job)
                self._begin([job, *others])
        else:
            for work in [*self._works]:
                self._watch(work)
            self._join()
        if time.monotonic() - self._counted > 5.0:
            self._count()

    def shutdown(self, timeout: float = 10.0) -> None:
        """Keep training's state, stop, and put the job back for another worker."""
        for work in self._works:
            work.child.pause()
        until = time.monotonic() + timeout / 2
        for work in [*self._works]:
            if not work.child.wait(max(0.0, until - time.monotonic())):
                work.child.stop(timeout / 4)
            if work.child.exit_code is not None:  # all its news is in
                self._hear(work)
        until = time.monotonic() + timeout / 2
        for work in [*self._works]:
            work.uploads.close(max(0.0, until - time.monotonic()))
            self._drop(work)
            try:
                self.registry.jobs.release(work.job.id, self.name)
            except LeaseLost:
                _log.warning("lease_lost", job=work.job.id, worker=self.name)

    def _join(self) -> None:
        """Let the job whose turn it is in with those in hand, if there is room and it fits."""
        crew = next((work.child.crew for work in self._works if isinstance(work.child, Seat)), None)
        if crew is not None and crew.open:
            job = joiner(self.registry, self.settings, self.name, crew.base, crew.seats)
            if job is not None:
                self._begin([job], crew)

    def _begin(self, jobs: Sequence[Job], crew: Crew | None = None) -> None:
        """Start on jobs that train together, or on one that joins a crew."""
        ready: list[tuple[Job, Path, Task]] = []
        try:
            ready.extend(laid for job in jobs if (laid := self._lay_out(job)) is not None)
            if not ready:
                return
            children: list[Child | Seat] = (
                begin(ready, self.settings.cotrain) if crew is None else [crew.join(*ready[0])]
            )
        except BaseException as error:
            for _, folder, _ in ready:
                shutil.rmtree(folder, ignore_errors=True)
            if not (isinstance(error, OSError) and disk_is_full(error)):
                raise
            for job, _, _ in ready:
                self._fail(job, "disk_full", _NO_ROOM)
            return
        at = time.monotonic()
        for (job, _, _), child in zip(ready, children, strict=True):
            uploads = Uploads(self.registry, job.id, self.name, job.state_digest)
            work = _Work(job, child, at, at, uploads)
            self._works.append(work)
            work.progress = begun(self.registry, job)
            if isinstance(child, Seat) and child.among > 1:
                self.registry.jobs.tell(job.id, f"Trains together with {child.among - 1} others")

    def _lay_out(self, job: Job) -> tuple[Job, Path, Task] | None:
        """The job, its folder and its task; None if it has come to its end already."""
        _log.info("job_taken", job=job.id, tenant=job.tenant, attempt=job.attempts)
        if job.cancel_requested:
            self.registry.jobs.cancelled(job.id, self.name)
            return None
        if job.attempts > self.settings.max_attempts:
            self._fail(
                job,
                "too_many_attempts",
                f"The job was begun {job.attempts - 1} times and its worker never finished it",
            )
            return None
        folder = self._folder(job)
        try:
            return job, folder, lay_out(self.registry, self.settings, job, folder)
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            if not disk_is_full(error):
                raise
            self._fail(job, "disk_full", _NO_ROOM)
            return None
        except TrainingError as error:
            shutil.rmtree(folder, ignore_errors=True)
            self._fail(job, error.code, error.message, error.param)
            return None
        except (NotFound, StoreError) as error:
            shutil.rmtree(folder, ignore_errors=True)
            what = getattr(error, "noun", "content")
            param = {"version": "parent", "adapter": "adapter"}.get(what, "training_file")
            self._fail(job, f"{what}_unavailable", str(error), param)
            return None
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def _folder(self, job: Job) -> Path:
        """An empty folder for the job; one that a dead worker left for it here is removed."""
        root = self.settings.scratch or Path(tempfile.gettempdir())
        for stale in root.glob(f"{job.id}-*"):
            shutil.rmtree(stale, ignore_errors=True)
        return Path(tempfile.mkdtemp(prefix=f"{job.id}-", dir=root))

    def _watch(self, work: _Work) -> None:
        code = work.child.exit_code  # before the news, so that none of it is missed
        self._hear(work)
        if code is not None and work.uploads.idle and self._examined(work):
            self._finish(work, code)
            return
        if time.monotonic() - work.renewed < self.settings.renew_s:
            return
        try:
            job = self._renew(work)
        except LeaseLost:
            _log.warning("lease_lost", job=work.job.id, worker=self.name)
            work.child.stop()
            self._drop(work)
            return
        if job.cancel_requested:
            work.child.stop()
            self._drop(work)
            self.registry.jobs.cancelled(job.id, self.name)
        elif job.pause_requested and work.pausing is None:
            work.pausing = time.monotonic()
            work.child.pause()
        elif (
            work.pausing is not None
            and code is None
            and time.monotonic() - work.pausing > self.settings.pause_s
        ):
            work.child.stop()  # the state before this one has to do

    def _hear(self, work: _Work) -> None:
        work.progress = pass_on(
            self.registry, self.metrics, work.job, work.child.news(), work.progress, work.uploads
        )

    def _examined(self, work: _Work) -> bool:
        """Whether the engine has had its say on what the child made, if it is asked at all."""
        if work.exam is None:
            outcome = work.child.outcome()
            if outcome is None or "error" in outcome or work.pausing is not None:
                return True
            try:
                work.exam = examination.begin(
                    self.registry, self.settings, work.job, work.child.folder, outcome
                )
            except (OSError, StoreError):
                return True  # publishing will say what is wrong with the store
        return work.exam.done

    def _finish(self, work: _Work, code: int) -> None:
        """The child has ended: publish what it made, or say why there is nothing."""
        outcome = work.child.outcome()
        try:
            job = work.job = self._renew(work)
        except LeaseLost:
            _log.warning("lease_lost", job=work.job.id, worker=self.name)
            self._drop(work)
            return
        if outcome is None and (code == PAUSED_EXIT or work.pausing is not None):
            self._drop(work)
            if job.pause_requested:
                self.registry.jobs.paused(job.id, self.name)
            else:  # somebody thought better of it
                self.registry.jobs.release(job.id, self.name)
            return
        if outcome is None:
            self._crashed(work, code)
            return
        if "error" in outcome:
            self._drop(work)
            self._fail(job, **outcome["error"])
            return
        if work.exam is not None:
            outcome, trouble = work.exam.merge(outcome)
            if trouble:
                text = f"The engine could not examine the adapter; measured in memory: {trouble}"
                self.registry.jobs.tell(job.id, text, level="warn")
        try:
            # Whoever sees the version sees its checkpoints too.
            publish_checkpoints(self.registry, job, work.child.folder, outcome)
            version = publish(self.registry, job, work.child.folder / "adapter", outcome)
            figures = (work.child.folder / "metrics.csv").read_bytes()
            file = self.registry.upload(
                job.tenant, "step_metrics.csv", figures, "fine-tune-results"
            )
        except AlreadyExists as error:
            self._drop(work)
            self._fail(job, "version_taken", str(error))
            return
        except (OSError, StoreError) as error:
            self._unpublished(work, error)
            return
        result = {
            **outcome["result"],
            "verdict": outcome["verdict"],
            "reasons": outcome["reasons"],
            "evaluation": outcome["evaluation"],
            "served_name": version.served_name,
        }
        self.registry.jobs.tell(
            job.id, f"{version.served_name}: {outcome['verdict']}: {outcome['reasons']['summary']}"
        )
        self.registry.jobs.succeed(job.id, self.name, version.digest, result, [file])
        self.metrics.job_seconds.observe(time.monotonic() - work.started)
        _log.info(
            "job_succeeded",
            job=job.id,
            tenant=job.tenant,
            version=version.served_name,
            verdict=outcome["verdict"],
            seconds=result["seconds"],
        )
        self._drop(work)

    def _unpublished(self, work: _Work, error: Exception) -> None:
        """The store did not take what was made: no room is final, anything else may pass."""
        job = work.job
        _log.error("not_published", job=job.id, error=str(error))
        self._drop(work)
        if disk_is_full(error):
            self._fail(job, "disk_full", "The store has no room for the adapter: free some space")
            return
        text = f"The store did not take the adapter, trying again: {type(error).__name__}"
        self.registry.jobs.tell(job.id, text, level="warn")
        self.registry.jobs.release(job.id, self.name, failed=True)

    def _crashed(self, work: _Work, code: int) -> None:
        job, tail = work.job, work.child.log_tail()
        among = isinstance(work.child, Seat) and work.child.among > 1
        _log.error("training_process_died", job=job.id, exit_code=code, log=tail)
        self._drop(work)
        if among:  # whoever it was that broke it, the others have no part in it
            text = "The process in which it trained with others ended: trying again, alone"
            self.registry.jobs.tell(job.id, text, level="warn")
            self.registry.jobs.release(job.id, self.name, failed=True)
            return
        killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
        if killed and job.attempts < min(2, self.settings.max_attempts):
            self.registry.jobs.tell(
                job.id, "The training process was killed: trying once more", level="warn"
            )
            self.registry.jobs.release(job.id, self.name, failed=True)
        elif killed:
            self._fail(
                job,
                "out_of_memory",
                "The training process was killed twice, most likely because the machine ran out of "
                "memory: lower batch_size or max_length, or give the worker more memory",
                "batch_size",
            )
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            self._fail(
                job,
                "training_crashed",
                f"The training process ended with {how}; its last lines are in the worker's log",
            )

    def _renew(self, work: _Work) -> Job:
        job = self.registry.jobs.renew(work.job.id, self.name, self.settings.lease_s, work.progress)
        work.renewed = time.monotonic()
        return job

    def _fail(self, job: Job, code: str, message: str, param: str = "") -> None:
        _log.warning("job_failed", job=job.id, tenant=job.tenant, code=code)
        self.registry.jobs.fail(job.id, self.name, code, message, param)

    def _drop(self, work: _Work) -> None:
        if work.exam is not None:
            work.exam.stop()
        work.uploads.close(0)
        work.child.close()
        work.child.clear()
        self._works.remove(work)

    def _count(self) -> None:
        """Show how many jobs are in which state, and sweep up behind those that have ended."""
        self._counted = time.monotonic()
        self.metrics.know_tenants(tenant.name for tenant in self.registry.tenants.all())
        states: dict[str, int] = {}
        for job in self.registry.jobs.all():
            states[job.state] = states.get(job.state, 0) + 1
        for state in JOB_STATES:
            self.metrics.jobs.labels(state).set(states.get(state, 0))
        sweep(self.registry)
