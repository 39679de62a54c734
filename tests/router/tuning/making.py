"""Files, jobs and what a worker and the engine's check make of them, as rows of the registry."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from registry import Registry
from registry.versions import Version
from tests.router.conftest import BASE

WORKER = "worker-1"
RESOLVED = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0, "beta": 0.1}
"""What a worker says that "auto" comes to."""


def chat_lines(count: int = 3) -> bytes:
    """Conversations, one a line."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"where is parcel {number}"},
                {"role": "assistant", "content": "delivery"},
            ]
        }
        for number in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def preference_lines(count: int = 3) -> bytes:
    """Pairs in OpenAI's form, one a line."""
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"where is parcel {number}"}]},
            "preferred_output": [{"role": "assistant", "content": "delivery"}],
            "non_preferred_output": [{"role": "assistant", "content": "billing"}],
        }
        for number in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def train(registry: Registry, job_id: str, *, checkpoint_step: int | None = None) -> Version:
    """What a worker does with the job that waits: lease it, publish a candidate, succeed."""
    job = registry.jobs.lease(WORKER)
    assert job is not None and job.id == job_id
    if checkpoint_step is not None:
        early = publish(registry, job_id, f"{job_id} {checkpoint_step}", step=checkpoint_step)
        metrics = {"train_loss": 0.5, "valid_loss": 0.4, "unknown": 1}
        registry.jobs.add_checkpoint(job_id, checkpoint_step, metrics, early.digest)
    version = publish(registry, job_id, job_id)
    result = {"training": {"trained_tokens": 1234, "hyperparameters": RESOLVED}}
    registry.jobs.succeed(job_id, WORKER, version.digest, result)
    return version


def publish(registry: Registry, job_id: str, content: str, step: int | None = None) -> Version:
    """A candidate that the job made."""
    job = registry.jobs.get(job_id)
    return registry.versions.publish(
        job.tenant,
        job.adapter,
        hashlib.sha256(content.encode()).hexdigest(),
        manifest={"base": BASE},
        evaluation={},
        verdict="insufficient",
        reasons={"by_name": True},
        job_id=job_id,
        step=step,
    )


def hold(registry: Registry, version: Version) -> None:
    """What the swapper does with a version that the engine serves rightly."""
    registry.versions.certify(version.digest, {"passed": True, "at": version.created_at})
    registry.versions.move(version.digest, "held")


def event_messages(events: Any) -> list[str]:
    """Newest first."""
    return [event.message for event in events]
