"""Two real workers with real training processes: one is killed, the other goes on."""

import subprocess
import sys
import textwrap
import time

import pytest

from monitoring.metrics import Metrics
from registry.errors import ContentMissing
from registry.store import sha256_file
from tests.real_engine import make_base
from tests.train.forked import SPEC, task
from tests.train.making import jsonl, tickets
from train.pipeline import run
from train.settings import WorkerSettings
from train.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = """
import sys, time
from pathlib import Path
from monitoring.metrics import Metrics
from registry import Registry
from train.settings import WorkerSettings
from train.worker import Worker

database, store, base, scratch = sys.argv[1:]
worker = Worker(
    Registry.open(database, store),
    WorkerSettings(base=base, name="doomed", scratch=Path(scratch), lease_s=1.0, renew_s=0.05,
                   nice=0, threads=1, checkpoint_s=0.0),
    Metrics(),
)
worker.startup()
while True:
    worker.tick()
    time.sleep(0.02)
"""


def test_a_worker_that_is_killed_hands_its_job_to_another_which_ends_with_the_same_weights(
    sqlite_registry, tmp_path
):
    folder, registry = tmp_path, sqlite_registry
    make_base(folder / "base")
    (folder / "training.jsonl").write_bytes(jsonl(tickets(25)))
    whole = task(folder / "base", checkpoint_s=1e6, evaluation_rows=200)
    run(folder, whole, lambda _: None)  # uninterrupted
    registry.tenants.create("acme")
    registry.adapters.create("acme", "tickets", "base", answers={"kind": "label"})
    file = registry.upload("acme", "training.jsonl", (folder / "training.jsonl").read_bytes())
    job = registry.jobs.enqueue("acme", "tickets", file, spec=SPEC)
    where = [registry.database.url, registry.store.url, str(folder / "base"), str(tmp_path / "a")]
    deadline = time.monotonic() + 240
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT), *where]) as doomed:
        try:
            while (state := registry.jobs.get(job.id).state_digest) is None:
                assert time.monotonic() < deadline and doomed.poll() is None, "no state was kept"
                time.sleep(0.02)
        finally:
            doomed.kill()
    options = {"base": str(folder / "base"), "scratch": tmp_path / "b", "nice": 0, "threads": 1,
               "general_rows": 0}  # fmt: skip
    heir = Worker(registry, WorkerSettings(name="heir", **options), Metrics())
    heir.startup()
    while registry.jobs.get(job.id).state == "running" or heir.job_id is not None:
        assert time.monotonic() < deadline, "the heir does not end"
        heir.tick()
        time.sleep(0.02)
    ended = registry.jobs.get(job.id)
    assert ended.state == "succeeded", ended.error
    told = [event.message for event in registry.jobs.events(job.id)]
    assert "Taken over by heir" in told
    assert any(text.startswith("Training goes on after step") for text in told)
    made = registry.store.fetch(ended.digest, tmp_path / "made")
    assert sha256_file(made / "adapter_model.safetensors") == sha256_file(
        folder / "adapter" / "adapter_model.safetensors"
    )

    # A state is no version: it is gone with the job. The last epoch's adapter is one.
    heir._count()
    assert registry.jobs.get(job.id).state_digest is None
    with pytest.raises(ContentMissing):
        registry.store.files(state)
    (checkpoint,) = [v for v in registry.versions.all(checkpoints=True) if v.step is not None]
    assert (checkpoint.step, checkpoint.job_id, checkpoint.state) == (15, job.id, "candidate")
    assert checkpoint.fine_tuned_name.endswith(":ckpt-step-15")
    assert [c.digest for c in registry.jobs.checkpoints(job.id)] == [checkpoint.digest, None, None]
    (figures,) = ended.result_files
    assert registry.files.get("acme", figures).purpose == "fine-tune-results"
    assert registry.content("acme", figures).decode().splitlines()[0].startswith("step,train_loss")
