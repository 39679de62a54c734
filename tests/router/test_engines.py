"""Engines that refuse, die, come back; clients that leave; a database that is gone."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import openai
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.test_chat import HELLO


async def test_a_killed_engine_gives_503_and_is_used_again_once_it_is_back(
    router: Running, engine: FakeEngine
) -> None:
    async with router.client() as client:
        await client.chat.completions.create(model="triage", messages=HELLO)
        await engine.die()
        for _ in range(5):
            with pytest.raises(openai.InternalServerError) as caught:
                await client.chat.completions.create(model="triage", messages=HELLO)
            assert caught.value.status_code == 503
            assert caught.value.code == "engine_unavailable"
            assert "retry-after" in caught.value.response.headers
        await engine.start()

        async def back() -> bool:
            try:
                await client.chat.completions.create(model="triage", messages=HELLO)
            except openai.InternalServerError:
                return False
            return True

        await until(back, "the engine to be used again")


async def test_requests_under_way_on_a_killed_engine_end_at_once_with_an_error(
    router: Running, engine: FakeEngine
) -> None:
    engine.hang = True
    async with router.client() as client:
        asked = [
            asyncio.ensure_future(client.chat.completions.create(model="triage", messages=HELLO))
            for _ in range(4)
        ]
        await until(lambda: engine.in_flight == 4, "the requests to be under way")
        await engine.die()
        ended = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)
    for error in ended:
        assert isinstance(error, openai.InternalServerError)
        assert error.status_code == 503 and error.code == "engine_unavailable"


async def test_another_replica_answers_for_one_that_refuses(
    router: Running, engine: FakeEngine, world: World
) -> None:
    async with FakeEngine(adapters=set(engine.adapters), api_key=engine.api_key) as other:
        world.engine(other, "engine-1")
        await until(
            lambda: router.value("switchyard_snapshot_revision") >= world.registry.revision(),
            "the other engine to be known",
        )
        await engine.die()
        async with router.client() as client:
            for _ in range(6):
                await client.chat.completions.create(model="triage", messages=HELLO)
        assert len(other.asked()) == 6


async def test_a_replica_where_the_version_is_warm_is_preferred(
    router: Running, engine: FakeEngine, world: World
) -> None:
    live = world.registry.aliases.get("acme", "triage").live
    assert live
    async with FakeEngine(adapters=set(engine.adapters), api_key=engine.api_key) as other:
        world.engine(other, "engine-1")
        world.registry.engines.place("engine-1", live, "warm")
        await until(
            lambda: router.value("switchyard_snapshot_revision") >= world.registry.revision(),
            "the placement to be known",
        )
        async with router.client() as client:
            for _ in range(4):
                await client.chat.completions.create(model="triage", messages=HELLO)
        assert len(other.asked()) == 4 and engine.asked() == []


async def test_a_stream_that_breaks_ends_with_an_error_event(
    router: Running, engine: FakeEngine
) -> None:
    engine.break_stream_after = 2
    engine.slow_ms = 20
    text = ""
    async with router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
    assert text.startswith("triage@")
    assert caught.value.code == "stream_interrupted"
    assert router.value("switchyard_errors_total", tenant="acme", code="stream_interrupted") == 1


async def test_a_client_that_leaves_a_stream_ends_the_engines_work(
    router: Running, engine: FakeEngine
) -> None:
    engine.slow_ms = 50
    engine.answer = lambda model, messages: "word " * 1000
    async with router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        await anext(aiter(stream))
        assert engine.in_flight == 1
        await stream.close()
        await until(lambda: engine.in_flight == 0, "the engine to be told")
    await until(
        lambda: router.value(
            "switchyard_requests_total", tenant="acme", served="adapter", status="499"
        ),
        "the request to be accounted",
    )
    assert router.value("switchyard_in_flight", tenant="acme") == 0


async def test_a_client_that_gives_up_waiting_closes_the_engines_connection(
    router: Running, engine: FakeEngine
) -> None:
    engine.hang = True
    async with router.client(timeout=0.5) as client:
        with pytest.raises(openai.APITimeoutError):
            await client.chat.completions.create(model="triage", messages=HELLO)
    await until(
        lambda: router.value(
            "switchyard_requests_total", tenant="acme", served="adapter", status="499"
        ),
        "the router to notice",
    )


async def test_routing_goes_on_when_the_database_is_gone(
    world: World, engine: FakeEngine, tmp_path: Path
) -> None:
    async with running(world, engine_stale_s=1.0, reload_interval_s=0.1) as router:
        database = tmp_path / "registry.db"
        with sqlite3.connect(database) as raw:
            raw.execute("ALTER TABLE revisions RENAME TO gone")
            raw.execute("ALTER TABLE exchanges RENAME TO gone_too")
        raw.close()
        await until(
            lambda: router.value("switchyard_snapshot_age_seconds") > 1.2, "the snapshot to age"
        )
        async with router.client() as client:
            answer = await client.chat.completions.create(model="triage", messages=HELLO)
        assert answer.model == "triage"
        await until(lambda: router.dropped("registry") > 0, "the loss to show")
        with sqlite3.connect(database) as raw:
            raw.execute("ALTER TABLE gone RENAME TO revisions")
        raw.close()
        await until(
            lambda: router.value("switchyard_snapshot_age_seconds") < 0.5, "the database's return"
        )
