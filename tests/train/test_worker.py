"""The worker: every way in which a job ends, with a real registry and real training processes.

Most of these end before the process has imported torch; one goes all the way.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from monitoring.metrics import Metrics
from registry.errors import ContentMissing, LeaseLost
from registry.store import Store
from tests.train.making import jsonl, record, tickets
from train.settings import SHIPPED_BASE, WorkerSettings
from train.worker import Worker

BASE = str(SHIPPED_BASE)


def settings(tmp_path, **fields):
    options = {"base": BASE, "scratch": tmp_path / "scratch", "renew_s": 0.05, "nice": 0,
               "general_rows": 0}  # fmt: skip
    return WorkerSettings(**{**options, **fields})


@pytest.fixture
def registry(sqlite_registry):
    sqlite_registry.tenants.create("acme")
    sqlite_registry.adapters.create("acme", "tickets", "switchyard-tiny")
    return sqlite_registry


@pytest.fixture
def workers(registry, tmp_path):
    """Makes workers, and ends what they left running."""
    made = []

    def make(name="one", **fields):
        worker = Worker(registry, settings(tmp_path, name=name, **fields), Metrics())
        worker.startup()
        made.append(worker)
        return worker

    yield make
    for worker in made:
        worker.shutdown(5)


def enqueue(registry, records, **spec):
    file = registry.upload("acme", "training.jsonl", jsonl(records))
    return registry.jobs.enqueue("acme", "tickets", file, spec=spec)


def until(condition, worker=None, seconds=60.0):
    """Tick until the condition holds; fail loudly when it never does."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if worker is not None:
            worker.tick()
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {condition}")


def ended(registry, job, worker, seconds=60.0):
    def state():
        found = registry.jobs.get(job.id)
        return found if found.state not in ("queued", "running") else None

    return until(state, worker, seconds)


def begun(registry, job, worker):
    """Tick until the training process runs."""
    until(lambda: worker.child_pid and registry.jobs.get(job.id).progress.get("phase"), worker)


def messages(registry, job):
    return [event.message for event in registry.jobs.events(job.id)]


def state_folder(folder, step):
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"step": step}))
    return folder


def left_over(tmp_path):
    return [path.name for path in (tmp_path / "scratch").iterdir()]


def test_an_idle_worker_does_nothing(workers):
    worker = workers()
    worker.tick()
    assert worker.job_id is None


def test_a_malformed_file_fails_the_job_with_line_numbers(registry, workers, tmp_path):
    job = enqueue(registry, [record("Where?", "delivery"), "{", {"messages": []}])
    done = ended(registry, job, workers())
    assert done.state == "failed"
    assert done.error["code"] == "invalid_training_file"
    assert done.error["param"] == "training_file"
    assert "line 2: expected one JSON object" in done.error["message"]
    assert "line 3: messages: expected a list of messages" in done.error["message"]
    assert left_over(tmp_path) == []


def test_a_wrong_option_fails_the_job_before_any_process_starts(registry, workers):
    job = enqueue(registry, tickets(10), rank=13)
    done = ended(registry, job, workers())
    assert (done.error["code"], done.error["param"]) == ("invalid_spec", "rank")


def test_a_general_set_that_is_none_fails_the_job_before_any_process_starts(
    registry, workers, tmp_path
):
    chats = tmp_path / "chats.jsonl"
    chats.write_text('{"messages": []}')
    worker = workers(general=chats)
    done = ended(registry, enqueue(registry, tickets(10)), worker)
    assert (done.error["code"], done.error["param"]) == ("invalid_spec", "general")
    assert "The general set chats.jsonl: line 1: messages: expected" in done.error["message"]
    own = registry.upload("acme", "own.jsonl", b"")
    done = ended(registry, enqueue(registry, tickets(10), general=own), worker)
    assert f"The general set {own}: no rows" in done.error["message"]
    registry.adapters.update("acme", "tickets", answers={"max_forgetting": -1})
    done = ended(registry, enqueue(registry, tickets(10)), worker)
    assert (done.error["code"], done.error["param"]) == ("invalid_spec", "max_forgetting")


def test_the_adapters_options_are_where_a_jobs_begin(registry, workers):
    registry.adapters.update("acme", "tickets", training={"rank": 13})
    job = enqueue(registry, tickets(10))
    assert ended(registry, job, workers()).error["param"] == "rank"


def test_a_file_that_is_gone_fails_the_job(registry, workers):
    job = registry.jobs.enqueue("acme", "tickets", "file-nowhere")
    done = ended(registry, job, workers())
    assert done.error["code"] == "file_unavailable"
    assert "file-nowhere" in done.error["message"]


