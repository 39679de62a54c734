"""A registry that takes for ever: records are dropped and counted, and requests never are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from registry import Registry
from router.recorder import Recorder
from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, ENGINE_KEY, Running, World, running, until
from tests.router.test_chat import HELLO

FEEDBACK = "/v1/feedback"


@pytest.fixture
def slow_world(registry: Registry) -> World:
    """A tenant with a live version, on either database."""
    world = World(registry)
    world.tenant("acme", store_text=True)
    world.version("acme", "triage", "triage one", live="triage")
    return world


@pytest.fixture
async def slow_engine(slow_world: World) -> AsyncIterator[FakeEngine]:
    names = {version.served_name for version in slow_world.registry.versions.all()}
    async with FakeEngine(base=BASE, adapters=names, api_key=ENGINE_KEY) as engine:
        slow_world.engine(engine)
        yield engine


@contextmanager
def held_up(registry: Registry) -> Iterator[None]:
    """Nobody else can write exchanges for as long as this lasts."""
    lock = "LOCK TABLE exchanges IN ACCESS EXCLUSIVE MODE"
    with registry.database.write() as session:
        # SQLite has one lock for all writers, taken at a transaction's first statement.
        session.execute(text("SELECT 1" if registry.database.is_sqlite else lock))
        yield


async def chats(router: Running, count: int, **options: Any) -> list[str]:
    """So many answers; their ids."""
    async with router.client() as client:
        return [
            (await client.chat.completions.create(model="triage", messages=HELLO, **options)).id
            for _ in range(count)
        ]


async def test_while_the_registry_hangs_requests_go_on_and_records_are_dropped_and_counted(
    slow_world: World, slow_engine: FakeEngine
) -> None:
    settings = {"record_queue": 5, "record_batch": 2, "feedback_timeout_s": 0.3}
    async with running(slow_world, **settings) as router:
        with held_up(slow_world.registry):
            ids = await chats(router, 20)
            dropped = router.dropped("queue")
            assert 20 - 5 - 2 <= dropped < 20, "what waits and what is being written"
            body = f'{{"completion_id":"{ids[0]}","rating":1}}'.encode()
            for _ in range(3):
                status, answer, headers = await router.post(body, FEEDBACK)
                assert status == 503 and answer["error"]["code"] == "registry_unavailable"
                assert headers["retry-after"]
            await chats(router, 1)
        dropped = router.dropped("queue")
        rows = slow_world.registry.exchanges
        await until(lambda: len(rows.since(0)) == 21 - dropped, "what waited to be written")
        assert ids[0] in [row.id for row in rows.since(0)]
        status, answer, _ = await router.post(body, FEEDBACK)
        assert status == 200 and answer["rating"] == 1


async def test_what_waits_for_the_registry_is_bounded_in_bytes(
    world: World, engine: FakeEngine
) -> None:
    engine.answer = lambda _model, _messages: "word " * 600
    async with running(world, record_queue_bytes=16_000, record_interval_s=60.0) as router:
        recorder: Recorder = router.server.app.state.recorder
        await chats(router, 12)
        dropped = router.dropped("queue")
        assert 0 < dropped < 12
        assert 0 < recorder._held <= 16_000
        await recorder.flush()
        assert recorder._held == 0
        assert len(world.registry.exchanges.since(0)) == 12 - dropped
        engine.answer = lambda _model, _messages: "word " * 6000
        await chats(router, 1)
        await recorder.flush()
        row = world.registry.exchanges.since(0)[-1]
        assert (row.answer, row.answer_chars) == (None, None), "too long by itself"
        assert row.completion_tokens > 0
        assert router.dropped("queue") == dropped


async def test_a_router_ends_although_its_registry_hangs(world: World, engine: FakeEngine) -> None:
    async with running(world, record_interval_s=60.0) as router:
        recorder: Recorder = router.server.app.state.recorder
        await chats(router, 3)
        with held_up(world.registry):
            await recorder.shutdown(timeout=0.2)
            assert router.dropped("registry") == 3


async def test_feedback_reaches_an_exchange_that_another_process_has_yet_to_write(
    world: World, engine: FakeEngine
) -> None:
    patient = {"feedback_wait_s": 60.0, "feedback_timeout_s": 60.0}
    async with (
        running(world, record_interval_s=0.5) as one,
        running(world, **patient) as other,
    ):
        [id_] = await chats(one, 1)
        body = f'{{"completion_id":"{id_}","label":"wrong"}}'.encode()
        status, answer, _ = await other.post(body, FEEDBACK)
        assert status == 200 and answer["label"] == "wrong"


async def test_late_feedback_finds_the_version_that_answered(
    world: World, engine: FakeEngine
) -> None:
    first = world.registry.aliases.get("acme", "triage").live
    async with running(world) as router:
        [id_] = await chats(router, 1)
        version = world.version("acme", "triage", "triage two", live="triage")
        assert world.registry.aliases.get("acme", "triage").live == version.digest != first
        body = f'{{"completion_id":"{id_}","rating":-1,"correction":"billing"}}'.encode()
        said = [await router.post(body, FEEDBACK) for _ in range(2)]
    assert [status for status, _, _ in said] == [200, 200]
    assert said[0][1] == said[1][1], "said twice is said once"
    [row] = world.registry.corrections.of("acme", "triage")
    assert (row.digest, row.correction) == (first, "billing")
