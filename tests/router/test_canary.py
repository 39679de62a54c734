"""Canaries: a share of conversations, each with one version from its first turn to its last."""

from __future__ import annotations

import asyncio

import openai
import pytest

from registry.aliases import Alias
from registry.versions import Version
from router.select import Target, choose
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, until

CONVERSATIONS = 200


def share_within(count: int, total: int, share: float) -> bool:
    """Within four standard deviations of a binomial share."""
    return bool(abs(count - total * share) <= 4 * (total * share * (1 - share)) ** 0.5)


async def canary(
    router: Running, engine: FakeEngine, weight: float, **fields: object
) -> tuple[str, str]:
    """Served names of (live, canary) of acme's `triage`, once the router knows."""
    world = router.world
    live = next(v for v in world.registry.versions.all("acme") if v.state == "live")
    made = world.version("acme", "triage", "triage two")
    world.registry.versions.certify(made.digest, {"passed": True})
    engine.adapters.add(made.served_name)
    await weigh(router, weight, canary=made.digest, **fields)
    return live.served_name, made.served_name


async def weigh(router: Running, weight: float, **fields: object) -> None:
    router.world.registry.aliases.update("acme", "triage", canary_weight=weight, **fields)
    await until(
        lambda: router.value("switchyard_snapshot_revision") >= router.world.registry.revision(),
        "the weight to be known",
    )


async def ask(client: openai.AsyncOpenAI, *turns: str, **options: object) -> tuple[str, str, str]:
    """(version, role, fallback) as the headers say."""
    messages = [
        {"role": "user" if number % 2 == 0 else "assistant", "content": turn}
        for number, turn in enumerate(turns)
    ]
    raw = await client.chat.completions.with_raw_response.create(
        model="triage", messages=messages, **options
    )  # type: ignore[call-overload]
    headers = raw.headers
    return (
        headers["x-switchyard-version"],
        headers.get("x-switchyard-role", ""),
        headers["x-switchyard-fallback"],
    )


async def ask_all(client: openai.AsyncOpenAI, count: int) -> list[str]:
    """Who answers each of so many conversations."""
    at_once = asyncio.Semaphore(16)

    async def one(number: int) -> str:
        async with at_once:
            return (await ask(client, f"ticket {number}"))[0]

    return await asyncio.gather(*(one(number) for number in range(count)))


async def test_the_canary_gets_its_share_and_keeps_its_conversations_as_it_grows(
    router: Running, engine: FakeEngine
) -> None:
    _, new = await canary(router, engine, 0.1)
    async with router.client() as client:
        before = await ask_all(client, CONVERSATIONS)
        assert share_within(before.count(new), CONVERSATIONS, 0.1)
        await weigh(router, 0.5)
        after = await ask_all(client, CONVERSATIONS)
    assert share_within(after.count(new), CONVERSATIONS, 0.5)
    assert all(late == new for early, late in zip(before, after, strict=True) if early == new)


async def test_a_conversation_never_mixes_versions(router: Running, engine: FakeEngine) -> None:
    old, new = await canary(router, engine, 0.5)
    seen = set()
    async with router.client() as client:
        for number in range(6):
            turns = [f"conversation {number}"]
            versions = set()
            for turn in range(10):
                version, _, _ = await ask(client, *turns, stream=turn % 2 == 1)
                versions.add(version)
                turns += [f"{version} says something", f"turn {turn}"]
            assert len(versions) == 1
            seen |= versions
    assert seen == {old, new}


async def test_a_header_or_a_user_holds_a_conversation_together(
    router: Running, engine: FakeEngine
) -> None:
    await canary(router, engine, 0.5)
    header = {"x-switchyard-conversation": "c-1"}
    async with router.client() as client:
        by_header = {await ask(client, f"anything {n}", extra_headers=header) for n in range(12)}
        assert len(by_header) == 1
        await weigh(router, 0.5, sticky="user")
        by_user = {await ask(client, f"anything {n}", user="u-7") for n in range(12)}
        assert len(by_user) == 1
        await weigh(router, 0.5, sticky="none")
        by_nothing = {await ask(client, "the same", extra_headers=header) for n in range(24)}
        assert len(by_nothing) == 2


async def test_a_canary_that_cant_be_served_is_answered_for_by_the_live_version(
    router: Running, engine: FakeEngine, world: World
) -> None:
    old, new = await canary(router, engine, 1.0, fallback="fail")
    engine.adapters.discard(new)
    async with router.client() as client:
        assert await ask(client, "hello") == (old, "", "canary-unavailable")
    assert (
        router.value("switchyard_fallbacks_total", tenant="acme", reason="canary-unavailable") == 1
    )
    await router.server.app.state.recorder.flush()
    exchange = world.registry.exchanges.since(0)[-1]
    assert (exchange.role, exchange.fallback) == ("live", "canary-unavailable")


async def test_when_neither_can_be_served_the_error_is_the_live_versions(
    router: Running, engine: FakeEngine
) -> None:
    old, new = await canary(router, engine, 1.0, fallback="fail")
    engine.adapters -= {old, new}
    async with router.client() as client:
        with pytest.raises(openai.InternalServerError) as caught:
            await ask(client, "hello")
    assert caught.value.code == "version_unavailable"


async def test_exchanges_say_who_answered_as_what(
    router: Running, engine: FakeEngine, world: World
) -> None:
    old, new = await canary(router, engine, 0.5)
    async with router.client() as client:
        answered = [await ask(client, f"ticket {number}") for number in range(20)]
    await router.server.app.state.recorder.flush()
    rows = world.registry.exchanges.since(0)
    names = {v.digest: v.served_name for v in world.registry.versions.all("acme")}
    said = sorted((names[row.digest or ""], row.role) for row in rows)
    assert said == sorted((version, role or "live") for version, role, _ in answered)
    assert {version for version, _ in said} == {old, new}


async def test_a_weight_of_nothing_ends_it(router: Running, engine: FakeEngine) -> None:
    old, new = await canary(router, engine, 1.0)
    async with router.client() as client:
        assert (await ask(client, "hello"))[0] == new
        await weigh(router, 0.0)
        assert (await ask(client, "hello"))[0] == old
        await weigh(router, 1.0)
        assert (await ask(client, "hello"))[0] == new
        router.world.registry.aliases.update("acme", "triage", canary=None)
        await weigh(router, 0.0)
        assert (await ask(client, "hello"))[0] == old


def test_choosing_is_by_the_number_alone() -> None:
    live, new = Version(digest="a" * 64), Version(digest="b" * 64)
    for weight in (0.1, 0.25, 0.9):
        alias = Alias(tenant="t", name="n", adapter="n", canary_weight=weight)
        target = Target("n", alias, "n", version=live, canary=new)
        edge = int(weight * 2**64)
        assert choose(target, edge - 2**12)[0] is new
        assert choose(target, edge + 2**12)[0] is live