def test_another_adapters_version_is_no_parent(registry, workers):
    registry.adapters.create("acme", "other", "switchyard-tiny")
    registry.versions.publish(
        "acme", "other", "ab" * 32, manifest={}, evaluation={}, verdict="promote"
    )
    done = ended(registry, enqueue(registry, tickets(10), parent="ab" * 32), workers())
    assert (done.error["code"], done.error["param"]) == ("invalid_spec", "parent")


def test_a_job_is_cancelled_while_it_runs(registry, workers, tmp_path):
    worker = workers()
    job = enqueue(registry, tickets(60))
    begun(registry, job, worker)
    pid = worker.child_pid
    registry.jobs.cancel(job.id)
    assert ended(registry, job, worker).state == "cancelled"
    assert not psutil.pid_exists(pid)
    assert worker.job_id is None
    assert left_over(tmp_path) == []


def test_a_worker_that_is_told_to_stop_puts_its_job_back(registry, workers, tmp_path):
    worker = workers()
    job = enqueue(registry, tickets(60))
    begun(registry, job, worker)
    pid = worker.child_pid
    worker.shutdown(5)
    assert registry.jobs.get(job.id).state == "queued"
    assert not psutil.pid_exists(pid)
    assert left_over(tmp_path) == []


def test_a_job_pauses_and_another_worker_takes_it_once_it_is_resumed(registry, workers, tmp_path):
    worker = workers()
    job = enqueue(registry, tickets(60))
    begun(registry, job, worker)
    pid = worker.child_pid
    registry.jobs.pause(job.id)
    until(lambda: worker.job_id is None, worker)
    assert registry.jobs.get(job.id).state == "paused"
    assert not psutil.pid_exists(pid)
    assert left_over(tmp_path) == []
    registry.jobs.resume(job.id)
    other = workers("other")
    begun(registry, job, other)
    assert registry.jobs.get(job.id).attempts == 1


def test_a_pause_that_is_taken_back_too_late_puts_the_job_back(registry, workers):
    worker = workers()
    job = enqueue(registry, tickets(60))
    begun(registry, job, worker)
    registry.jobs.pause(job.id)
    until(lambda: worker.pausing, worker)
    registry.jobs.resume(job.id)
    until(lambda: worker.job_id is None, worker)
    assert registry.jobs.get(job.id).state == "queued"


def test_a_job_whose_state_is_lost_begins_anew_and_says_so(registry, workers):
    job = enqueue(registry, tickets(60))
    registry.jobs.lease("dead", -1)
    registry.jobs.keep_state(job.id, "dead", "ab" * 32)
    begun(registry, job, workers())
    assert any("starts anew, as its state is lost" in text for text in messages(registry, job))


def test_the_state_of_a_job_that_ended_is_removed(registry, workers, tmp_path):
    job = enqueue(registry, tickets(60))
    registry.jobs.lease("dead", 60)
    digest = registry.store.publish(state_folder(tmp_path / "state", 1))
    registry.jobs.keep_state(job.id, "dead", digest)
    registry.jobs.fail(job.id, "dead", "code", "message")
    workers()
    with pytest.raises(ContentMissing):
        registry.store.files(digest)
    assert registry.jobs.get(job.id).state_digest is None


def test_a_full_disk_fails_the_job_and_leaves_nothing(registry, workers, tmp_path):
    worker = workers()
    job = enqueue(registry, [record("a" * 16_000_000, "b")])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000_000, before[1]))
    try:
        done = ended(registry, job, worker)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert done.error["code"] == "disk_full"
    assert left_over(tmp_path) == []


def test_a_job_whose_lease_was_lost_is_let_go(registry, workers):
    slow = workers("slow")
    job = enqueue(registry, tickets(60))
    begun(registry, job, slow)
    pid = slow.child_pid
    registry.jobs.release(job.id, "slow")  # as if the lease had run out and another had come
    taken = registry.jobs.lease("fast")
    assert taken is not None and taken.id == job.id
    until(lambda: slow.job_id is None, slow)
    assert not psutil.pid_exists(pid)
    assert registry.jobs.get(job.id).lease_owner == "fast"
    with pytest.raises(LeaseLost):
        registry.jobs.renew(job.id, "slow")


def test_a_training_process_that_is_killed_is_tried_once_more_and_then_given_up(registry, workers):
    worker = workers()
    job = enqueue(registry, tickets(60))
    for attempt in (1, 2):
        begun(registry, job, worker)
        os.kill(worker.child_pid, signal.SIGKILL)
        until(lambda: worker.job_id is None, worker)
        if attempt == 1:
            assert registry.jobs.get(job.id).state == "queued"
            assert "The training process was killed: trying once more" in messages(registry, job)
    done = registry.jobs.get(job.id)
    assert (done.state, done.error["code"]) == ("failed", "out_of_memory")


