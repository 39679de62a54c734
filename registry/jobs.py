"""Jobs: the fine-tuning queue. A worker holds a job by a lease and must renew it, so that a dead
worker's job is taken over by another. Named and stated as in the OpenAI fine-tuning API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Select, func, or_, select, tuple_
from sqlalchemy.orm import Session, aliased

from registry.database import Database, JsonObject, now, queue
from registry.errors import InvalidTransition, LeaseLost, NotFound, TooManyJobs
from registry.job import ACTIVE, FINAL, Checkpoint, Job, JobEvent
from registry.tenants import Tenant


class Jobs:
    """The queue. Every method that a worker calls checks that the worker still holds the job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def enqueue(
        self,
        tenant: str,
        adapter: str,
        training_file: str,
        *,
        spec: JsonObject | None = None,
        validation_file: str | None = None,
        trigger: str = "cli",
        idempotency_key: str | None = None,
        request: JsonObject | None = None,
        priority: int = 0,
        most_active: int | None = None,
    ) -> Job:
        """A new job; with a key that was used before, the job that has it. Raises NotFound, and
        TooManyJobs where the tenant has `most_active` jobs that are not over."""
        with self._database.write() as session:
            if idempotency_key is not None:
                queue(session, "jobs")
                found = session.scalar(select(Job).where(Job.idempotency_key == idempotency_key))
                if found is not None:
                    return found
            if session.get(Tenant, tenant) is None:
                raise NotFound("tenant", tenant)
            if most_active is not None:
                queue(session, "jobs")
                active = select(func.count()).where(Job.tenant == tenant, Job.state.in_(ACTIVE))
                if (session.scalar(active) or 0) >= most_active:
                    raise TooManyJobs(tenant, most_active)
            job = Job(
                tenant=tenant,
                adapter=adapter,
                training_file=training_file,
                validation_file=validation_file,
                spec=spec or {},
                trigger=trigger,
                idempotency_key=idempotency_key,
                request=request or {},
                priority=priority,
            )
            session.add(job)
            session.flush()
            session.add(JobEvent(job_id=job.id, message="Created fine-tuning job"))
        return job

    def get(self, job_id: str) -> Job:
        """Raises NotFound."""
        with self._database.read() as session:
            job = session.get(Job, job_id)
        if job is None:
            raise NotFound("job", job_id)
        return job

    def all(
        self, tenant: str | None = None, adapter: str | None = None, active: bool = False
    ) -> list[Job]:
        """Newest first."""
        query = select(Job).order_by(Job.created_at.desc(), Job.id)
        if tenant is not None:
            query = query.where(Job.tenant == tenant)
        if adapter is not None:
            query = query.where(Job.adapter == adapter)
        if active:
            query = query.where(Job.state.in_(ACTIVE))
        with self._database.read() as session:
            return [*session.scalars(query)]

    def page(
        self,
        tenant: str,
        *,
        after: str | None = None,
        limit: int = 20,
        trigger: str | None = None,
        metadata: Mapping[str, str] | None = None,
        bare: bool = False,
    ) -> tuple[list[Job], bool]:
        """Up to `limit` jobs behind the one with the id `after`, newest first, and whether there
        are more; those whose request has such metadata, or, with `bare`, has none. Raises NotFound
        for an unknown `after`."""
        query = select(Job).where(Job.tenant == tenant)
        if trigger is not None:
            query = query.where(Job.trigger == trigger)
        if after is not None:
            last = self.get(after)
            if last.tenant != tenant:
                raise NotFound("job", after)
            behind = tuple_(Job.created_at, Job.id) < (last.created_at, last.id)
            query = query.where(behind)
        query = query.order_by(Job.created_at.desc(), Job.id.desc())
        if not metadata and not bare:
            query = query.limit(limit + 1)
        wanted = (metadata or {}).items()

        def meant(job: Job) -> bool:
            has: dict[str, str] = job.request.get("metadata") or {}
            return wanted <= has.items() and not (bare and has)

        with self._database.read() as session:
            found: list[Job] = [job for job in session.scalars(query) if meant(job)]
        return found[:limit], len(found) > limit

    def using(self, tenant: str, file_id: str) -> Job | None:
        """A job of the tenant's that is not over and learns from this file."""
        file = or_(Job.training_file == file_id, Job.validation_file == file_id)
        query = select(Job).where(Job.tenant == tenant, Job.state.in_(ACTIVE), file).limit(1)
        with self._database.read() as session:
            return session.scalar(query)

    def lease(
        self,
        worker: str,
        seconds: float = 60.0,
        *,
        tenant_jobs: int | None = None,
        only: Sequence[str] | None = None,
    ) -> Job | None:
        """The next job that waits, or whose worker fell silent; None when there is none. With
        `only` it is one of these ids.

        The highest priority goes first; among equals the tenant with the fewest running jobs, then
        the one whose last start is longest ago, then the oldest job: who enqueues a hundred does
        not keep another's one waiting. No tenant gets more than `tenant_jobs` at once. Two workers
        never get the same job: the row is locked while it is taken.
        """
        at = now()
        query = _turns(at, tenant_jobs)
        if only is not None:
            query = query.where(Job.id.in_(only))
        with self._database.write() as session:
            queue(session, "leases")  # who counts must see what was taken a moment ago
            job = session.scalar(query.limit(1).with_for_update(skip_locked=True, of=Job))
            if job is None:
                return None
            taken_over = job.state == "running"
            job.state = "running"
            job.lease_owner, job.lease_until = worker, at + seconds
            job.started_at = job.started_at or at
            job.attempts += 1
            session.add(
                JobEvent(
                    job_id=job.id,
                    level="warn" if taken_over else "info",
                    message=f"{'Taken over' if taken_over else 'Started'} by {worker}",
                )
            )
        return job

    def next(self, *, tenant_jobs: int | None = None) -> Job | None:
        """The job that `lease` would give now; it is left where it is."""
        with self._database.read() as session:
            return session.scalar(_turns(now(), tenant_jobs).limit(1))

    def renew(
        self, job_id: str, worker: str, seconds: float = 60.0, progress: JsonObject | None = None
    ) -> Job:
        """Keep the lease and tell the news. Raises LeaseLost. Look at `cancel_requested` after."""
        with self._database.write() as session:
            job = _held(session, job_id, worker)
            job.lease_until = now() + seconds
            if progress is not None:
                job.progress = progress
        return job

    def release(self, job_id: str, worker: str, *, failed: bool = False) -> None:
        """Put a job back, for another worker to take (a worker that is shutting down). The attempt
        counts only if it `failed`.

        One that was to be cancelled is cancelled, one that was to pause is paused: nobody is left
        to do it.
        """
        with self._database.write() as session:
            job = _held(session, job_id, worker)
            if job.cancel_requested:
                _finish(session, job, "cancelled")
                return
            if job.pause_requested:
                _pause(session, job)
                return
            job.state, job.lease_owner, job.lease_until = "queued", None, None
            if not failed:
                job.attempts = max(0, job.attempts - 1)
            session.add(JobEvent(job_id=job_id, level="warn", message=f"Put back by {worker}"))

    def succeed(
        self,
        job_id: str,
        worker: str,
        digest: str,
        result: JsonObject | None = None,
        files: Sequence[str] = (),
    ) -> Job:
        """`files` are the ids of files that the job made. Raises LeaseLost."""
        return self._finish(
            job_id, worker, "succeeded", digest=digest, result=result or {}, files=files
        )

    def fail(self, job_id: str, worker: str, code: str, message: str, param: str = "") -> Job:
        """`message` is for the tenant: what was wrong, where, what was expected."""
        error: JsonObject = {"code": code, "message": message, "param": param or None}
        return self._finish(job_id, worker, "failed", error=error)

    def cancelled(self, job_id: str, worker: str) -> Job:
        """The worker's answer to `cancel_requested`."""
        return self._finish(job_id, worker, "cancelled")

    def cancel(self, job_id: str) -> Job:
        """Ask for an end: at once when nobody works on it. Raises NotFound, InvalidTransition."""
        with self._database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise NotFound("job", job_id)
            if job.state in FINAL:
                raise InvalidTransition("job", job_id, job.state, "cancelled")
            job.cancel_requested = True
            if job.state != "running":
                job.state, job.finished_at = "cancelled", now()
                session.add(JobEvent(job_id=job_id, message="Cancelled"))
        return job

    def pause(self, job_id: str) -> Job:
        """Ask for a rest: at once when nobody works on it, else as soon as its worker has kept its
        state. Raises NotFound, InvalidTransition."""
        with self._database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise NotFound("job", job_id)
            if job.state not in ("queued", "running") or job.cancel_requested:
                state = "being cancelled" if job.cancel_requested else job.state
                raise InvalidTransition("job", job_id, state, "paused")
            if job.state == "queued":
                _pause(session, job)
            else:
                job.pause_requested = True
        return job

    def paused(self, job_id: str, worker: str) -> Job:
        """The worker's answer to `pause_requested`. Raises LeaseLost."""
        with self._database.write() as session:
            job = _held(session, job_id, worker)
            _pause(session, job)
        return job

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on where it stood. Raises NotFound, InvalidTransition."""
        with self._database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise NotFound("job", job_id)
            if job.state == "running" and job.pause_requested:
                job.pause_requested = False  # it had not come to rest yet
            elif job.state != "paused":
                raise InvalidTransition("job", job_id, job.state, "queued")
            else:
                job.state = "queued"
                session.add(JobEvent(job_id=job_id, message="Resumed"))
        return job

    def keep_state(self, job_id: str, worker: str, digest: str) -> Job:
        """From now on training goes on from this folder of the store. Raises LeaseLost.

        A job that gets on is not one that no worker survives: `attempts` begins anew.
        """
        with self._database.write() as session:
            job = _held(session, job_id, worker)
            job.state_digest, job.attempts = digest, 0
        return job

    def forget_state(self, job_id: str, digest: str) -> None:
        """The state is gone, if it still is this one. Raises NotFound."""
        with self._database.write() as session:
            job = session.get(Job, job_id, with_for_update=True)
            if job is None:
                raise NotFound("job", job_id)
            if job.state_digest == digest:
                job.state_digest = None

    def tell(
        self,
        job_id: str,
        message: str,
        *,
        level: str = "info",
        kind: str = "message",
        data: JsonObject | None = None,
    ) -> None:
        """Add an event."""
        with self._database.write() as session:
            session.add(
                JobEvent(job_id=job_id, message=message, level=level, kind=kind, data=data or {})
            )

    def events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        """Oldest first, those with a number above `after`."""
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.number > after)
        with self._database.read() as session:
            return [*session.scalars(query.order_by(JobEvent.number))]

    def latest_events(
        self, job_id: str, *, after: str | None = None, limit: int = 20
    ) -> tuple[list[JobEvent], bool]:
        """Up to `limit` events before the one with the id `after`, newest first, and whether there
        are more. Raises NotFound for an `after` that is none of the job's."""
        query = select(JobEvent).where(JobEvent.job_id == job_id)
        with self._database.read() as session:
            if after is not None:
                last = session.scalar(query.where(JobEvent.id == after))
                if last is None:
                    raise NotFound("event", after)
                query = query.where(JobEvent.number < last.number)
            query = query.order_by(JobEvent.number.desc()).limit(limit + 1)
            found: list[JobEvent] = [*session.scalars(query)]
        return found[:limit], len(found) > limit

    def add_checkpoint(
        self, job_id: str, step: int, metrics: JsonObject, digest: str | None = None
    ) -> Checkpoint:
        """Keep a checkpoint's figures, and its digest if its content was stored. A step that is
        told again, as by a worker that took the job over, is one checkpoint still."""
        with self._database.write() as session:
            query = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.step == step)
            checkpoint = session.scalars(query).first()
            if checkpoint is None:
                checkpoint = Checkpoint(job_id=job_id, step=step)
                session.add(checkpoint)
            checkpoint.metrics = metrics
            checkpoint.digest = digest or checkpoint.digest
        return checkpoint

    def checkpoints(self, job_id: str) -> list[Checkpoint]:
        """Newest first."""
        query = select(Checkpoint).where(Checkpoint.job_id == job_id)
        with self._database.read() as session:
            return [*session.scalars(query.order_by(Checkpoint.step.desc()))]

    def _finish(
        self,
        job_id: str,
        worker: str,
        state: str,
        *,
        digest: str | None = None,
        result: JsonObject | None = None,
        error: JsonObject | None = None,
        files: Sequence[str] = (),
    ) -> Job:
        with self._database.write() as session:
            job = _held(session, job_id, worker)
            job.result_files = [*files]
            _finish(session, job, state, digest=digest, result=result, error=error)
        return job


