"""From a finished adapter folder to a candidate version: store first, then the registry row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from registry import Registry
from registry.jobs import Job
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
    return registry.versions.publish(
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
