"""What a training process says, and what of it a job's row keeps."""

from typing import Any

import pytest

from monitoring.metrics import Metrics
from registry.job import Job
from train.news import begun, pass_on
from train.uploads import Uploads

KNOWN = {"n_epochs": 6, "batch_size": 8, "learning_rate_multiplier": 1.0}


@pytest.fixture
def registry(sqlite_registry):
    sqlite_registry.tenants.create("acme")
    sqlite_registry.adapters.create("acme", "tickets", "switchyard-tiny")
    return sqlite_registry


def leased(registry: Any, **fields: Any) -> Job:
    registry.jobs.enqueue("acme", "tickets", "file-1", **fields)
    return registry.jobs.lease("one")


def passed(registry: Any, job: Job, *news: dict[str, Any], **progress: Any) -> dict[str, Any]:
    uploads = Uploads(registry, job.id, "one", None)
    return pass_on(registry, Metrics(), job, [*news], progress, uploads)


def told(registry: Any, job: Job) -> list[str]:
    return [event.message for event in registry.jobs.events(job.id)][2:]


def test_a_job_that_begins_says_whose_rows_it_looks_at(registry):
    job = leased(registry)
    assert begun(registry, job) == {}
    assert told(registry, job) == ["Validating training file: file-1"]
    both = leased(registry, validation_file="file-2")
    begun(registry, both)
    assert told(registry, both)[0].endswith("file-1 and validation file: file-2")


def test_hyperparameters_are_told_once_and_outlive_phases_and_workers(registry):
    job = leased(registry)
    validated = {"kind": "validated", "hyperparameters": KNOWN}
    progress = passed(
        registry,
        job,
        {**validated},
        {"kind": "progress", "phase": "training"},
        {"kind": "progress", "phase": "training", "step": 1, "loss": 0.5},
        {"kind": "progress", "phase": "evaluating"},
    )
    assert progress == {
        "phase": "evaluating", "step": 1, "loss": 0.5, "eta_s": None, "hyperparameters": KNOWN
    }  # fmt: skip
    registry.jobs.renew(job.id, "one", progress=progress)
    registry.jobs.release(job.id, "one")
    again = registry.jobs.lease("one")
    assert begun(registry, again) == {"hyperparameters": KNOWN}
    passed(registry, again, {**validated}, hyperparameters=KNOWN)
    said = [text for text in told(registry, job) if "validat" in text.lower()]
    assert said == [
        "Files validated: training with n_epochs 6, batch_size 8, learning_rate_multiplier 1"
    ]