def _turns(at: float, tenant_jobs: int | None) -> Select[Job]:
    """Jobs that can be leased, in the order of `lease`."""
    other = aliased(Job)
    running = (
        select(func.count())
        .where(other.tenant == Job.tenant, other.state == "running", other.lease_until >= at)
        .scalar_subquery()
    )
    other = aliased(Job)
    last_start = (
        select(func.coalesce(func.max(other.started_at), 0.0))
        .where(other.tenant == Job.tenant)
        .scalar_subquery()
    )
    due = or_(
        Job.state == "queued",
        (Job.state == "running") & (func.coalesce(Job.lease_until, 0.0) < at),
    )
    query = select(Job).where(due)
    if tenant_jobs is not None:
        query = query.where(running < tenant_jobs)
    return query.order_by(Job.priority.desc(), running, last_start, Job.created_at, Job.id)


def _finish(
    session: Session,
    job: Job,
    state: str,
    *,
    digest: str | None = None,
    result: JsonObject | None = None,
    error: JsonObject | None = None,
) -> None:
    job.state, job.finished_at, job.pause_requested = state, now(), False
    job.digest, job.error = digest, error
    job.result = result or {}
    job.lease_owner, job.lease_until = None, None
    message = "The job was cancelled" if state == "cancelled" else f"The job has {state}"
    if error is not None:
        message = f"Failed: {error['message']}"
    level = "error" if state == "failed" else "info"
    session.add(JobEvent(job_id=job.id, level=level, message=message))


def _pause(session: Session, job: Job) -> None:
    job.state, job.pause_requested = "paused", False
    job.attempts = max(0, job.attempts - 1)  # it was not begun in vain
    job.lease_owner, job.lease_until = None, None
    session.add(JobEvent(job_id=job.id, message="Paused"))


def _held(session: Session, job_id: str, worker: str) -> Job:
    job = session.get(Job, job_id, with_for_update=True)
    if job is None:
        raise NotFound("job", job_id)
    if job.state != "running" or job.lease_owner != worker:
        raise LeaseLost(job_id, worker)
    return job
