"""What a training process says about its job, passed on to the registry and the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monitoring.metrics import Metrics
from registry import Registry
from registry.job import Job
from train.uploads import Uploads


def begun(registry: Registry, job: Job) -> dict[str, Any]:
    """Tell that the files of a job are looked at, unless they were found to be good before.
    Returns what is known of its progress."""
    known = _lasting(job.progress)
    if not known:
        files = f"training file: {job.training_file}"
        if job.validation_file is not None:
            files += f" and validation file: {job.validation_file}"
        registry.jobs.tell(job.id, f"Validating {files}")
    return known


def pass_on(
    registry: Registry,
    metrics: Metrics,
    job: Job,
    news: Sequence[dict[str, Any]],
    progress: dict[str, Any],
    uploads: Uploads,
) -> dict[str, Any]:
    """Tell progress, events and checkpoints, and offer states. Returns the latest progress."""
    for message in news:
        kind = message.pop("kind")
        if kind == "progress":
            _measure(metrics, job, progress, message)
            if "step" in progress and "step" not in message:
                # a later phase: keep saying how far training came
                message = {**progress, "eta_s": None, **message}
            progress = {**_lasting(progress), **message}
        elif kind == "validated":
            options = message["hyperparameters"]
            if not _lasting(progress):
                said = ", ".join(f"{name} {value:g}" for name, value in options.items())
                registry.jobs.tell(job.id, f"Files validated: training with {said}")
            progress = {**progress, "hyperparameters": options}
        elif kind == "event":
            registry.jobs.tell(
                job.id, message["message"], level=message["level"], data=message.get("data")
            )
        elif kind == "checkpoint":
            figures = message["metrics"]
            registry.jobs.add_checkpoint(job.id, message["step"], figures)
            text = _of_epoch(figures)
            registry.jobs.tell(job.id, text, kind="metrics", data=figures)
        elif kind == "state":
            uploads.offer(Path(message["path"]))
    return progress


def _lasting(progress: dict[str, Any]) -> dict[str, Any]:
    """What outlives a phase, and a worker: the resolved hyperparameters. They are there once the
    files were found to be good; until then a job counts as "validating_files" (router/tuning)."""
    return {name: progress[name] for name in ("hyperparameters",) if name in progress}


def _measure(metrics: Metrics, job: Job, old: dict[str, Any], message: dict[str, Any]) -> None:
    for name, counter in (
        ("step", metrics.train_steps_total),
        ("supervised_tokens", metrics.train_tokens_total),
    ):
        if name in message:
            counter.inc(max(0, message[name] - old.get(name, 0)))
    if message.get("loss") is not None:
        metrics.train_loss.labels(job.tenant).set(message["loss"])


def _of_epoch(figures: dict[str, Any]) -> str:
    """An epoch's figures in words; there are no validation rows where there are few rows at all."""
    name = "validation" if figures["valid_loss"] is not None else "training"
    loss = figures["valid_loss"] if name == "validation" else figures["train_loss"]
    return f"Step {figures['step']}: {name} loss " + ("unknown" if loss is None else f"{loss:.4f}")
