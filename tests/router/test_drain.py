"""How a router ends: new requests for a while, those under way to their end or an honest error."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import openai
import pytest

from router.settings import RouterSettings
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.test_chat import HELLO

BODY = json.dumps({"model": "triage", "messages": HELLO}).encode()
STREAM = json.dumps({"model": "triage", "messages": HELLO, "stream": True}).encode()


def ending(router: Running) -> None:
    """The router was told to end, as a signal does."""
    router.server.shutdown()


async def ask(session: aiohttp.ClientSession, router: Running, body: bytes) -> tuple[int, Any, Any]:
    headers = {"authorization": f"Bearer {router.world.keys['acme']}"}
    url = f"{router.url}/v1/chat/completions"
    async with session.post(url, data=body, headers=headers) as response:
        return response.status, await response.read(), response.headers


async def test_in_the_grace_time_ready_refuses_and_requests_are_served_on_closing_connections(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, drain_grace_s=30.0) as router, aiohttp.ClientSession() as session:
        status, _, headers = await ask(session, router, BODY)
        assert status == 200 and "connection" not in headers
        ending(router)

        async def refused() -> bool:
            status, body, headers = await router.get("/ready")
            return (
                status == 503
                and body["error"]["code"] == "shutting_down"
                and headers.get("connection") == "close"
            )

        await until(refused, "/ready to refuse")
        status, _, headers = await ask(session, router, BODY)
        assert status == 200, "the load balancer has not noticed yet"
        assert headers["connection"] == "close"
        assert (await router.get("/health"))[0] == 200, "a draining router must not be killed"
        router.server._uvicorn.force_exit = True  # the test need not wait for the grace time


async def test_after_the_grace_time_nobody_new_is_let_in_and_streams_finish(
    world: World, engine: FakeEngine
) -> None:
    engine.slow_ms = 50
    async with running(world, drain_grace_s=0.1, drain_s=20.0) as router:
        client = router.client()
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        chunks = [await anext(aiter(stream))]
        ending(router)

        async def refused() -> bool:
            try:
                await router.get("/health")
            except aiohttp.ClientConnectionError:
                return True
            return False

        await until(refused, "the port to be closed")
        chunks += [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "stop"
        await client.close()


async def test_a_stream_that_outlasts_the_drain_ends_with_an_error_and_without_done(
    world: World, engine: FakeEngine
) -> None:
    engine.slow_ms = 300
    engine.answer = lambda *_: "word " * 200
    async with running(world, drain_s=0.5) as router, aiohttp.ClientSession() as session:
        url = f"{router.url}/v1/chat/completions"
        headers = {"authorization": f"Bearer {world.keys['acme']}"}
        async with session.post(url, data=STREAM, headers=headers) as response:
            seen = await response.content.readany()
            ending(router)
            while data := await response.content.readany():
                seen += data
        events = [e for e in seen.decode().split("\n\n") if e]
        last = json.loads(events[-1].removeprefix("data: "))
        assert last["error"]["code"] == "shutting_down"
        assert "[DONE]" not in seen.decode()
    await until(lambda: engine.in_flight == 0, "the engine to be let go")
    [exchange] = world.registry.exchanges.since(0)
    assert exchange.status == 503


async def test_the_sdk_raises_for_a_stream_that_was_cut_off(
    world: World, engine: FakeEngine
) -> None:
    engine.slow_ms = 300
    engine.answer = lambda *_: "word " * 200
    async with running(world, drain_s=0.5) as router:
        client = router.client()
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        await anext(aiter(stream))
        ending(router)
        with pytest.raises(openai.APIError, match="shutting down"):
            async for _ in stream:
                pass
        await client.close()


async def test_an_answer_that_outlasts_the_drain_is_a_503_that_says_so(
    world: World, engine: FakeEngine
) -> None:
    engine.hang = True
    async with running(world, drain_s=0.5) as router, aiohttp.ClientSession() as session:
        asked = asyncio.create_task(ask(session, router, BODY))
        await until(lambda: engine.in_flight == 1, "the engine to have it")
        ending(router)
        status, body, headers = await asked
        assert status == 503
        assert json.loads(body)["error"]["code"] == "shutting_down"
        assert headers["retry-after"] == "1" and headers["x-request-id"]
        assert headers["connection"] == "close"


async def test_a_body_that_never_comes_does_not_hold_up_the_end(
    world: World, engine: FakeEngine
) -> None:
    async with running(world, drain_s=0.3) as router:
        host, port = router.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        key = world.keys["acme"]
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            "content-length: 100\r\n\r\n{".encode()
        )
        await until(lambda: router.value("switchyard_in_flight", tenant="acme") == 1, "it to start")
        ending(router)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer.startswith(b"HTTP/1.1 503") and b"shutting_down" in answer
        writer.close()


async def test_a_second_signal_does_not_wait_for_anything(world: World, engine: FakeEngine) -> None:
    engine.hang = True
    waiting = {"drain_s": 600.0, "drain_grace_s": 600.0}
    async with running(world, **waiting) as router, aiohttp.ClientSession() as session:
        asked = asyncio.create_task(ask(session, router, BODY))
        await until(lambda: engine.in_flight == 1, "the engine to have it")
        router.server._uvicorn.handle_exit(15, None)
        router.server._uvicorn.handle_exit(15, None)
        status, _, _ = await asked
        assert status == 503


def test_by_default_nothing_is_waited_for_that_a_router_reached_directly_does_not_need() -> None:
    assert RouterSettings().drain_grace_s == 0
