"""A real vLLM behind the real router: what only both together can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest

from registry.names import served_name
from tests.router.conftest import Running, World, running, until
from tests.serve.conftest import Real
from tests.serve.making import KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG = {"max_tokens": 900, "extra_body": {"ignore_eos": True}}
ASKED = [{"role": "user", "content": "the invoice was wrong again"}]


@pytest.fixture
async def router(real: Real) -> AsyncIterator[Running]:
    world = World(real.registry)
    world.keys["acme"] = real.registry.tenants.create_key("acme").secret
    async with running(world, engine_api_key=KEY) as router:
        yield router


async def under_way(real: Real) -> float:
    """vLLM's own figure: requests running or waiting in its scheduler."""
    async with aiohttp.ClientSession() as session, session.get(f"{real.engine.url}/metrics") as got:
        lines = (await got.text()).splitlines()
    names = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(names))


async def ended(real: Real) -> bool:
    return await under_way(real) == 0


async def test_a_client_that_leaves_ends_the_engines_work_within_a_second(
    router: Running, real: Real
) -> None:
    async with router.client() as client:
        stream = await client.chat.completions.create(
            model=real.base.name, messages=ASKED, stream=True, **LONG
        )
        await anext(aiter(stream))
        await until(lambda: under_way(real), "the stream to be under way", 5)
        await stream.close()
        await until(lambda: ended(real), "the engine to stop", 1)

        for call in (
            client.chat.completions.create(model=real.base.name, messages=ASKED, **LONG),
            client.responses.create(
                model=real.base.name,
                input="the invoice",
                max_output_tokens=900,
                extra_body={"ignore_eos": True},
            ),
        ):
            waiting = asyncio.ensure_future(call)
            await until(lambda: under_way(real), "the request to be under way", 5)
            waiting.cancel()
            await until(lambda: ended(real), "the engine to stop", 1)


async def test_every_api_of_the_engine_answers_through_the_router(
    router: Running, real: Real
) -> None:
    name = served_name("triage", real.registry.store.publish(real.good))
    async with router.client() as client:
        model = real.base.name
        whole = await client.responses.create(model=model, input="the invoice", max_output_tokens=4)
        assert (whole.model, whole.id[:5]) == (model, "resp_")
        assert whole.usage and whole.usage.output_tokens == 4
        stream = await client.responses.create(
            model=model, input="the invoice", max_output_tokens=4, stream=True
        )
        events = [event async for event in stream]
        assert events[0].type == "response.created" and events[-1].type == "response.completed"
        texts = await client.completions.create(
            model=model, prompt="the invoice", max_tokens=3, stream=True, echo=False
        )
        chunks = [chunk async for chunk in texts]
        assert {chunk.model for chunk in chunks} == {model}
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await client.embeddings.create(model=model, input="the invoice")
        assert refused.value.code == "endpoint_not_supported"
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model=name, input="not published to this tenant")
    async with aiohttp.ClientSession() as session, session.get(f"{real.engine.url}/health") as got:
        assert got.status == 200
