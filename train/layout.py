"""A job's folder: data files, the parent's adapter, the state to go on from. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry import Registry
from registry.adapters import Adapter
from registry.errors import StoreError
from registry.job import Job
from train import general
from train.errors import InvalidSpec
from train.forgetting import max_forgetting
from train.settings import WorkerSettings, base_name
from train.spec import TrainingSpec
from train.task import Task


def lay_out(registry: Registry, settings: WorkerSettings, job: Job, folder: Path) -> Task:
    """Put into `folder` what the job needs, and say what is to be done there.

    Raises TrainingError, NotFound, StoreError, OSError.
    """
    adapter = registry.adapters.get(job.tenant, job.adapter)
    options = options_of(adapter, job)
    spec = TrainingSpec.parse(options)
    max_forgetting(adapter.answers)  # a wrong one is told now, not after training
    base = settings.resolve(spec.base or adapter.base)
    (folder / "training.jsonl").write_bytes(registry.content(job.tenant, job.training_file))
    if job.validation_file is not None:
        (folder / "validation.jsonl").write_bytes(registry.content(job.tenant, job.validation_file))
    chats = _general(registry, settings, job, spec)
    if chats is not None:
        (folder / "general.jsonl").write_bytes(chats)
    parent = None
    if spec.parent is not None:
        version = registry.versions.find(job.tenant, spec.parent)
        if version.adapter != job.adapter:
            raise InvalidSpec(
                f"parent={version.served_name} is not a version of adapter {job.adapter}",
                "parent",
            )
        options["parent"] = version.digest
        registry.store.fetch(version.digest, folder)
        parent = version.digest
    return Task(
        tenant=job.tenant,
        adapter=job.adapter,
        base=base,
        base_name=base_name(base),
        spec=options,
        answers=adapter.answers,
        training="training.jsonl",
        validation=None if job.validation_file is None else "validation.jsonl",
        parent=parent,
        device=settings.device,
        threads=settings.threads,
        nice=settings.nice,
        evaluation_rows=settings.evaluation_rows,
        few_shot=settings.few_shot,
        probes=settings.probes,
        resume=_state(registry, job, folder),
        checkpoint_s=settings.checkpoint_s,
        engine_url=_engine_url(registry, base_name(base)),
        general=None if chats is None else "general.jsonl",
        general_rows=settings.general_rows,
    )


def options_of(adapter: Adapter, job: Job) -> dict[str, Any]:
    """The options of a job: the adapter's, and over them its own."""
    options = {**adapter.training, **job.spec}
    if job.trigger == "api":  # as OpenAI keeps the last three
        options.setdefault("checkpoints", 3)
    return options


def _general(
    registry: Registry, settings: WorkerSettings, job: Job, spec: TrainingSpec
) -> bytes | None:
    """The general file, the job's own before the worker's; None if there is none."""
    if spec.general is not None:
        name, content = spec.general, registry.content(job.tenant, spec.general)
    elif settings.general is not None:
        name, content = settings.general.name, settings.general.read_bytes()
    else:
        return None
    general.of_file(content, name)  # a bad one is told before anything is started
    return content


def _engine_url(registry: Registry, base: str) -> str | None:
    """An engine that serves the base, to compare tokens with."""
    return next((e.url for e in registry.engines.ready() if e.base == base), None)


def _state(registry: Registry, job: Job, folder: Path) -> str | None:
    """The kept state, in the job's folder; None if there is none that is whole."""
    if job.state_digest is None:
        return None
    try:
        return registry.store.fetch(job.state_digest, folder).name
    except StoreError as error:
        registry.jobs.tell(
            job.id, f"Training starts anew, as its state is lost: {error}", level="warn"
        )
        return None
