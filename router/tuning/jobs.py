"""`/v1/fine_tuning/jobs`: a tenant's jobs as OpenAI shows them. Blocks: call it off the loop.

Only jobs that came by this API are here; those of the platform's own loop are the platform's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from registry import Registry
from registry import errors as registry_errors
from registry.job import Job, JobEvent
from registry.tenants import Tenant
from registry.versions import Version
from router.errors import Conflict, InvalidRequest, Missing, ModelNotFound, TooManyJobs
from router.select import select
from router.tuning import files
from router.tuning.ask import DEFAULT_SUFFIX, Ask
from router.tuning.pages import page
from router.tuning.standing import CHECKING, DONE, Standing, judge, routable
from router.view import View

TRIGGER = "api"
_METRICS = (
    "step",
    "train_loss",
    "train_mean_token_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)


def create(
    registry: Registry, tenant: Tenant, ask: Ask, view: View, most: int, key: str | None
) -> dict[str, Any]:
    """A new job. `most`: jobs that a tenant may have under way; `key`: a request that is sent again
    makes no second job. Raises ModelNotFound, NotFound (a file), InvalidRequest, TooManyJobs."""
    base, parent, adapter = _origin(registry, tenant, ask, view)
    for name in ("training_file", "validation_file"):
        file_id = getattr(ask, name)
        if file_id is not None:
            file = files.find(registry, tenant.name, file_id, name)
            if file.purpose != files.PURPOSE:
                raise InvalidRequest(
                    f"'{file_id}' is a file to read, not to learn from.",
                    param=name,
                    code="invalid_value",
                )
    made = registry.adapters.ensure(tenant.name, adapter, base)
    if made.base != base:
        raise InvalidRequest(
            f"Your models with the suffix '{adapter}' are of the base {made.base}: "
            "take another suffix.",
            param="suffix",
            code="invalid_value",
        )
    spec = ask.spec()
    if parent is not None:
        spec["parent"] = parent
    try:
        job = registry.jobs.enqueue(
            tenant.name,
            adapter,
            ask.training_file,
            validation_file=ask.validation_file,
            spec=spec,
            trigger=TRIGGER,
            request={
                **ask.body,
                "seed": ask.seed,
                "metadata": ask.metadata,
                "method": {
                    "type": ask.method,
                    ask.method: {"hyperparameters": ask.hyperparameters},
                },
            },
            idempotency_key=f"{TRIGGER}:{tenant.name}:{key}" if key else None,
            most_active=most,
        )
    except registry_errors.TooManyJobs as error:
        raise TooManyJobs(error.most) from None
    return show(registry, job, view)


def listed(
    registry: Registry,
    tenant: str,
    view: View,
    *,
    after: str | None,
    limit: int,
    metadata: dict[str, str],
    bare: bool,
) -> dict[str, Any]:
    """A page, newest first; `bare` jobs have no metadata. Raises Missing for an unknown `after`."""
    if after is not None:
        find(registry, tenant, after, "after")
    found, more = registry.jobs.page(
        tenant, after=after, limit=limit, trigger=TRIGGER, metadata=metadata, bare=bare
    )
    return page([show(registry, job, view) for job in found], more)


def find(registry: Registry, tenant: str, job_id: str, param: str = "fine_tuning_job_id") -> Job:
    """Raises Missing, also for another tenant's and for one that did not come by this API."""
    try:
        job = None if "\0" in job_id else registry.jobs.get(job_id)
    except registry_errors.NotFound:
        job = None
    if job is None or job.tenant != tenant or job.trigger != TRIGGER:
        raise Missing(f"No such fine-tuning job: {job_id[:100]}.", param=param)
    return job


def change(
    registry: Registry, tenant: str, job_id: str, act: Callable[[str], Job], view: View
) -> dict[str, Any]:
    """Cancel, pause or resume. Raises Missing, Conflict."""
    find(registry, tenant, job_id)
    try:
        return show(registry, act(job_id), view)
    except registry_errors.InvalidTransition as error:
        raise Conflict(f"{str(error)[0].upper()}{str(error)[1:]}.") from None


def events(
    registry: Registry, job: Job, view: View, *, after: str | None, limit: int
) -> dict[str, Any]:
    """The job's story, newest first. What the engine's check came to is told as the last event.

    Raises Missing for an `after` that is no event of the job's.
    """
    standing = _standing(registry, job, view)
    shown: list[dict[str, Any]] = []
    last = f"ftevent-{job.id.removeprefix('ftjob-')}-end"
    if job.state == "succeeded" and standing.checked and after in (None, last):
        if after is None:
            shown.append(_ending(last, standing))
        after = None
    try:
        found, more = registry.jobs.latest_events(
            job.id, after=after, limit=max(1, limit - len(shown))
        )
    except registry_errors.NotFound:
        raise Missing(f"No such fine-tuning event: {(after or '')[:100]}.", param="after") from None
    told = [*shown, *(_event(event, job) for event in found)]
    return page(told[:limit], more or len(told) > limit)


