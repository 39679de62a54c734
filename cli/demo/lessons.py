"""Training in the story: jobs for the tenants' data, and what they say while they run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cli import jobs, training
from cli.demo.cast import Member
from cli.demo.stage import Stage
from cli.demo.story import Story
from cli.errors import ProcessFailed


def submit(
    stage: Stage, member: Member, folder: Path, options: dict[str, Any] | None = None
) -> str:
    """Upload a tenant's training file and enqueue a job, as `switchyard train` does; its id.

    The files have bad rows on purpose, as exports do: the demo keeps the good ones, and says so.
    """
    assert member.adapter is not None
    path = folder / member.name / "train.jsonl"
    schema = folder / member.name / "schema.json"
    answers: dict[str, Any] = {"kind": member.kind}
    if schema.is_file():
        answers["schema"] = json.loads(schema.read_text())
    return training.submit(
        stage.registry,
        member.name,
        member.adapter,
        path.name,
        training.checked(path, keep_good_rows=True),
        {"keep_good_rows": True, **member.training, **(options or {})},
        answers=answers,
    )


def bad_rows(path: Path) -> list[str]:
    """What is wrong with a training file, a line for each bad row."""
    from train.rows import parse

    return [str(error) for error in parse(path.read_bytes())[1]]


def wait(stage: Stage, story: Story, job_ids: list[str], timeout: float) -> None:
    """Tell of the jobs until all have succeeded. Raises ProcessFailed for one that has not."""
    told: dict[str, str] = {}

    def tell() -> None:
        for job_id in job_ids:
            job = stage.registry.jobs.get(job_id)
            if job.state == "failed" or job.state == "cancelled":
                raise ProcessFailed(jobs.failure(job))
            line = jobs.news(job.progress, None)
            # A line for each phase, and for each fifth of the steps: a story, not a log.
            steps = job.progress.get("steps") or 0
            part = int(5 * job.progress.get("step", 0) / steps) if steps else 0
            mark = f"{job.state} {job.progress.get('phase')} {part}"
            if line and told.get(job_id) != mark:
                told[job_id] = mark
                story.say(f"  {job.tenant:6} {line}")

    def done() -> bool:
        return all(stage.registry.jobs.get(job_id).state == "succeeded" for job_id in job_ids)

    stage.wait("training", done, timeout, each=tell, interval=0.5)


def summary(stage: Stage, job_id: str) -> str:
    """How a job ended, on a line."""
    job = stage.registry.jobs.get(job_id)
    assert job.digest is not None
    version = stage.registry.versions.get(job.digest)
    took = (job.finished_at or 0.0) - (job.started_at or 0.0)
    text = version.reasons.get("summary") or ""
    return f"{version.served_name} after {took:.0f} s, verdict {version.verdict}. {text}"
