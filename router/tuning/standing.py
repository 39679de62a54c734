"""How a job stands, in OpenAI's words, as far as this router can act on it. Pure but for its rows.

A job has succeeded for its tenant when `ft:…` is routable *here*: this router's view decides, not
the database, which may be a moment ahead of it. Until the engine has checked the version and the
job's checkpoints (which are published before it), the job runs; when the engine refuses the
version, the job has failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from registry.job import Job
from registry.versions import Version
from router.select import SERVABLE
from router.view import View

CHECKING = "Training has ended: checking on the engine"
DONE = "The job has successfully completed"


@dataclass(frozen=True)
class Standing:
    """`at` is when it came to this (seconds since the epoch), None while it is not over."""

    status: str
    version: Version | None = None
    error: dict[str, Any] | None = None
    at: float | None = None

    @property
    def checked(self) -> bool:
        """Whether the engine has had its say."""
        return self.status in ("succeeded", "failed")


def judge(job: Job, version: Version | None, view: View) -> Standing:
    """`version` is the registry's row of what the job made, None where there is none."""
    if job.state == "running" and "hyperparameters" not in job.progress:
        return Standing("validating_files")  # what the worker does first, before it knows them
    if job.state != "succeeded":
        return Standing(job.state, None, job.error, job.finished_at)
    if version is None:  # it, or its adapter, was deleted since
        return Standing("succeeded", None, None, job.finished_at)
    if routable(version.fine_tuned_name, view) is not None and job.id not in view.unchecked:
        return Standing("succeeded", version, None, _later(job, version))
    if version.state != "rejected":
        return Standing("running")
    if version.certificate.get("passed"):  # it served, and was taken out of service
        return Standing("succeeded", version, None, _later(job, version))
    reason = str(version.reasons.get("rejected_because") or "The engine does not serve it rightly")
    error = {"code": "engine_check_failed", "message": reason, "param": None}
    return Standing("failed", None, error, _later(job, version))


def routable(name: str, view: View) -> Version | None:
    """The version that answers to this name on this router."""
    version = view.fine_tuned.get(name)
    return version if version is not None and version.state in SERVABLE else None


def _later(job: Job, version: Version) -> float:
    return max(job.finished_at or 0.0, version.certificate.get("at") or 0.0, version.created_at)