def checkpoints(
    registry: Registry, job: Job, view: View, *, after: str | None, limit: int
) -> dict[str, Any]:
    """Those that can be asked for by name on this router, the latest first.

    Raises Missing for an `after` that is none of them.
    """
    shown = []
    for row in registry.jobs.checkpoints(job.id):
        version = view.snapshot.versions.get(row.digest) if row.digest else None
        if version is None or routable(version.fine_tuned_name, view) is None:
            continue
        metrics = {name: row.metrics[name] for name in _METRICS if name in row.metrics}
        shown.append(
            {
                "id": row.id,
                "object": "fine_tuning.job.checkpoint",
                "created_at": int(row.created_at),
                "fine_tuned_model_checkpoint": version.fine_tuned_name,
                "fine_tuning_job_id": job.id,
                "metrics": {"step": row.step, **metrics},
                "step_number": row.step,
            }
        )
    if after is not None:
        at = next((at for at, each in enumerate(shown) if each["id"] == after), None)
        if at is None:
            raise Missing(f"No such checkpoint: {after[:100]}.", param="after")
        shown = shown[at + 1 :]
    return page(shown[:limit], len(shown) > limit)


def show(registry: Registry, job: Job, view: View) -> dict[str, Any]:
    """OpenAI's job object."""
    standing = _standing(registry, job, view)
    asked = job.request.get("method") or {"type": "supervised"}
    kind = asked["type"]
    hyperparameters = _resolved(job, (asked.get(kind) or {}).get("hyperparameters") or {}, kind)
    training = job.result.get("training") or {}
    eta = job.progress.get("eta_s")
    running = job.state == "running" and isinstance(eta, int | float)
    over = standing.status in ("succeeded", "failed", "cancelled")
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created_at),
        "error": standing.error,
        "fine_tuned_model": standing.version.fine_tuned_name if standing.version else None,
        "finished_at": int(standing.at) if over and standing.at else None,
        "hyperparameters": hyperparameters,
        "model": job.request.get("model"),
        "organization_id": job.tenant,
        "result_files": [*job.result_files],
        "seed": job.request.get("seed"),
        "status": standing.status,
        "trained_tokens": training.get("trained_tokens") if over else None,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        "estimated_finish": int(time.time() + eta) if running and eta is not None else None,
        "integrations": [],
        "metadata": job.request.get("metadata") or {},
        "method": {"type": kind, kind: {"hyperparameters": hyperparameters}},
        "user_provided_suffix": job.request.get("suffix"),
    }


def _origin(
    registry: Registry, tenant: Tenant, ask: Ask, view: View
) -> tuple[str, str | None, str]:
    """(base, version to beat, adapter). Raises ModelNotFound, InvalidRequest."""
    target = select(tenant, ask.model, view)
    if target.adapter is None:
        if target.base is None:
            raise ModelNotFound(ask.model)
        return target.base, None, ask.suffix or DEFAULT_SUFFIX
    if ask.suffix not in (None, target.adapter):
        raise InvalidRequest(
            f"`{ask.model[:200]}` is one of your models with the suffix '{target.adapter}': leave "
            "'suffix' out, or name the base as 'model'.",
            param="suffix",
            code="invalid_value",
        )
    base = registry.adapters.get(tenant.name, target.adapter).base
    return base, target.version.digest if target.version else None, target.adapter


def _standing(registry: Registry, job: Job, view: View) -> Standing:
    version: Version | None = None
    if job.state == "succeeded" and job.digest is not None:
        version = view.snapshot.versions.get(job.digest)
        if version is None or routable(version.fine_tuned_name, view) is None:
            try:
                version = registry.versions.get(job.digest)
            except registry_errors.NotFound:
                version = None
    return judge(job, version, view)


def _resolved(job: Job, said: dict[str, Any], kind: str) -> dict[str, Any]:
    """What was said, with what "auto" came to as soon as the files are validated."""
    training = job.result.get("training") or {}
    known = training.get("hyperparameters") or job.progress.get("hyperparameters") or {}
    names = ["n_epochs", "batch_size", "learning_rate_multiplier", *(["beta"] * (kind == "dpo"))]
    found = {name: said.get(name, "auto") for name in names}
    found |= {name: known[name] for name in names if found[name] == "auto" and name in known}
    if not isinstance(found["n_epochs"], int | str):  # the platform may set part of a pass
        found["n_epochs"] = max(1, round(found["n_epochs"]))
    return found


def _event(event: JobEvent, job: Job) -> dict[str, Any]:
    message = event.message
    if job.state == "succeeded" and message == "The job has succeeded":
        message = CHECKING  # the training has; its version has not been to the engine yet
    return {
        "id": event.id,
        "object": "fine_tuning.job.event",
        "created_at": int(event.created_at),
        "level": event.level,
        "message": message,
        "type": event.kind,
        "data": event.data or None,
    }


def _ending(event_id: str, standing: Standing) -> dict[str, Any]:
    error = standing.error
    return {
        "id": event_id,
        "object": "fine_tuning.job.event",
        "created_at": int(standing.at or 0),
        "level": "error" if error else "info",
        "message": f"Failed: {error['message']}" if error else DONE,
        "type": "message",
        "data": None,
    }
