"""Files and fine-tuning are what their description says: schemathesis makes requests from it, good
and bad, and holds every answer against it. What is no good by the description is refused.

Longer: SWITCHYARD_SCHEMATHESIS_EXAMPLES=500 pytest tests/router/tuning/test_described.py
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from registry import Registry
from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, World, running
from tests.router.test_described import COMMITTED
from tests.router.tuning import making
from tests.router.tuning.making import WORKER, hold, train

EXAMPLES = os.environ.get("SWITCHYARD_SCHEMATHESIS_EXAMPLES")
OTHERS = "positive_data_acceptance"
"""A good body may name a file that is gone."""


def scene(registry: Registry) -> tuple[list[str], list[str]]:
    """Files, and jobs of many standings; their ids."""
    files = [registry.upload("acme", "rows.jsonl", making.chat_lines()) for _ in range(4)]
    registry.adapters.ensure("acme", "made", BASE)
    jobs = []
    for state in ("succeeded", "failed", "running", "paused", "queued"):
        request = {"model": BASE, "seed": 1, "method": {"type": "supervised"}}
        job = registry.jobs.enqueue("acme", "made", files[0], trigger="api", request=request)
        jobs.append(job.id)
        if state == "succeeded":
            hold(registry, train(registry, job.id, checkpoint_step=2))
        elif state in ("failed", "running"):
            registry.jobs.lease(WORKER)
            registry.jobs.renew(job.id, WORKER, 3600, {"hyperparameters": making.RESOLVED})
        if state == "failed":
            registry.jobs.fail(job.id, WORKER, "invalid_training_file", "line 3", "training_file")
        elif state == "paused":
            registry.jobs.pause(job.id)
    return files, jobs


@pytest.mark.slow
@pytest.mark.timeout(3600 if EXAMPLES else 300)
async def test_files_and_jobs_are_as_they_are_described(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    files, jobs = scene(world.registry)
    phases = "coverage,fuzzing,stateful" if EXAMPLES else "coverage,stateful"
    async with running(world, max_active_jobs=1000) as router:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "schemathesis.cli", "run", str(COMMITTED)),
            *("--url", router.url, "--no-color", "--workers=1", "--continue-on-failure"),
            *("--include-path-regex=^/v1/(files|fine_tuning)", f"--phases={phases}"),
            *(f"--max-examples={EXAMPLES or 5}", f"--exclude-checks={OTHERS}"),
            *("--header", f"Authorization: Bearer {world.keys['acme']}"),
            cwd=tmp_path,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.router.tuning.aimed",
                "PYTHONPATH": str(COMMITTED.parents[1]),
                "AIM_BASE": BASE,
                "AIM_FILE_ID": " ".join(files),
                "AIM_JOB_ID": " ".join(jobs),
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    said = out.decode()
    assert process.returncode == 0, said[-8000:]
    generated = re.search(r"(\d+) generated", said)
    assert generated is not None and int(generated[1]) > 300, said[-2000:]
    made = world.registry.jobs.all("acme")
    assert len(made) > len(jobs) + 10, "good requests made no jobs"
    assert {job.state for job in made} >= {"succeeded", "failed", "queued", "cancelled"}