def test_a_job_that_no_worker_survives_is_given_up(registry, workers):
    job = enqueue(registry, tickets(60))
    for dead in ("a", "b"):
        registry.jobs.lease(dead, seconds=-1)
    done = ended(registry, job, workers(max_attempts=2))
    assert done.error["code"] == "too_many_attempts"


def test_a_base_that_is_not_there_fails_the_job_and_names_it(registry, workers, tmp_path):
    job = enqueue(registry, tickets(20), base=str(tmp_path / "nowhere"))
    done = ended(registry, job, workers(), seconds=240)
    assert (done.error["code"], done.error["param"]) == ("base_unavailable", "base")


SCRIPT = """
import sys, time
from pathlib import Path
from monitoring.metrics import Metrics
from registry import Registry
from train.settings import WorkerSettings
from train.worker import Worker

database, store, scratch = sys.argv[1:]
worker = Worker(
    Registry.open(database, store),
    WorkerSettings(name="doomed", scratch=Path(scratch), lease_s=1.0, renew_s=0.05),
    Metrics(),
)
worker.startup()
while True:
    worker.tick()
    if worker.child_pid:
        print("child", worker.child_pid, flush=True)
    time.sleep(0.02)
"""


def test_the_job_of_a_worker_that_died_is_taken_over_and_its_process_dies_too(
    registry, workers, tmp_path
):
    job = enqueue(registry, tickets(60))
    where = [registry.database.url, registry.store.url, str(tmp_path / "scratch")]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *where], stdout=subprocess.PIPE, text=True
    ) as doomed:
        assert doomed.stdout is not None
        try:
            orphan = next(int(line[6:]) for line in doomed.stdout if line.startswith("child "))
        finally:
            doomed.kill()
    until(lambda: not psutil.pid_exists(orphan) or
          psutil.Process(orphan).status() == psutil.STATUS_ZOMBIE)  # fmt: skip
    heir = workers("heir")
    until(lambda: heir.job_id == job.id, heir)
    assert "Taken over by heir" in messages(registry, job)
    assert len(left_over(tmp_path)) == 1  # the heir's own: what the dead one left is swept away
    assert registry.jobs.get(job.id).attempts == 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_becomes_a_candidate_version(registry, workers, tmp_path):
    registry.adapters.update("acme", "tickets", answers={"kind": "label"})
    job = enqueue(
        registry,
        [*tickets(120), "{"],
        epochs=3,
        rank=8,
        batch_size=8,
        test_fraction=0.15,
        keep_good_rows=True,
    )
    worker = workers(general_rows=16)
    seen = set()

    def watched():
        found = registry.jobs.get(job.id)
        seen.add(found.progress.get("phase"))
        return found if found.state not in ("queued", "running") else None

    done = until(watched, worker, 500)
    assert done.state == "succeeded", done.error
    version = registry.versions.get(done.digest)
    assert (version.state, version.verdict, version.job_id) == ("candidate", "promote", job.id)
    assert version.reasons["summary"]
    assert version.evaluation["adapter"]["exact"] > 0.5
    assert (version.evaluation["general"]["n"], version.evaluation["general"]["parent"]) == (
        16,
        None,
    )
    assert version.evaluation["general"]["change"] > 0  # what is learned here is paid for there
    assert {"import", "training", "evaluating"} <= seen

    folder = registry.store.fetch(version.digest, tmp_path / "fetched")
    assert json.loads((folder / "switchyard.json").read_text()) == version.manifest
    assert len(json.loads((folder / "probes.json").read_text())["probes"]) >= 16
    assert Store(registry.store.url).publish(folder) == version.digest

    assert done.result["verdict"] == "promote"
    assert {"import", "training", "evaluating", "total"} <= done.result["seconds"].keys()
    checkpoints = registry.jobs.checkpoints(job.id)
    assert [checkpoint.metrics["epoch"] for checkpoint in checkpoints] == [3.0, 2.0, 1.0]
    told = messages(registry, job)
    assert any("line 121" in message for message in told)
    assert any("promote" in message for message in told)
    assert f"Validating training file: {job.training_file}" in told
    known = {"n_epochs": 3, "batch_size": 8, "learning_rate_multiplier": 1.0}
    assert done.progress["hyperparameters"] == known
    assert done.result["training"]["hyperparameters"] == known
    assert left_over(tmp_path) == []
    assert worker.metrics.train_steps_total._value.get() == done.result["training"]["steps"]
