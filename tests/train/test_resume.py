"""Killed at any moment, training goes on from its last state to the same bytes.

Processes are forks of one that has imported torch (tests/train/forked.py); at the end two real
workers with real training processes hand a job over.
"""

import collections
import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

from monitoring.metrics import Metrics
from registry.errors import ContentMissing
from registry.store import sha256_file
from tests.real_engine import make_base
from tests.train.forked import SPEC
from tests.train.making import jsonl, tickets
from train.settings import WorkerSettings
from train.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    make_base(folder / "base")
    (folder / "training.jsonl").write_bytes(jsonl(tickets(25)))
    return folder


@pytest.fixture(scope="module")
def done(folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "tests.train.forked", str(folder), str(KILLS), "7"],
        env=environment, stdout=subprocess.PIPE, check=True, timeout=550,
    )  # fmt: skip
    return json.loads(process.stdout)


def told(moment):
    """In a word, where a process was killed."""
    if moment["writing"]:
        return "writing a state"
    if moment["phase"] == "training":
        return "training, with a state" if moment["state"] else "before the first state"
    return "after training" if moment["state"] else "before training"


def test_after_a_kill_at_any_moment_the_adapter_is_the_same_to_the_byte(done):
    moments = collections.Counter(told(moment) for moment in done["found"])
    print(f"{KILLS} kills: {dict(moments)}; {done['took_s']} s")
    assert [moment["digests"] for moment in done["found"]] == [done["expected"]] * KILLS
    assert not any(moment["ended"] for moment in done["found"]), "killed before its end"
    assert len(moments) >= 3, "the moments lie apart"
    resumed = sum("Training goes on after step" in " ".join(m["told"]) for m in done["found"])
    assert resumed == sum(moment["state"] is not None for moment in done["found"]) > KILLS / 2


def test_training_that_is_to_rest_keeps_its_state_within_a_step_and_goes_on_from_it(done):
    paused = done["paused"]
    assert paused["code"] == 4
    assert paused["told"][-1] in (4, 5, 6)  # what it had said when it was asked may be a step old
    assert paused["digests"] == done["expected"]


def test_a_state_of_other_options_or_a_damaged_one_is_not_gone_on_from(done):
    for name in ("other", "cut"):
        assert any("does not fit" in message for message in done["unfit"][name]["told"])
    assert done["unfit"]["cut"]["digests"] == done["expected"]
    assert done["unfit"]["other"]["digests"] != done["expected"]


def test_a_full_disk_and_too_little_memory_end_the_run_with_what_to_do(done):
    assert done["disk"]["outcome"]["error"]["code"] == "disk_full"
    assert not {"trainer", "states"} & {*done["disk"]["left"]}, "room is given back"
    assert done["memory"]["outcome"]["error"]["code"] == "out_of_memory"


def test_each_steps_figures_are_kept_over_a_kill_as_openai_lays_them_out(done):
    header, *lines = done["metrics"].splitlines()
    assert header == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"
    assert [int(line.split(",")[0]) for line in lines] == [*range(1, 16)]
    measured = [line.split(",")[0] for line in lines if line.split(",")[3]]
    assert measured == ["5", "10", "15"]


def test_a_checkpoints_manifest_says_its_step(done):
    assert done["manifest"]["step"] == 15


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
    sqlite_registry, folder, done, tmp_path
):
    registry = sqlite_registry
    registry.tenants.create("acme")
    registry.adapters.create("acme", "tickets", "base", answers={"kind": "label"})
    file = registry.upload("acme", "training.jsonl", (folder / "training.jsonl").read_bytes())
    job = registry.jobs.enqueue("acme", "tickets", file, spec=SPEC)
    where = [registry.database.url, registry.store.url, str(folder / "base"), str(tmp_path / "a")]
    deadline = time.monotonic() + 240
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(SCRIPT), *where]) as doomed:
        while (state := registry.jobs.get(job.id).state_digest) is None:
            assert time.monotonic() < deadline and doomed.poll() is None, "no state was kept"
            time.sleep(0.02)
        doomed.kill()
    options = {"base": str(folder / "base"), "scratch": tmp_path / "b", "nice": 0, "threads": 1}
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
    assert sha256_file(made / "adapter_model.safetensors") == done["weights"]

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
