"""`/v1/responses`, `/v1/embeddings`, `/v1/completions`: a chat's way, each in its own shape."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, ENGINE_KEY, Running, World, running, until
from tests.router.test_errors import is_error


def tokens(router: Running, kind: str) -> float:
    return router.value("switchyard_tokens_total", tenant="acme", kind=kind)


async def test_a_response_is_the_tenants_version_under_the_name_asked(
    router: Running, engine: FakeEngine, world: World
) -> None:
    async with router.client() as client:
        raw = await client.responses.with_raw_response.create(
            model="triage", input="my parcel is late", store=True
        )
        answer = raw.parse()
    assert answer.model == "triage"
    assert answer.id == "resp_" + raw.headers["x-request-id"].removeprefix("req_")
    assert answer.output_text.endswith("says: my parcel is late")
    assert raw.headers["x-switchyard-version"].startswith("triage@")
    (asked,) = engine.asked("/v1/responses")
    assert asked["model"].startswith("triage@") and asked["store"] is False
    assert asked["cache_salt"] == world.registry.tenants.get("acme").cache_salt
    assert answer.usage is not None
    assert tokens(router, "prompt") == answer.usage.input_tokens
    assert tokens(router, "completion") == answer.usage.output_tokens


async def test_a_response_streams_named_events_and_names_nothing_internal(
    router: Running, engine: FakeEngine
) -> None:
    async with router.client() as client:
        stream = await client.responses.create(
            model="triage", instructions="be brief", input="my parcel is late", stream=True
        )
        events = [event async for event in stream]
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    nested = [event.response for event in events if hasattr(event, "response")]
    assert len(nested) == 3 and {response.model for response in nested} == {"triage"}
    assert len({response.id for response in nested}) == 1
    served = engine.asked("/v1/responses")[0]["model"]
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == f"{served} says: my parcel is late"  # the fake engine's own words
    others = [event.to_json() for event in events if "delta" not in event.type]
    assert not any('"model": "triage@' in event for event in others)
    usage = nested[-1].usage
    assert usage is not None and tokens(router, "completion") == usage.output_tokens


async def test_a_response_is_recorded_like_a_chat(router: Running, world: World) -> None:
    async with router.client() as client:
        whole = await client.responses.create(model="triage", input="parcel one")
        stream = await client.responses.create(model="triage", input="parcel two", stream=True)
        last = [event async for event in stream][-1]
    assert last.type == "response.completed"
    ids = {whole.id: "parcel one", last.response.id: "parcel two"}

    def recorded() -> Any:
        rows = world.registry.exchanges.since(0, tenant="acme")
        return rows if {row.id for row in rows} >= ids.keys() else None

    for row in await until(recorded, "both to be recorded"):
        assert row.messages == {"messages": [{"role": "user", "content": ids[row.id]}]}
        assert row.answer is not None and row.answer.endswith(f"says: {ids[row.id]}")
        assert row.completion_tokens > 0 and row.sketch


async def test_a_response_that_breaks_ends_with_an_error_event_and_the_usage_so_far(
    router: Running, engine: FakeEngine
) -> None:
    engine.break_stream_after, engine.slow_ms = 2, 20
    seen: list[Any] = []
    async with router.client() as client:
        stream = await client.responses.create(model="triage", input="one two three", stream=True)
        with pytest.raises(openai.APIError) as caught:
            async for event in stream:
                seen.append(event)
    assert [event.type for event in seen].count("response.output_text.delta") == 2
    assert "response.completed" not in [event.type for event in seen]
    assert caught.value.code == "stream_interrupted"
    body: Any = caught.value.body
    assert body["usage"]["output_tokens"] == 2 and body["usage"]["estimated"] is True
    assert tokens(router, "completion") == 2 and tokens(router, "prompt") > 0


async def test_the_error_event_is_in_this_apis_own_shape(
    router: Running, engine: FakeEngine
) -> None:
    engine.break_stream_after = 1
    status, text = await router.raw(
        b'{"model":"triage","input":"one two","stream":true}', "/v1/responses"
    )
    assert status == 200
    *events, last, end = text.split("\n\n")
    name, _, data = last.partition("\n")
    assert (name, end) == ("event: error", "")
    error = json.loads(data.removeprefix("data: "))
    assert error["type"] == "error" and error["code"] == "stream_interrupted" and error["message"]
    assert error["sequence_number"] == len(events)


async def test_nothing_is_kept_so_nothing_can_be_had_by_id(router: Running) -> None:
    async with router.client() as client, router.client("lex") as other:
        made = await client.responses.create(model="triage", input="hello", store=True)
        for who in (client, other):
            for ask in (
                who.responses.retrieve(made.id),
                who.responses.cancel(made.id),
                who.responses.delete(made.id),
            ):
                with pytest.raises(openai.NotFoundError) as caught:
                    await ask
                assert caught.value.code == "response_not_found"
        for field, value in {"previous_response_id": made.id, "background": True}.items():
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(model="triage", input="hi", **{field: value})
            assert (refused.value.code, refused.value.param) == ("unsupported_parameter", field)
    status, body, _ = await router.get(f"/v1/responses/{made.id}")
    assert status == 401 and is_error(body, "invalid_api_key")


class Imposter(FakeEngine):
    """Answers as the base, whatever it was asked."""

    embeds = True

    def _check_model(self, body: Any) -> None:
        body["model"] = self.base


async def test_another_models_response_is_an_error(world: World) -> None:
    async with Imposter(api_key=ENGINE_KEY, embeds=True) as engine:
        world.engine(engine)
        async with running(world) as router, router.client() as client:
            for ask in (
                client.responses.create(model="triage", input="hello"),
                client.responses.create(model="triage", input="hello", stream=True),
                client.embeddings.create(model="triage", input="hello"),
                client.completions.create(model="triage", prompt="hello", stream=True),
            ):
                with pytest.raises(openai.InternalServerError) as caught:
                    await ask
                assert caught.value.code == "served_by_another_model"


async def test_an_engine_that_generates_says_that_it_makes_no_embeddings(
    router: Running, engine: FakeEngine
) -> None:
    async with router.client() as client:
        for model in ("triage", BASE):
            with pytest.raises(openai.PermissionDeniedError) as caught:
                await client.embeddings.create(model=model, input="hello")
            assert caught.value.code == "endpoint_not_supported"
            assert "makes no embeddings" in caught.value.message and model in caught.value.message
        await client.chat.completions.create(
            model="triage", messages=[{"role": "user", "content": "hi"}]
        )


@pytest.fixture
async def embedder(world: World) -> AsyncIterator[FakeEngine]:
    names = {version.served_name for version in world.registry.versions.all()}
    async with FakeEngine(adapters=names, api_key=ENGINE_KEY, embeds=True) as engine:
        world.engine(engine)
        yield engine


async def test_embeddings_pass_where_the_engine_makes_them(
    world: World, embedder: FakeEngine
) -> None:
    async with running(world) as router, router.client() as client:
        answer = await client.embeddings.create(
            model="triage", input=["one", "two"], encoding_format="float"
        )
        assert answer.model == "triage" and len(answer.data) == 2
        assert answer.data[0].embedding == [0.5, -0.25]
        assert tokens(router, "prompt") == answer.usage.prompt_tokens > 0
        assert tokens(router, "completion") == 0
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(model="triage", input=[])
        assert caught.value.code == "empty_array"


async def test_texts_stream_under_the_clients_names(router: Running, engine: FakeEngine) -> None:
    async with router.client() as client:
        stream = await client.completions.create(
            model="triage", prompt="late", max_tokens=5, stream=True
        )
        chunks = [chunk async for chunk in stream]
    assert {chunk.model for chunk in chunks} == {"triage"}
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].id.startswith("cmpl-")
    assert "".join(chunk.choices[0].text for chunk in chunks) == "x" * 5
    assert chunks[-1].choices[0].finish_reason == "length"
    assert tokens(router, "completion") == 5
