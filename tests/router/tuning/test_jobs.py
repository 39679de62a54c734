"""Fine-tuning jobs by the openai SDK, moved through the registry's rows as a worker moves them."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, Running, World, running, until
from tests.router.tuning.making import (
    RESOLVED,
    WORKER,
    chat_lines,
    event_messages,
    hold,
    preference_lines,
    train,
)


async def upload(client: openai.AsyncOpenAI, data: bytes | None = None) -> str:
    file = ("rows.jsonl", data or chat_lines())
    return (await client.files.create(file=file, purpose="fine-tune")).id


async def status_of(client: openai.AsyncOpenAI, job_id: str) -> str:
    return (await client.fine_tuning.jobs.retrieve(job_id)).status


async def test_a_job_has_succeeded_when_its_model_answers_on_this_router(
    router: Running, engine: FakeEngine
) -> None:
    registry = router.world.registry
    async with router.client() as client:
        job = await client.fine_tuning.jobs.create(
            model=BASE, training_file=await upload(client), suffix="My Tickets!", seed=7
        )
        assert (job.status, job.seed, job.model) == ("queued", 7, BASE)
        assert (job.organization_id, job.fine_tuned_model) == ("acme", None)
        row = registry.jobs.get(job.id)
        assert (row.adapter, row.trigger) == ("my-tickets", "api")
        assert row.spec == {"objective": "sft", "seed": 7}

        version = train(registry, job.id, checkpoint_step=4)
        waiting = await client.fine_tuning.jobs.retrieve(job.id)
        assert (waiting.status, waiting.fine_tuned_model) == ("running", None)
        events = await client.fine_tuning.jobs.list_events(job.id)
        assert "checking on the engine" in events.data[0].message
        assert not (await client.fine_tuning.jobs.checkpoints.list(job.id)).data

        engine.adapters.add(version.served_name)
        hold(registry, version)
        for early in registry.versions.all("acme", "my-tickets", "candidate", checkpoints=True):
            hold(registry, early)

        async def succeeded() -> bool:
            return await status_of(client, job.id) == "succeeded"

        await until(succeeded, "the router to know the version")
        done = await client.fine_tuning.jobs.retrieve(job.id)
        assert done.fine_tuned_model == version.fine_tuned_name
        assert done.trained_tokens == 1234 and done.finished_at is not None
        assert done.hyperparameters.n_epochs == 3
        answer = await client.chat.completions.create(
            model=done.fine_tuned_model, messages=[{"role": "user", "content": "hello"}]
        )
        assert answer.choices[0].message.content == f"{version.served_name} says: hello"
        events = await client.fine_tuning.jobs.list_events(job.id)
        assert event_messages(events.data)[:2] == [
            "The job has successfully completed",
            "Training has ended: checking on the engine",
        ]

        async def shown() -> Any:
            return (await client.fine_tuning.jobs.checkpoints.list(job.id)).data

        (checkpoint,) = await until(shown, "the checkpoint to be routable")
        assert checkpoint.fine_tuned_model_checkpoint.endswith(":ckpt-step-4")
        assert (checkpoint.step_number, checkpoint.metrics.train_loss) == (4, 0.5)


async def test_a_version_that_the_engine_refuses_makes_the_job_fail(router: Running) -> None:
    registry = router.world.registry
    async with router.client() as client:
        job = await client.fine_tuning.jobs.create(model=BASE, training_file=await upload(client))
        version = train(registry, job.id)
        registry.versions.move(
            version.digest, "rejected", {"rejected_because": "it changes no answer"}
        )
        failed = await client.fine_tuning.jobs.retrieve(job.id)
        assert failed.status == "failed" and failed.error is not None
        assert failed.error.code == "engine_check_failed"
        assert failed.error.message == "it changes no answer"
        assert failed.fine_tuned_model is None
        events = await client.fine_tuning.jobs.list_events(job.id)
        assert events.data[0].message == "Failed: it changes no answer"


async def test_what_went_wrong_in_training_is_told(router: Running) -> None:
    registry = router.world.registry
    async with router.client() as client:
        job = await client.fine_tuning.jobs.create(model=BASE, training_file=await upload(client))
        registry.jobs.lease(WORKER)
        registry.jobs.renew(job.id, WORKER, progress={"eta_s": 60.0})
        assert (await client.fine_tuning.jobs.retrieve(job.id)).estimated_finish is not None
        registry.jobs.fail(job.id, WORKER, "invalid_training_file", "line 3", "training_file")
        failed = await client.fine_tuning.jobs.retrieve(job.id)
    assert failed.status == "failed" and failed.error is not None
    assert (failed.error.code, failed.error.param) == ("invalid_training_file", "training_file")


async def test_auto_is_resolved_once_the_files_are_validated(router: Running) -> None:
    jobs = router.world.registry.jobs
    async with router.client() as client:
        file = await upload(client, preference_lines())
        method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"batch_size": 4}}}
        job = await client.fine_tuning.jobs.create(model=BASE, training_file=file, method=method)
        assert job.hyperparameters.n_epochs == "auto"
        jobs.lease(WORKER)
        assert await status_of(client, job.id) == "validating_files"
        jobs.renew(job.id, WORKER, progress={"phase": "auditing"})
        assert await status_of(client, job.id) == "validating_files"
        jobs.renew(job.id, WORKER, progress={"phase": "training", "hyperparameters": RESOLVED})
        known = await client.fine_tuning.jobs.retrieve(job.id)
        assert known.status == "running"
        assert known.method is not None and known.method.dpo is not None
        assert known.method.dpo.hyperparameters is not None
        assert known.method.dpo.hyperparameters.model_dump() == {**RESOLVED, "batch_size": 4}
        jobs.release(job.id, WORKER)
        assert await status_of(client, job.id) == "queued"
        jobs.lease("another")
        assert await status_of(client, job.id) == "running"


async def test_preferences_and_hyperparameters_reach_the_worker(router: Running) -> None:
    async with router.client() as client:
        file, other = await upload(client, preference_lines()), await upload(client)
        numbers: Any = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 0.5}
        method: Any = {"type": "dpo", "dpo": {"hyperparameters": {**numbers, "beta": 0.2}}}
        job = await client.fine_tuning.jobs.create(
            model=BASE,
            training_file=file,
            validation_file=other,
            method=method,
        )
        row = router.world.registry.jobs.get(job.id)
        assert row.validation_file == other and row.adapter == "fine-tuned"
        assert row.spec == {
            "objective": "dpo",
            "seed": job.seed,
            "epochs": 2,
            "batch_size": 4,
            "learning_rate_multiplier": 0.5,
            "beta": 0.2,
        }
        assert job.method is not None and job.method.dpo is not None
        assert job.method.dpo.hyperparameters is not None
        assert job.method.dpo.hyperparameters.beta == 0.2
        numbers["batch_size"] = "auto"
        legacy = await client.fine_tuning.jobs.create(
            model=BASE, training_file=other, hyperparameters=numbers
        )
        assert router.world.registry.jobs.get(legacy.id).spec["epochs"] == 2
        assert legacy.hyperparameters.batch_size == "auto"


async def test_jobs_pause_resume_and_cancel(router: Running) -> None:
    async with router.client() as client:
        file = await upload(client)
        job = await client.fine_tuning.jobs.create(model=BASE, training_file=file)
        with pytest.raises(openai.ConflictError) as raised:
            await client.fine_tuning.jobs.resume(job.id)
        assert raised.value.code == "conflict"
        paused: str = (await client.fine_tuning.jobs.pause(job.id)).status
        assert paused == "paused"
        with pytest.raises(openai.ConflictError, match=job.id):
            await client.files.delete(file)
        assert (await client.fine_tuning.jobs.resume(job.id)).status == "queued"
        assert (await client.fine_tuning.jobs.cancel(job.id)).status == "cancelled"
        with pytest.raises(openai.ConflictError):
            await client.fine_tuning.jobs.cancel(job.id)
        assert (await client.files.delete(file)).deleted


async def test_jobs_and_events_are_paged_and_found_by_metadata(router: Running) -> None:
    registry = router.world.registry
    async with router.client() as client:
        file = await upload(client)
        ids = []
        for number in range(3):
            job = await client.fine_tuning.jobs.create(
                model=BASE, training_file=file, metadata={"run": str(number), 'k"[x]': "é"}
            )
            ids.append(job.id)
        listed = client.fine_tuning.jobs.list(limit=2)
        assert [job.id async for job in listed] == ids[::-1]
        found = await client.fine_tuning.jobs.list(metadata={"run": "1"})
        assert [job.id for job in found.data] == [ids[1]]
        found = await client.fine_tuning.jobs.list(metadata={'k"[x]': "é"}, limit=2)
        assert len(found.data) == 2 and found.has_more
        bare = await client.fine_tuning.jobs.create(model=BASE, training_file=file)
        found = await client.fine_tuning.jobs.list(extra_query={"metadata": "null"})
        assert [job.id for job in found.data] == [bare.id]
        registry.jobs.cancel(bare.id)
        for number in range(5):
            registry.jobs.tell(ids[0], f"step {number}", kind="metrics", data={"step": number})
        told = [e async for e in client.fine_tuning.jobs.list_events(ids[0], limit=2)]
        steps = [f"step {number}" for number in (4, 3, 2, 1, 0)]
        assert event_messages(told) == [*steps, "Created fine-tuning job"]
        assert (told[0].type, told[0].data) == ("metrics", {"step": 4})
        version = train(registry, ids[0])
        hold(registry, version)

        async def succeeded() -> bool:
            return await status_of(client, ids[0]) == "succeeded"

        await until(succeeded, "the router to know the version")
        for limit in (1, 2, 100):
            told = [e async for e in client.fine_tuning.jobs.list_events(ids[0], limit=limit)]
            assert len({event.id for event in told}) == len(told) == 9, limit


async def test_a_job_from_an_own_model_has_it_to_beat(router: Running) -> None:
    registry = router.world.registry
    (triage,) = registry.versions.all("acme")
    async with router.client() as client:
        file = await upload(client)
        for model in ("triage", triage.fine_tuned_name, triage.served_name):
            job = await client.fine_tuning.jobs.create(model=model, training_file=file)
            row = registry.jobs.get(job.id)
            assert (row.adapter, row.spec["parent"]) == ("triage", triage.digest)
        with pytest.raises(openai.BadRequestError) as raised:
            await client.fine_tuning.jobs.create(model="triage", training_file=file, suffix="x")
        assert raised.value.param == "suffix"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"method": {"type": "reinforcement"}}, "method.type"),
        ({"method": {"type": "other"}}, "method.type"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"n_epochs": 1.5}}, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"batch_size": True}}, "hyperparameters.batch_size"),
        ({"hyperparameters": {"beta": 1}}, "hyperparameters.beta"),
        ({"hyperparameters": {"n_epochs": 10**400}}, "hyperparameters.n_epochs"),
        (
            {"hyperparameters": {"learning_rate_multiplier": "0.1"}},
            "hyperparameters.learning_rate_multiplier",
        ),
        ({"hyperparameters": []}, "hyperparameters"),
        ({"method": "dpo"}, "method"),
        ({"method": {"type": "dpo", "dpo": 0}}, "method.dpo"),
        ({"method": {"type": "dpo", "supervised": {}}}, "method.supervised"),
        ({"model": 1}, "model"),
        ({"model": ""}, "model"),
        ({"training_file": ["file-1"]}, "training_file"),
        ({"training_file": "file-\0"}, "training_file"),
        ({"validation_file": False}, "validation_file"),
        ({"suffix": 7}, "suffix"),
        ({"seed": "7"}, "seed"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"k": 1}}, "metadata"),
        ({"integrations": {}}, "integrations"),
        ({"suffix": "x" * 65}, "suffix"),
        ({"suffix": "!"}, "suffix"),
        ({"seed": -1}, "seed"),
        ({"metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"metadata": {"k" * 65: ""}}, "metadata"),
        ({"metadata": {"k": "v" * 513}}, "metadata"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations"),
        ({"extra_body": {"colour": 1}}, "colour"),
        ({"training_file": "file-unknown"}, "training_file"),
        ({"validation_file": "file-unknown"}, "validation_file"),
        ({"model": "gpt-4o-mini"}, "model"),
        ({"model": "clauses"}, "model"),
    ],
)
async def test_what_can_not_be_is_refused_by_its_name(
    router: Running, fields: dict[str, Any], param: str
) -> None:
    async with router.client() as client:
        asked = {"model": BASE, "training_file": await upload(client)} | fields
        with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as raised:
            await client.fine_tuning.jobs.create(**asked)
        assert raised.value.param == param
        assert not (await client.fine_tuning.jobs.list()).data


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model": "\\ud800"}', b'{"seed": NaN}', b"\xff"])
async def test_what_is_no_json_object_is_refused(router: Running, body: bytes) -> None:
    status, said, _ = await router.post(body, "/v1/fine_tuning/jobs")
    assert (status, said["error"]["code"]) == (400, "invalid_json")
    packed = {"content-encoding": "gzip"}
    status, said, _ = await router.post(body, "/v1/fine_tuning/jobs", **packed)
    assert (status, said["error"]["code"]) == (415, "unsupported_encoding")


async def test_another_tenants_job_looks_like_none(router: Running) -> None:
    async with router.client() as acme, router.client("lex") as lex:
        file = await upload(acme)
        job = await acme.fine_tuning.jobs.create(model=BASE, training_file=file)
        jobs = lex.fine_tuning.jobs
        for act in (jobs.retrieve, jobs.cancel, jobs.pause, jobs.list_events):
            with pytest.raises(openai.NotFoundError):
                await act(job.id)
        with pytest.raises(openai.NotFoundError):
            await jobs.list(after=job.id)
        with pytest.raises(openai.NotFoundError):
            await jobs.create(model=BASE, training_file=file)
        assert not (await jobs.list()).data


async def test_a_job_of_the_platforms_own_is_not_shown(router: Running) -> None:
    job = router.world.registry.jobs.enqueue("acme", "triage", "file-1", trigger="controller")
    async with router.client() as client:
        assert not (await client.fine_tuning.jobs.list()).data
        with pytest.raises(openai.NotFoundError):
            await client.fine_tuning.jobs.cancel(job.id)


async def test_a_request_sent_again_makes_no_second_job(router: Running) -> None:
    async with router.client() as client:
        file = await upload(client)
        key = {"Idempotency-Key": "once"}
        ids = {
            (
                await client.fine_tuning.jobs.create(
                    model=BASE, training_file=file, extra_headers=key
                )
            ).id
            for _ in range(2)
        }
        assert len(ids) == 1


async def test_only_so_many_jobs_at_once(world: World, engine: FakeEngine) -> None:
    async with (
        running(world, max_active_jobs=1) as router,
        router.client(max_retries=2) as client,
        router.client("lex") as lex,
    ):
        file = await upload(client)
        job = await client.fine_tuning.jobs.create(model=BASE, training_file=file)
        with pytest.raises(openai.RateLimitError) as raised:
            await client.fine_tuning.jobs.create(model=BASE, training_file=file)
        assert raised.value.code == "too_many_jobs"
        assert raised.value.response.headers["x-should-retry"] == "false"
        await lex.fine_tuning.jobs.create(model=BASE, training_file=await upload(lex))
        await client.fine_tuning.jobs.cancel(job.id)
        await client.fine_tuning.jobs.create(model=BASE, training_file=file)


async def test_a_model_is_deleted_unless_an_alias_stands_for_it(router: Running) -> None:
    registry = router.world.registry
    (live,) = registry.versions.all("acme")
    held = router.world.version("acme", "triage", "triage two")
    hold(registry, held)
    async with router.client() as client:

        async def known() -> bool:
            return held.served_name in {model.id async for model in client.models.list()}

        await until(known, "the router to know the version")
        with pytest.raises(openai.ConflictError, match="triage"):
            await client.models.delete(live.fine_tuned_name)
        for name in ("triage", BASE):
            with pytest.raises(openai.BadRequestError):
                await client.models.delete(name)
        with pytest.raises(openai.NotFoundError):
            await client.models.delete("clauses")
        assert (await client.models.delete(held.fine_tuned_name)).deleted
        assert registry.versions.get(held.digest).state == "rejected"
