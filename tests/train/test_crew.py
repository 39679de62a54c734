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
from train.crew import Crew, companions, joiner
from train.durable import PAUSED_EXIT
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


def joined(registry, tmp_path, before=(), **fields):
    """Who joins those that train already."""
    return joiner(registry, settings(tmp_path, **fields), "one", "base", before)


def test_a_free_seat_is_for_the_job_whose_turn_it_is_and_nobody_gets_past_one_that_does_not_fit(
    registry, tmp_path
):
    enqueue(registry, "acme")
    registry.jobs.lease("one")
    first, unfit = enqueue(registry, "lex"), enqueue(registry, "zeta", method="dora")
    assert joined(registry, tmp_path).id == first.id
    assert registry.jobs.get(first.id).lease_owner == "one"
    last = enqueue(registry, "lex")
    assert joined(registry, tmp_path) is None
    assert {registry.jobs.get(each.id).state for each in (unfit, last)} == {"queued"}
    assert registry.jobs.lease("two").id == unfit.id
    assert joined(registry, tmp_path).id == last.id
    assert joined(registry, tmp_path) is None


def test_who_was_begun_before_or_had_a_seat_does_not_join_nor_does_a_tenant_at_its_cap(
    registry, tmp_path
):
    job = enqueue(registry, "acme")
    assert joined(registry, tmp_path, before=[job.id]) is None
    registry.jobs.lease("dead")
    registry.jobs.release(job.id, "dead", failed=True)
    assert joined(registry, tmp_path) is None
    registry.jobs.lease("two", only=[job.id])
    enqueue(registry, "acme")
    assert joined(registry, tmp_path, tenant_jobs=1) is None
    assert joined(registry, tmp_path, tenant_jobs=2) is not None


def test_a_job_that_came_when_the_process_had_ended_was_never_begun(registry, tmp_path):
    """The others' files are broken, so that the process ends by itself; its end is no failure."""
    tasks = []
    for tenant in TENANTS:
        job = enqueue(registry, tenant)
        folder = tmp_path / tenant
        folder.mkdir()
        task = lay_out(registry, settings(tmp_path), job, folder)
        (folder / "training.jsonl").write_text("{}")
        tasks.append((job, folder, task))
    crew = Crew(tasks[:2], 8)
    assert crew.child.wait(60)
    late = crew.join(*tasks[2])
    assert not crew.open
    assert late.exit_code == PAUSED_EXIT
    assert late.outcome() is None
    assert [seat.exit_code for seat in crew.seats.values()] == [0, 0, PAUSED_EXIT]
    for seat in crew.seats.values():
        seat.close()
    assert not any(folder.exists() for _, folder, _ in tasks)


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
def test_one_is_cancelled_one_rests_one_comes_late_and_a_kill_sends_it_on_alone(
    registry, worker, tmp_path
):
    def kept(*jobs):
        return lambda: all(registry.jobs.get(job.id).state_digest for job in jobs)

    first, second = (
        enqueue(registry, tenant, seed, epochs=1000, patience=1000)
        for seed, tenant in enumerate(TENANTS[:2])
    )
    until(kept(first, second), worker, 100)
    pid = worker.child_pid
    third = enqueue(registry, TENANTS[2], 2, epochs=30, patience=1000)
    until(kept(third), worker, 100)
    assert worker.child_pid == pid
    assert "Trains together with 2 others" in messages(registry, third)
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
