"""The queue: no job is worked on by two, none is lost with a worker that died."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry import Registry
from registry.errors import InvalidTransition, LeaseLost, NotFound
from tests.registry.making import digest_of, make_job

WORKER = """
import json, sys
from registry import Registry

registry = Registry.open(sys.argv[1], sys.argv[2])
taken = []
while job := registry.jobs.lease(sys.argv[3], seconds=600):
    taken.append(job.id)
    registry.jobs.renew(job.id, sys.argv[3], progress={"step": 1})
    registry.jobs.succeed(job.id, sys.argv[3], "0" * 64)
print(json.dumps(taken))
"""


@pytest.fixture
def queue(registry: Registry) -> Registry:
    """A registry with a tenant, so that there can be jobs."""
    registry.tenants.create("acme")
    return registry


def test_jobs_are_taken_oldest_first(queue: Registry) -> None:
    ids = [make_job(queue) for _ in range(3)]
    taken = [queue.jobs.lease("worker-1") for _ in range(4)]
    assert [job.id if job else None for job in taken] == [*ids, None]


def test_a_taken_job_says_who_has_it_and_since_when(queue: Registry) -> None:
    make_job(queue)
    job = queue.jobs.lease("worker-1", seconds=60)
    assert job is not None
    assert (job.state, job.lease_owner, job.attempts) == ("running", "worker-1", 1)
    assert job.started_at is not None
    assert job.lease_until is not None
    assert job.lease_until == pytest.approx(job.started_at + 60)


def test_a_job_whose_worker_fell_silent_is_taken_over(queue: Registry) -> None:
    job_id = make_job(queue)
    first = queue.jobs.lease("worker-1", seconds=-1)  # a lease that has run out already
    assert first is not None
    second = queue.jobs.lease("worker-2", seconds=60)
    assert second is not None
    assert (second.id, second.lease_owner, second.attempts) == (job_id, "worker-2", 2)
    assert second.started_at == first.started_at, "the job began once"
    assert queue.jobs.lease("worker-3") is None
    assert [(e.level, e.message) for e in queue.jobs.events(job_id)] == [
        ("info", "Created fine-tuning job"),
        ("info", "Started by worker-1"),
        ("warn", "Taken over by worker-2"),
    ]


def test_a_worker_that_lost_its_lease_can_do_nothing_more(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1", seconds=-1)
    queue.jobs.lease("worker-2", seconds=60)
    for act in (
        lambda: queue.jobs.renew(job_id, "worker-1", progress={"step": 9}),
        lambda: queue.jobs.succeed(job_id, "worker-1", digest_of(1)),
        lambda: queue.jobs.fail(job_id, "worker-1", "code", "message"),
        lambda: queue.jobs.cancelled(job_id, "worker-1"),
        lambda: queue.jobs.release(job_id, "worker-1"),
    ):
        with pytest.raises(LeaseLost, match="is not held by worker 'worker-1'"):
            act()
    job = queue.jobs.get(job_id)
    assert (job.state, job.lease_owner, job.progress) == ("running", "worker-2", {})


def test_a_late_worker_keeps_its_job_if_nobody_took_it(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1", seconds=-1)
    queue.jobs.renew(job_id, "worker-1", seconds=60)
    assert queue.jobs.lease("worker-2") is None


def test_news_is_kept_with_the_lease(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.renew(job_id, "worker-1", progress={"step": 3, "loss": 0.5})
    queue.jobs.renew(job_id, "worker-1")
    assert queue.jobs.get(job_id).progress == {"step": 3, "loss": 0.5}


def test_a_released_job_is_there_for_the_next_worker(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.release(job_id, "worker-1")
    job = queue.jobs.lease("worker-2")
    assert job is not None
    assert (job.id, job.lease_owner) == (job_id, "worker-2")


def test_a_finished_job_is_never_taken_again(queue: Registry) -> None:
    for end in ("succeed", "fail", "cancelled"):
        job_id = make_job(queue)
        queue.jobs.lease("worker-1", seconds=-1)
        arguments = {"succeed": (digest_of(1),), "fail": ("bad_file", "line 3: no messages")}
        job = getattr(queue.jobs, end)(job_id, "worker-1", *arguments.get(end, ()))
        assert job.finished_at is not None
        assert job.lease_owner is None
    assert queue.jobs.lease("worker-2") is None
    assert [job.state for job in queue.jobs.all("acme")] == ["cancelled", "failed", "succeeded"]
    assert queue.jobs.all(active=True) == []


def test_why_a_job_failed_is_told_in_the_openai_shape(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.fail(job_id, "worker-1", "invalid_training_file", "line 3: no messages", "messages")
    assert queue.jobs.get(job_id).error == {
        "code": "invalid_training_file",
        "message": "line 3: no messages",
        "param": "messages",
    }
    assert queue.jobs.events(job_id)[-1].message == "Failed: line 3: no messages"


def test_a_waiting_job_is_cancelled_at_once_and_a_running_one_is_asked(queue: Registry) -> None:
    running, waiting = make_job(queue), make_job(queue)
    queue.jobs.lease("worker-1")
    assert queue.jobs.cancel(waiting).state == "cancelled"
    assert queue.jobs.cancel(running).state == "running"
    assert queue.jobs.renew(running, "worker-1").cancel_requested
    assert queue.jobs.cancelled(running, "worker-1").state == "cancelled"
    with pytest.raises(InvalidTransition, match="is 'cancelled' and can't become 'cancelled'"):
        queue.jobs.cancel(running)
    with pytest.raises(NotFound):
        queue.jobs.cancel("ftjob-nothing")


def test_a_cancelled_job_that_was_put_back_is_not_started_again(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.cancel(job_id)
    queue.jobs.release(job_id, "worker-1")
    assert queue.jobs.lease("worker-2") is None
    assert queue.jobs.get(job_id).state == "cancelled"


def test_a_key_makes_one_job_however_often_and_by_how_many_it_is_asked_for(
    queue: Registry,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = {*pool.map(lambda _: make_job(queue, key="acme/tickets/3"), range(16))}
    assert len(ids) == 1
    assert len(queue.jobs.all()) == 1
    assert make_job(queue, key="acme/tickets/4") not in ids


def test_many_threads_never_take_the_same_job(queue: Registry) -> None:
    ids = {make_job(queue) for _ in range(24)}
    start = threading.Barrier(8)

    def work(number: int) -> list[str]:
        taken = []
        start.wait()
        while job := queue.jobs.lease(f"worker-{number}", seconds=600):
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [job for jobs in pool.map(work, range(8)) for job in jobs]
    assert len(taken) == len(ids)
    assert {*taken} == ids


def test_many_processes_never_take_the_same_job(
    queue: Registry, database_url: str, store_url: str
) -> None:
    ids = {make_job(queue) for _ in range(24)}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, database_url, store_url, f"worker-{number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    taken = [job for worker in workers for job in json.loads(worker.communicate(timeout=240)[0])]
    assert [worker.returncode for worker in workers] == [0] * 3
    assert len(taken) == len(ids)
    assert {*taken} == ids
    assert {job.state for job in queue.jobs.all()} == {"succeeded"}


def test_events_can_be_followed_by_number(queue: Registry) -> None:
    job_id = make_job(queue)
    other = make_job(queue)
    queue.jobs.tell(job_id, "Step 1", kind="metrics", data={"loss": 1.5})
    queue.jobs.tell(other, "Elsewhere")
    events = queue.jobs.events(job_id)
    assert [e.message for e in events] == ["Created fine-tuning job", "Step 1"]
    assert events[-1].data == {"loss": 1.5}
    queue.jobs.tell(job_id, "Step 2")
    assert [e.message for e in queue.jobs.events(job_id, after=events[-1].number)] == ["Step 2"]


def test_checkpoints_are_listed_newest_first(queue: Registry) -> None:
    job_id = make_job(queue)
    for step in (10, 20):
        queue.jobs.add_checkpoint(job_id, step, {"train_loss": 1 / step}, digest_of(step))
    assert [c.step for c in queue.jobs.checkpoints(job_id)] == [20, 10]


def test_jobs_are_listed_by_tenant_and_adapter(queue: Registry) -> None:
    queue.tenants.create("lex")
    mine, theirs = make_job(queue), make_job(queue, tenant="lex")
    assert [job.id for job in queue.jobs.all("acme")] == [mine]
    assert [job.id for job in queue.jobs.all("lex", "tickets", active=True)] == [theirs]
    assert queue.jobs.all("lex", "other") == []


def test_a_waiting_job_pauses_at_once_and_is_not_taken_until_it_is_resumed(queue: Registry) -> None:
    job_id = make_job(queue)
    assert queue.jobs.pause(job_id).state == "paused"
    assert queue.jobs.lease("worker-1") is None
    assert queue.jobs.resume(job_id).state == "queued"
    taken = queue.jobs.lease("worker-1")
    assert taken is not None and taken.id == job_id


def test_a_running_job_pauses_when_its_worker_has_come_to_rest(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    assert queue.jobs.pause(job_id).state == "running"
    assert queue.jobs.renew(job_id, "worker-1").pause_requested
    queue.jobs.keep_state(job_id, "worker-1", digest_of("state"))
    assert queue.jobs.paused(job_id, "worker-1").state == "paused"
    assert queue.jobs.resume(job_id).state_digest == digest_of("state")
    with pytest.raises(LeaseLost):
        queue.jobs.keep_state(job_id, "worker-1", digest_of("state"))


def test_a_pause_that_is_taken_back_in_time_never_happens(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.pause(job_id)
    queue.jobs.resume(job_id)
    assert not queue.jobs.renew(job_id, "worker-1").pause_requested


def test_a_job_put_back_while_it_was_to_pause_is_paused(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.pause(job_id)
    queue.jobs.release(job_id, "worker-1")
    assert queue.jobs.get(job_id).state == "paused"


def test_what_is_over_or_ending_does_not_pause_and_what_is_not_paused_does_not_resume(
    queue: Registry,
) -> None:
    job_id = make_job(queue)
    with pytest.raises(InvalidTransition):
        queue.jobs.resume(job_id)
    queue.jobs.lease("worker-1")
    queue.jobs.cancel(job_id)
    with pytest.raises(InvalidTransition, match="being cancelled"):
        queue.jobs.pause(job_id)
    queue.jobs.cancelled(job_id, "worker-1")
    with pytest.raises(InvalidTransition):
        queue.jobs.pause(job_id)
    with pytest.raises(NotFound):
        queue.jobs.pause("ftjob-none")


def test_a_paused_job_can_be_cancelled(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.pause(job_id)
    assert queue.jobs.cancel(job_id).state == "cancelled"


def test_higher_priority_goes_first(queue: Registry) -> None:
    low, high = (
        queue.jobs.enqueue("acme", "tickets", "file-1", priority=priority).id for priority in (0, 5)
    )
    taken = [queue.jobs.lease("worker-1") for _ in range(2)]
    assert [job.id if job else None for job in taken] == [high, low]


def _take(queue: Registry, count: int, **options: int) -> list[str | None]:
    """The tenants whose jobs are leased one after the other."""
    jobs = [queue.jobs.lease(f"worker-{n}", 60, **options) for n in range(count)]
    return [job.tenant if job else None for job in jobs]


def test_a_tenant_with_many_jobs_does_not_keep_anothers_one_waiting(queue: Registry) -> None:
    queue.tenants.create("lex")
    for _ in range(20):
        make_job(queue)
    make_job(queue, tenant="lex")
    assert _take(queue, 3) == ["acme", "lex", "acme"]


def test_among_tenants_that_run_nothing_the_one_that_waited_longest_is_next(
    queue: Registry,
) -> None:
    queue.tenants.create("lex")
    for tenant in ("acme", "acme", "acme", "lex", "lex"):
        make_job(queue, tenant=tenant)
    order = []
    while job := queue.jobs.lease("worker-1"):
        order.append(job.tenant)
        queue.jobs.succeed(job.id, "worker-1", digest_of(1))
    assert order == ["acme", "lex", "acme", "lex", "acme"]


def test_a_tenant_has_no_more_jobs_running_than_it_may(queue: Registry) -> None:
    queue.tenants.create("lex")
    ids = [make_job(queue) for _ in range(4)]
    make_job(queue, tenant="lex")
    assert _take(queue, 4, tenant_jobs=2) == ["acme", "lex", "acme", None]
    queue.jobs.succeed(ids[0], "worker-0", digest_of(1))
    assert _take(queue, 2, tenant_jobs=2) == ["acme", None]


def test_whose_turn_it_is_can_be_seen_without_taking_it(queue: Registry) -> None:
    def whose(**cap: int) -> str | None:
        job = queue.jobs.next(**cap)
        return None if job is None else job.id

    assert whose() is None
    first, second = make_job(queue), make_job(queue)
    assert whose(tenant_jobs=1) == first
    queue.jobs.lease("worker-1")
    assert whose() == second
    assert whose(tenant_jobs=1) is None
    assert queue.jobs.get(second).state == "queued"


def test_priority_goes_before_fairness_and_the_cap_before_priority(queue: Registry) -> None:
    queue.tenants.create("lex")
    make_job(queue, tenant="lex")
    for _ in range(3):
        queue.jobs.enqueue("acme", "tickets", "file-1", priority=1)
    assert _take(queue, 4, tenant_jobs=2) == ["acme", "acme", "lex", None]


def test_a_job_whose_worker_fell_silent_does_not_count_against_its_tenant(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1", -1)
    taken = queue.jobs.lease("worker-2", 60, tenant_jobs=1)
    assert taken is not None and taken.id == job_id
    make_job(queue)
    assert queue.jobs.lease("worker-3", 60, tenant_jobs=1) is None


def test_many_threads_together_keep_to_a_tenants_cap(queue: Registry) -> None:
    for _ in range(12):
        make_job(queue)
    start = threading.Barrier(6)

    def work(number: int) -> bool:
        start.wait()
        return queue.jobs.lease(f"worker-{number}", 600, tenant_jobs=2) is not None

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) == 2


def test_a_job_that_gets_on_is_begun_anew_as_often_as_it_takes(queue: Registry) -> None:
    job_id = make_job(queue)
    for step in range(3):
        taken = queue.jobs.lease(f"worker-{step}", -1)
        assert taken is not None and taken.attempts == 1
        queue.jobs.keep_state(job_id, f"worker-{step}", digest_of(f"state {step}"))
    for attempt in (1, 2):
        taken = queue.jobs.lease("worker-9", -1)
        assert taken is not None and taken.attempts == attempt


def test_an_attempt_counts_only_if_it_failed(queue: Registry) -> None:
    job_id = make_job(queue)
    for failed, attempts in ((False, 0), (True, 1), (True, 2), (False, 2)):
        queue.jobs.lease("worker-1")
        queue.jobs.release(job_id, "worker-1", failed=failed)
        assert queue.jobs.get(job_id).attempts == attempts


def test_a_state_is_forgotten_only_if_it_is_still_the_jobs(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.keep_state(job_id, "worker-1", digest_of("new"))
    queue.jobs.forget_state(job_id, digest_of("old"))
    assert queue.jobs.get(job_id).state_digest == digest_of("new")
    queue.jobs.forget_state(job_id, digest_of("new"))
    assert queue.jobs.get(job_id).state_digest is None
    with pytest.raises(NotFound):
        queue.jobs.forget_state("ftjob-none", digest_of("new"))


def test_a_checkpoint_that_is_told_twice_is_one(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.add_checkpoint(job_id, 10, {"train_loss": 1.0})
    queue.jobs.add_checkpoint(job_id, 10, {"train_loss": 1.0}, digest_of(10))
    assert [c.digest for c in queue.jobs.checkpoints(job_id)] == [digest_of(10)]


def test_a_finished_job_names_the_files_that_it_made(queue: Registry) -> None:
    job_id = make_job(queue)
    queue.jobs.lease("worker-1")
    queue.jobs.succeed(job_id, "worker-1", digest_of(1), files=["file-1"])
    assert queue.jobs.get(job_id).result_files == ["file-1"]
