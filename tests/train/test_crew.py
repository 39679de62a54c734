"""A worker with several jobs that one process trains: registry, worker and process are real."""

import json
import os
import signal
from dataclasses import asdict

import pytest

from monitoring.metrics import Metrics
from tests.real_engine import make_base
from tests.train.making import jsonl, tickets
from tests.train.test_worker import ended, left_over, messages, until
from train.crew import companions
from train.layout import lay_out
from train.settings import WorkerSettings
from train.worker import Worker

TENANTS = ("acme", "lex", "zeta")
SPEC = {"rank": 4, "batch_size": 4, "validation_fraction": 0.2, "learning_rate": 0.002}


@pytest.fixture
def registry(sqlite_registry):
    for tenant in TENANTS:
        sqlite_registry.tenants.create(tenant)
        sqlite_registry.adapters.create(tenant, "tickets", "base", answers={"kind": "label"})
    return sqlite_registry


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("made") / "base")


def settings(tmp_path, base="base", **fields):
    return WorkerSettings(
        base=str(base), name="one", scratch=tmp_path / "scratch", renew_s=0.05, nice=0, threads=1,
        evaluation_rows=4, few_shot=1, general_rows=0, **fields,
    )  # fmt: skip


@pytest.fixture
def worker(registry, base, tmp_path):
    made = Worker(registry, settings(tmp_path, base, checkpoint_s=0.0), Metrics())
    made.startup()
    yield made
    made.shutdown(5)


def enqueue(registry, tenant="acme", seed=0, trigger="cli", **spec):
    file = registry.upload(tenant, "training.jsonl", jsonl(tickets(24, seed)))
    spec = {**SPEC, "seed": seed, **spec}
    return registry.jobs.enqueue(tenant, "tickets", file, spec=spec, trigger=trigger)


def taken(registry, tmp_path, **fields):
    """Whom the job that comes first is joined by."""
    first = registry.jobs.lease("one")
    return {job.id for job in companions(registry, settings(tmp_path, **fields), "one", first)}


def test_jobs_that_wait_on_the_same_base_go_together(registry, tmp_path):
    enqueue(registry, "acme")
    others = {enqueue(registry, "lex").id, enqueue(registry, "zeta", trigger="api").id}
    assert taken(registry, tmp_path) == others
    assert {registry.jobs.get(each).lease_owner for each in others} == {"one"}


@pytest.mark.parametrize("spec", [{"method": "dora"}, {"base": "other"}, {"rank": 13}])
def test_a_job_on_another_base_or_with_options_of_its_own_is_left_waiting(registry, tmp_path, spec):
    enqueue(registry, "acme")
    other = enqueue(registry, "lex", **spec)
    assert taken(registry, tmp_path) == set()
    assert registry.jobs.get(other.id).state == "queued"


def test_a_job_that_was_begun_before_goes_alone(registry, tmp_path):
    broken = enqueue(registry, "acme")
    registry.jobs.lease("dead")
    registry.jobs.release(broken.id, "dead", failed=True)
    other = enqueue(registry, "lex")
    leased = registry.jobs.lease("one", only=[other.id])
    assert leased.id == other.id
    assert companions(registry, settings(tmp_path), "one", leased) == []
    enqueue(registry, "zeta")
    again = registry.jobs.lease("one", only=[broken.id])
    assert companions(registry, settings(tmp_path), "one", again) == []


def test_no_tenant_gets_more_seats_than_jobs_at_once_and_no_crew_more_than_it_may(
    registry, tmp_path
):
    for tenant in ("acme", "acme", "acme", "lex", "zeta"):
        enqueue(registry, tenant)
    assert len(taken(registry, tmp_path, tenant_jobs=1)) == 2
    enqueue(registry, "acme")
    enqueue(registry, "acme")
    assert len(taken(registry, tmp_path, tenant_jobs=9, cotrain=2)) == 1
    assert taken(registry, tmp_path, tenant_jobs=9, cotrain=1) == set()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_three_tenants_jobs_become_three_versions_in_one_process(registry, worker, base, tmp_path):
    """Each is the adapter that the same loop makes of the job alone."""
    jobs = [
        enqueue(registry, tenant, seed, epochs=3, trigger="api" if seed == 0 else "cli")
        for seed, tenant in enumerate(TENANTS)
    ]
    pids = set()

    def all_ended():
        pids.add(worker.child_pid)
        found = [registry.jobs.get(job.id) for job in jobs]
        return found if all(job.state not in ("queued", "running") for job in found) else None

    done = until(all_ended, worker, 200)
    assert [job.state for job in done] == ["succeeded"] * 3, [job.error for job in done]
    assert len(pids - {None}) == 1
    assert all("Trains together with 2 others" in messages(registry, job) for job in jobs)
    assert left_over(tmp_path) == []
    steps = [v.step for v in registry.versions.all(checkpoints=True) if v.step is not None]
    assert sorted(steps) == [5, 10, 15]

    from safetensors.torch import load_file
    from torch.testing import assert_close

    from train.cotrain.run import run

    for job in done[:2]:
        folder = tmp_path / job.id
        folder.mkdir()
        task = lay_out(registry, worker.settings, job, folder)
        (folder / "task.json").write_text(json.dumps(asdict(task) | {"resume": None}))
        run(tmp_path, 1, {job.id: job.id}, lambda *_: None)
        made = registry.store.fetch(job.digest, tmp_path / f"made-{job.tenant}")
        alone = load_file(tmp_path / job.id / "adapter" / "adapter_model.safetensors")
        together = load_file(made / "adapter_model.safetensors")
        assert_close(together, alone, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_one_is_cancelled_one_rests_and_a_kill_sends_each_on_alone(registry, worker, tmp_path):
    jobs = [
        enqueue(registry, tenant, seed, epochs=30, patience=1000)
        for seed, tenant in enumerate(TENANTS)
    ]
    first, second, third = jobs
    until(lambda: all(registry.jobs.get(job.id).state_digest for job in jobs), worker, 100)
    pid = worker.child_pid
    registry.jobs.cancel(first.id)
    registry.jobs.pause(second.id)
    assert ended(registry, first, worker).state == "cancelled"
    assert ended(registry, second, worker).state == "paused"
    assert (worker.job_id, worker.child_pid) == (third.id, pid)
    os.kill(pid, signal.SIGKILL)
    until(lambda: worker.job_id is None, worker)
    assert any("trying again, alone" in text for text in messages(registry, third))
    done = ended(registry, third, worker, 100)
    assert done.state == "succeeded", done.error
    told = messages(registry, third)
    assert any(text.startswith("Training goes on after step") for text in told)
    assert registry.jobs.get(second.id).state == "paused"
    assert left_over(tmp_path) == []
