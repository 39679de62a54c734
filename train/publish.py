"""From a finished adapter folder to a candidate version: store first, then the registry row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry import Registry
from registry.job import Job
from registry.versions import Version


def publish(registry: Registry, job: Job, folder: Path, outcome: dict[str, Any]) -> Version:
    """Put the folder into the store and its version into the registry, as a candidate.

    Twice the same folder gives the version that is there. Raises AlreadyExists when another tenant
    has it, and the store's errors.
    """
    digest = registry.store.publish(folder)
    reasons = outcome["reasons"]
    if job.trigger == "api":  # the tenant's own fine-tune answers to its name, whatever it scored
        reasons = {**reasons, "by_name": True}
    version = registry.versions.publish(
        job.tenant,
        job.adapter,
        digest,
        manifest=outcome["manifest"],
        evaluation=outcome["evaluation"],
        verdict=outcome["verdict"],
        reasons=reasons,
        parent=outcome["manifest"]["parent"],
        job_id=job.id,
    )
    registry.store.publish(folder)  # one that no version named yet may have been swept meanwhile
    return version


def publish_checkpoints(
    registry: Registry, job: Job, folder: Path, outcome: dict[str, Any]
) -> list[Version]:
    """Put the adapters of a finished job's last epochs into store and registry, each as a version
    with a step. `folder` is the job's. Raises as `publish` does."""
    known = {found.step: found.metrics for found in registry.jobs.checkpoints(job.id)}
    versions = []
    for made in outcome.get("checkpoints", ()):
        step = made["step"]
        digest = registry.store.publish(folder / made["path"])
        versions.append(
            registry.versions.publish(
                job.tenant,
                job.adapter,
                digest,
                manifest=made["manifest"],
                evaluation={},
                verdict="insufficient",
                reasons={"summary": f"a checkpoint of {job.id}, after step {step}"},
                parent=made["manifest"]["parent"],
                job_id=job.id,
                step=step,
            )
        )
        registry.store.publish(folder / made["path"])
        registry.jobs.add_checkpoint(job.id, step, known.get(step, {"step": step}), digest)
    return versions
