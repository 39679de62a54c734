"""Chat completions through the real SDK, a real server and the fake engine."""

from __future__ import annotations

import openai
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, ENGINE_KEY, Running, World, until

HELLO = [{"role": "user", "content": "my parcel is late"}]


async def test_answers_with_the_tenants_live_version_under_the_name_asked(
    router: Running, engine: FakeEngine, world: World
) -> None:
    live = world.registry.aliases.get("acme", "triage").live
    assert live
    served = f"triage@{live[:12]}"
    async with router.client() as client:
        raw = await client.chat.completions.with_raw_response.create(model="triage", messages=HELLO)
    answer = raw.parse()
    assert answer.choices[0].message.content == f"{served} says: my parcel is late"
    assert answer.model == "triage"
    assert answer.usage and answer.usage.completion_tokens > 0
    assert raw.headers["x-switchyard-tenant"] == "acme"
    assert raw.headers["x-switchyard-version"] == served
    assert raw.headers["x-switchyard-fallback"] == "none"
    assert raw.headers["x-switchyard-asked"] == "triage"
    assert answer.id == "chatcmpl-" + raw.headers["x-request-id"].removeprefix("req_")
    assert engine.asked()[-1]["model"] == served


async def test_streams_the_same_answer(router: Running) -> None:
    async with router.client() as client:
        stream = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.endswith("says: my parcel is late")
    assert {chunk.model for chunk in chunks} == {"triage"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_shows_a_streams_usage_only_to_those_who_asked(
    router: Running, engine: FakeEngine
) -> None:
    async with router.client() as client:
        quiet = await client.chat.completions.create(model="triage", messages=HELLO, stream=True)
        assert [chunk.usage for chunk in [c async for c in quiet] if chunk.usage] == []
        asked = await client.chat.completions.create(
            model="triage", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        last = [chunk async for chunk in asked][-1]
    assert last.choices == [] and last.usage and last.usage.completion_tokens > 0
    assert all(body["stream_options"]["include_usage"] for body in engine.asked())
    assert (
        router.value("switchyard_tokens_total", tenant="acme", kind="completion")
        == 2 * last.usage.completion_tokens
    )


async def test_the_base_the_default_alias_and_an_exact_version_can_be_asked_for(
    router: Running, engine: FakeEngine, world: World
) -> None:
    exact = world.registry.versions.all("acme")[0].served_name
    async with router.client() as client:
        for asked, served in ((BASE, BASE), (exact, exact), ("", exact)):
            answer = await client.chat.completions.create(model=asked, messages=HELLO)
            assert answer.model == (asked or "triage")
            assert engine.asked()[-1]["model"] == served
    async with router.client("solo") as client:
        answer = await client.chat.completions.create(model="", messages=HELLO)
        assert answer.model == BASE


async def test_another_tenants_names_look_like_names_that_do_not_exist(
    router: Running, world: World
) -> None:
    theirs = world.registry.versions.all("lex")[0].served_name
    told = set()
    async with router.client() as client:
        for name in ("clauses", theirs, "nothing-at-all"):
            with pytest.raises(openai.NotFoundError) as caught:
                await client.chat.completions.create(model=name, messages=HELLO)
            assert caught.value.code == "model_not_found"
            told.add(str(caught.value.body).replace(name, "…"))
    assert len(told) == 1


async def test_a_candidate_gets_no_traffic(router: Running, world: World) -> None:
    candidate = world.version("acme", "triage", "triage not yet checked")
    async with router.client() as client:
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model=candidate.served_name, messages=HELLO)


async def test_fields_pass_through_and_those_that_steer_the_engine_do_not(
    router: Running, engine: FakeEngine, world: World
) -> None:
    async with router.client() as client:
        await client.chat.completions.create(
            model="triage",
            messages=HELLO,
            temperature=0.25,
            stop=["\n"],
            seed=7,
            response_format={"type": "json_object"},
            extra_headers={"x-request-id": "mine", "x-data-parallel-rank": "1"},
            extra_body={
                "structured_outputs": {"choice": ["ä", "b"]},
                "of_another_platform": True,
                "cache_salt": "theirs",
                "priority": -1,
                "kv_transfer_params": {"host": "10.0.0.1"},
                "lora_request": {"lora_path": "/etc"},
            },
        )
    body = engine.asked()[-1]
    assert body["temperature"] == 0.25 and body["stop"] == ["\n"] and body["seed"] == 7
    assert body["response_format"] == {"type": "json_object"}
    assert body["structured_outputs"] == {"choice": ["ä", "b"]}
    assert body["cache_salt"] == world.registry.tenants.get("acme").cache_salt
    assert body.keys().isdisjoint(
        {"priority", "kv_transfer_params", "lora_request", "of_another_platform"}
    )
    headers = engine.requests[-1].headers
    assert headers["authorization"] == f"Bearer {ENGINE_KEY}"
    assert headers["x-request-id"] != "mine" and "x-data-parallel-rank" not in headers


async def test_text_completions_take_the_same_way(router: Running, engine: FakeEngine) -> None:
    async with router.client() as client:
        answer = await client.completions.create(model="triage", prompt="hello", max_tokens=3)
    assert answer.model == "triage" and answer.choices[0].text == "xxx"
    assert engine.asked("/v1/completions")[-1]["model"].startswith("triage@")


async def test_a_flipped_alias_is_followed_without_a_restart(
    router: Running, engine: FakeEngine, world: World
) -> None:
    second = world.version("acme", "triage", "triage two")
    engine.adapters.add(second.served_name)
    world.registry.aliases.flip("acme", "triage", second.digest)
    async with router.client() as client:

        async def flipped() -> bool:
            raw = await client.chat.completions.with_raw_response.create(
                model="triage", messages=HELLO
            )
            return raw.headers["x-switchyard-version"] == second.served_name

        await until(flipped, "the alias to be followed")


async def test_models_are_the_tenants_own_and_the_base(router: Running, world: World) -> None:
    own = {"triage", world.registry.versions.all("acme")[0].served_name, BASE}
    async with router.client() as client:
        assert {model.id async for model in client.models.list()} == own
        for name in own:
            assert (await client.models.retrieve(name)).id == name
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("clauses")
    async with router.client("solo") as client:
        assert [model.id async for model in client.models.list()] == [BASE]
