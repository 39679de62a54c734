"""Streams that tell the truth: what was used is accounted, however a request ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import openai
import pytest

from registry.exchanges import Exchange
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, until
from tests.router.test_chat import HELLO


def tokens(router: Running, kind: str) -> float:
    return router.value("switchyard_tokens_total", tenant="acme", kind=kind)


async def exchange(world: World, count: int = 1) -> Exchange:
    def written() -> list[Exchange] | None:
        rows = world.registry.exchanges.since(0, tenant="acme")
        return rows if len(rows) >= count else None

    rows: list[Exchange] = await until(written, "the exchange to be written")
    return rows[-1]


async def test_a_broken_stream_says_what_was_used_and_that_is_accounted(
    router: Running, engine: FakeEngine, world: World
) -> None:
    engine.break_stream_after, engine.slow_ms = 3, 10
    body = {"model": "triage", "messages": HELLO, "stream": True}
    status, text = await router.raw(json.dumps(body).encode())
    assert status == 200 and "[DONE]" not in text
    last = json.loads(text.removesuffix("\n\n").rpartition("\n\n")[2].removeprefix("data: "))
    assert last["error"]["code"] == "stream_interrupted"
    assert last["usage"] == last["error"]["usage"]
    assert last["usage"]["completion_tokens"] == 3 and last["usage"]["estimated"] is True
    assert tokens(router, "completion") == 3
    assert tokens(router, "prompt") == last["usage"]["prompt_tokens"] > 0
    row = await exchange(world)
    assert (row.status, row.completion_tokens) == (502, 3)
    assert row.prompt_tokens == last["usage"]["prompt_tokens"]


async def test_an_abandoned_stream_is_accounted_with_what_was_relayed(
    router: Running, engine: FakeEngine, world: World
) -> None:
    engine.slow_ms = 30
    engine.answer = lambda model, messages: "word " * 500
    async with router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        seen = 0
        async for _ in stream:
            seen += 1
            if seen == 5:
                break
        await stream.close()
    row = await exchange(world)
    assert row.status == 499 and row.finish_reason is None
    assert 4 <= row.completion_tokens < 100 and row.prompt_tokens > 0
    assert tokens(router, "completion") == row.completion_tokens


async def test_a_failure_of_the_engine_after_good_events_comes_after_them(
    router: Running, engine: FakeEngine
) -> None:
    engine.give_up = True
    got: list[str] = []
    async with router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for chunk in stream:
                got.append(chunk.choices[0].delta.content or "")
        assert "".join(got).endswith("my parcel is late")
        assert caught.value.code == "engine_error"
        with pytest.raises(openai.InternalServerError) as whole:
            await client.chat.completions.create(model="triage", messages=HELLO)
        assert (whole.value.status_code, whole.value.code) == (502, "engine_error")


async def test_each_choice_of_several_is_counted(router: Running, engine: FakeEngine) -> None:
    engine.answer = lambda model, messages: "one two three"
    engine.break_stream_after = 2
    async with router.client() as client:
        stream = await client.chat.completions.create(
            model="triage", messages=HELLO, n=3, stream=True
        )
        with pytest.raises(openai.APIError) as caught:
            async for _ in stream:
                pass
    body: Any = caught.value.body
    assert body["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": HELLO}),
        ("/v1/chat/completions", {"messages": HELLO, "stream": True}),
        ("/v1/completions", {"prompt": "late"}),
        ("/v1/completions", {"prompt": "late", "stream": True}),
        ("/v1/responses", {"input": "late"}),
        ("/v1/responses", {"input": "late", "stream": True}),
    ],
)
async def test_a_client_that_leaves_before_the_first_byte_ends_the_engines_work(
    router: Running, engine: FakeEngine, path: str, body: dict[str, Any]
) -> None:
    engine.hang = True
    headers = {"authorization": f"Bearer {router.world.keys['acme']}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        asked = asyncio.ensure_future(
            session.post(router.url + path, json={"model": "triage", **body})
        )
        await until(lambda: engine.in_flight == 1, "the engine to be asked")
        asked.cancel()
        await until(lambda: engine.aborts == 1, "the engine to be told")
    assert engine.in_flight == 0
    await until(
        lambda: router.value(
            "switchyard_requests_total", tenant="acme", served="adapter", status="499"
        ),
        "the request to be accounted",
    )
    assert router.value("switchyard_in_flight", tenant="acme") == 0


async def test_a_client_that_leaves_in_the_middle_of_an_answer_ends_the_engines_work(
    router: Running, engine: FakeEngine
) -> None:
    engine.slow_ms = 30
    engine.answer = lambda model, messages: "word " * 500
    async with router.client() as client:
        responses = await client.responses.create(model="triage", input="late", stream=True)
        texts = await client.completions.create(
            model="triage", prompt="late", max_tokens=500, stream=True
        )
        for number, stream in enumerate((responses, texts)):
            await anext(aiter(stream))
            await stream.close()
            await until(lambda n=number: engine.aborts == n + 1, "the engine to be told")
    assert engine.in_flight == 0


async def test_a_stream_arrives_as_it_is_written_not_at_its_end(
    router: Running, engine: FakeEngine
) -> None:
    engine.answer = lambda model, messages: "one two three four"
    engine.slow_ms = 200
    async with router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        await anext(aiter(stream))
        assert engine.in_flight == 1, "the engine is still writing"
        await stream.close()


async def test_feedback_for_what_is_being_written_is_too_early_and_the_sdk_tries_again(
    router: Running, engine: FakeEngine
) -> None:
    engine.slow_ms = 20
    engine.answer = lambda model, messages: "word " * 20
    headers = {"authorization": f"Bearer {router.world.keys['acme']}"}
    async with router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        first = await anext(aiter(stream))
        feedback = {"completion_id": first.id, "rating": 1}
        with pytest.raises(openai.ConflictError) as early:
            await client.post("/feedback", body=feedback, cast_to=object)
        assert early.value.code == "completion_under_way"
        other = {"authorization": f"Bearer {router.world.keys['lex']}"}
        async with (
            aiohttp.ClientSession(headers=other) as session,
            session.post(router.url + "/v1/feedback", json=feedback) as answer,
        ):
            assert answer.status == 404, "another tenant learns nothing"
        async for _ in stream:
            pass
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(router.url + "/v1/feedback", json=feedback) as answer,
    ):
        assert answer.status == 200
