"""When a version can't be served, the alias's policy decides, and the answer says so."""

from __future__ import annotations

import asyncio

import openai
import pytest

from registry.aliases import Alias
from registry.tenants import Tenant
from registry.versions import Version
from router.fallback import attempts, waits
from router.select import Target
from tests.fake_engine import FakeEngine
from tests.router.conftest import BASE, Running, World, until
from tests.router.test_chat import HELLO


async def served(client: openai.AsyncOpenAI, **options: object) -> tuple[str, str, str]:
    """(version, fallback, model) of an answer to `triage`."""
    raw = await client.chat.completions.with_raw_response.create(
        model="triage", messages=HELLO, **options
    )  # type: ignore[call-overload]
    answer = raw.parse()
    model = answer.model if hasattr(answer, "model") else ""
    return raw.headers["x-switchyard-version"], raw.headers["x-switchyard-fallback"], model


async def known(router: Running) -> None:
    await until(
        lambda: router.value("switchyard_snapshot_revision") >= router.world.registry.revision(),
        "the change to be known",
    )


@pytest.mark.parametrize("trouble", ["unknown to the resolver", "can't be loaded", "marked failed"])
async def test_falls_back_to_base_when_the_version_is_gone(
    router: Running, engine: FakeEngine, world: World, trouble: str
) -> None:
    version = world.registry.versions.all("acme")[0]
    if trouble == "marked failed":
        world.registry.engines.place("engine-0", version.digest, "failed", reason="corrupted")
        await known(router)
    else:
        engine.adapters.clear()
        if trouble == "can't be loaded":
            engine.broken.add(version.served_name)
    async with router.client() as client:
        for stream in (False, True):
            version_header, reason, _ = await served(client, stream=stream)
            assert (version_header, reason) == ("base", "version-unavailable")
        answer = await client.chat.completions.create(model="triage", messages=HELLO)
    assert answer.model == "triage"
    assert engine.asked()[-1]["model"] == BASE
    assert (
        router.value("switchyard_fallbacks_total", tenant="acme", reason="version-unavailable") == 3
    )


async def test_an_alias_without_a_version_is_served_by_the_base(
    router: Running, world: World
) -> None:
    world.registry.adapters.ensure("solo", "notes", BASE)
    world.registry.aliases.ensure("solo", "triage", "notes")
    await known(router)
    async with router.client("solo") as client:
        assert await served(client) == ("base", "no-live-version", "triage")
    await router.server.app.state.recorder.flush()
    exchange = world.registry.exchanges.since(0)[-1]
    assert (exchange.served, exchange.fallback) == ("base", "no-live-version")
    assert (exchange.alias, exchange.adapter, exchange.digest) == ("triage", "notes", None)


async def test_policy_fail_answers_503(router: Running, engine: FakeEngine, world: World) -> None:
    world.registry.aliases.update("acme", "triage", fallback="fail")
    engine.adapters.clear()
    await known(router)
    async with router.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await served(client)
    assert caught.value.status_code == 503 and caught.value.code == "version_unavailable"
    assert "retry-after" in caught.value.response.headers


async def test_policy_previous_serves_the_version_before(
    router: Running, engine: FakeEngine, world: World
) -> None:
    first = world.registry.versions.all("acme")[0]
    second = world.version("acme", "triage", "triage two")
    world.registry.aliases.flip("acme", "triage", second.digest)
    world.registry.aliases.update("acme", "triage", fallback="previous")
    await known(router)
    async with router.client() as client:
        version, reason, model = await served(client)
    assert (version, reason, model) == (first.served_name, "version-unavailable", "triage")


async def test_policy_wait_serves_the_version_once_it_can(
    router: Running, engine: FakeEngine, world: World
) -> None:
    world.registry.aliases.update("acme", "triage", fallback="wait", wait_ms=8000)
    name = world.registry.versions.all("acme")[0].served_name
    engine.adapters.clear()
    await known(router)
    async with router.client() as client:
        asked = asyncio.ensure_future(served(client))
        await until(lambda: len(engine.asked()) >= 2, "it to be tried again")
        engine.adapters.add(name)
        assert await asked == (name, "none", "triage")


async def test_policy_wait_gives_up_in_the_end(
    router: Running, engine: FakeEngine, world: World
) -> None:
    world.registry.aliases.update("acme", "triage", fallback="wait", wait_ms=120)
    engine.adapters.clear()
    await known(router)
    async with router.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await served(client)
    assert caught.value.code == "version_unavailable"


async def test_an_exact_version_never_falls_back(
    router: Running, engine: FakeEngine, world: World
) -> None:
    name = world.registry.versions.all("acme")[0].served_name
    engine.adapters.clear()
    async with router.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(model=name, messages=HELLO)
    assert caught.value.code == "version_unavailable"


def test_what_is_tried_follows_the_policy() -> None:
    live, previous = Version(digest="a" * 64), Version(digest="b" * 64)
    alias = Alias(tenant="t", name="n", adapter="n")

    def order(policy: str, version: Version | None = live) -> list[Version | None]:
        target = Target(
            "n", alias, "n", version=version, previous=previous, policy=policy, wait_ms=5
        )
        assert waits(target) == (policy == "wait")
        return [attempt.version for attempt in attempts(target, version)]

    assert order("base") == [live, None]
    assert order("previous") == [live, previous]
    assert order("fail") == order("wait") == [live]
    assert order("base", None) == [None]
    assert order("previous", None) == [previous]
    assert order("fail", None) == []
    assert [a.version for a in attempts(Target("base"), None)] == [None]
    assert Tenant(name="t").name == "t"
