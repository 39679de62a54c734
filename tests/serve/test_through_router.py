"""A real vLLM behind the real router: what only both together can show."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from router.kinds import CHAT, RESPONSES, TEXT
from tests.router.conftest import Running, World, running, until
from tests.serve.conftest import Real
from tests.serve.making import KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

LONG: Any = {"max_tokens": 900, "n": 4, "extra_body": {"ignore_eos": True}}
"""Some seconds of work."""
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
        await until(lambda: ended(real), "the engine to stop", 1.0)

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
            await until(lambda: ended(real), "the engine to stop", 1.0)


async def test_every_api_of_the_engine_answers_through_the_router(
    router: Running, real: Real
) -> None:
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
            await client.responses.create(model=f"nobodys@{'0' * 12}", input="whose?")
    async with aiohttp.ClientSession() as session, session.get(f"{real.engine.url}/health") as got:
        assert got.status == 200


ODD = (
    *("99999999999999999999999", "-99999999999999999999999", "-1", "0", "1e400", "-1e400", "1.5"),
    *("true", '"x"', '""', '"\\u0000"', "[]", "{}", "[[]]", "[null]", "[-1]", "[1.5]", '[""]'),
    *("[99999999999999999999]", '{"99999999999999999999":1}', '{"x":{"y":[]}}', '{"-1":1e400}'),
    *(
        '{"type":"json_schema"}',
        '{"type":"json_schema","json_schema":{"schema":7}}',
        '{"type":"x"}',
    ),
    *('{"type":"structural_tag","format":{}}', '{"format":{"type":"json_schema","schema":[]}}'),
    *('{"regex":"("}', '{"grammar":"root ::= root root"}', '{"choice":[]}', '{"json":"{"}'),
    *('{"max_pattern_size":99999999999999999999,"min_count":2}', '[{"type":"function"}]'),
)


async def test_no_value_of_a_field_makes_the_engine_fail(router: Running, real: Real) -> None:
    """A tenant's request must not look like an engine's failure: breakers would open on it."""
    prompts = {CHAT: b'"messages":[{"role":"user","content":"a"}]', TEXT: b'"prompt":"a"'}
    failed = []
    for kind in (CHAT, TEXT, RESPONSES):
        bound = b"max_output_tokens" if kind is RESPONSES else b"max_tokens"
        for field in sorted(kind.passed - {"model", "stream"}):
            for value in ODD:
                parts = {
                    kind.prompt_field.encode(): prompts.get(kind, b'"input":"a"').partition(b":")[
                        2
                    ],
                    b"model": json.dumps(real.base.name).encode(),
                    bound: b"1",
                    field.encode(): value.encode(),
                }
                raw = b"{%s}" % b",".join(b'"%s":%s' % part for part in parts.items())
                status, body, _ = await router.post(raw, kind.path)
                if status >= 500:
                    failed.append((kind.path, field, value, status, body))
    assert failed == []
