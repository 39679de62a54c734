"""Limits per tenant through the real router, and what the real SDK makes of them."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import openai
import pytest

from registry import Registry
from router.limits import MissingPackage, open_limits
from router.settings import RouterSettings
from tests.fake_engine import FakeEngine
from tests.real_redis import RealRedis
from tests.router.conftest import Running, World, running, until
from tests.router.test_chat import HELLO


async def changed(router: Running, tenant: str = "acme", **limits: int) -> None:
    router.world.registry.tenants.update(tenant, **limits)
    await known(router, router.world.registry)


async def known(router: Running, registry: Registry) -> None:
    await until(
        lambda: router.value("switchyard_snapshot_revision") >= registry.revision(),
        "the limit to be known",
    )


async def ask(client: openai.AsyncOpenAI, **fields: Any) -> Any:
    raw = await client.chat.completions.with_raw_response.create(
        model="triage", messages=HELLO, **fields
    )
    return raw.headers


async def refused(client: openai.AsyncOpenAI, **fields: Any) -> openai.RateLimitError:
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(client, **fields)
    return caught.value


async def test_requests_over_the_minutes_limit_are_told_when_to_come_back(
    router: Running, world: World
) -> None:
    await changed(router, requests_per_minute=2)
    async with router.client() as client:
        headers = await ask(client)
        assert headers["x-ratelimit-limit-requests"] == "2"
        assert headers["x-ratelimit-remaining-requests"] == "1"
        assert headers["x-ratelimit-reset-requests"] == "30s"
        await ask(client)
        error = await refused(client)
    assert (error.type, error.code) == ("requests", "rate_limit_exceeded")
    assert "requests_per_minute" in error.message
    headers = error.response.headers
    assert 1 <= int(headers["retry-after"]) <= 30
    assert 0 < int(headers["retry-after-ms"]) <= 30_000
    assert headers["x-ratelimit-remaining-requests"] == "0"
    labels = {"tenant": "acme", "limit": "requests_per_minute"}
    assert router.value("switchyard_rate_limited_total", **labels) == 1
    async with router.client("lex") as client:
        await client.chat.completions.create(model="clauses", messages=HELLO)


async def test_requests_at_once_are_limited_and_a_place_is_free_again_afterwards(
    router: Running, engine: FakeEngine
) -> None:
    await changed(router, max_concurrent=1)
    engine.slow_ms = 300
    async with router.client() as client:
        first = asyncio.ensure_future(ask(client))
        await until(lambda: engine.in_flight == 1, "the first to be under way")
        assert "max_concurrent" in (await refused(client)).message
        await first
        await ask(client)
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="triage", messages=[])
        await ask(client)


async def test_tokens_are_settled_by_what_the_engine_counted(router: Running) -> None:
    await changed(router, tokens_per_minute=1000)
    async with router.client() as client:
        headers = await ask(client, max_tokens=800)
        assert headers["x-ratelimit-limit-tokens"] == "1000"
        assert 100 <= int(headers["x-ratelimit-remaining-tokens"]) < 200
        assert re.fullmatch(r"\d+(\.\d+)?s", headers["x-ratelimit-reset-tokens"])
        assert int((await ask(client, max_tokens=1))["x-ratelimit-remaining-tokens"]) > 800
        async with client.chat.completions.with_streaming_response.create(
            model="triage", messages=HELLO, max_tokens=700, stream=True
        ) as response:
            assert int(response.headers["x-ratelimit-remaining-tokens"]) < 400
            await response.read()
        assert int((await ask(client, max_tokens=1))["x-ratelimit-remaining-tokens"]) > 700


async def test_a_spent_minute_of_tokens_is_a_rate_limit_of_tokens(
    router: Running, engine: FakeEngine
) -> None:
    await changed(router, tokens_per_minute=1000)
    engine.slow_ms = 300
    async with router.client() as client:
        first = asyncio.ensure_future(ask(client, max_tokens=800))
        await until(lambda: engine.in_flight == 1, "the first to be under way")
        error = await refused(client, max_tokens=800)
        assert (error.type, error.code) == ("tokens", "rate_limit_exceeded")
        assert "tokens_per_minute" in error.message
        await first
        await ask(client, max_tokens=800)


async def test_nothing_is_taken_where_no_engine_began(
    router: Running, engine: FakeEngine, world: World
) -> None:
    await changed(router, tokens_per_day=1000)
    async with router.client() as client:
        world.registry.engines.heartbeat("engine-0", "draining")
        await known(router, world.registry)
        for _ in range(3):
            with pytest.raises(openai.InternalServerError):
                await ask(client, max_tokens=900)
        world.registry.engines.heartbeat("engine-0", "ready")

        async def served() -> bool:
            try:
                await ask(client, max_tokens=900)
            except openai.InternalServerError:
                return False
            return True

        await until(served, "the engine to be back")


async def test_the_sdk_does_not_try_again_when_the_day_is_spent(
    router: Running, engine: FakeEngine
) -> None:
    await changed(router, tokens_per_day=1)
    labels = {"tenant": "acme", "limit": "tokens_per_day"}
    async with router.client(max_retries=5) as client:
        await ask(client)
        error = await refused(client)
    assert (error.type, error.code) == ("insufficient_quota", "insufficient_quota")
    assert "tokens_per_day" in error.message
    assert error.response.headers["x-should-retry"] == "false"
    assert router.value("switchyard_rate_limited_total", **labels) == 1


async def test_the_sdk_tries_again_by_itself_when_a_place_was_taken(
    router: Running, engine: FakeEngine
) -> None:
    await changed(router, max_concurrent=1)
    engine.slow_ms = 300
    async with router.client(max_retries=5) as client:
        await asyncio.gather(ask(client), ask(client))
    labels = {"tenant": "acme", "limit": "max_concurrent"}
    assert router.value("switchyard_rate_limited_total", **labels) >= 1


async def test_limits_hold_over_two_routers_that_share_a_redis(
    world: World, engine: FakeEngine, redis: RealRedis
) -> None:
    world.registry.tenants.update("acme", requests_per_minute=20)
    shared = {"redis_url": redis.url, "redis_prefix": "two", "redis_timeout_s": 30.0}
    async with running(world, **shared) as one, running(world, **shared) as two:
        async with one.client() as first, two.client() as second:
            asked = [ask(client) for _ in range(20) for client in (first, second)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
        let_in = [answer for answer in answers if not isinstance(answer, Exception)]
        others = [answer for answer in answers if isinstance(answer, Exception)]
        assert all(isinstance(error, openai.RateLimitError) for error in others)
        assert 20 <= len(let_in) <= 21  # one comes back every three seconds
        told = sorted(int(headers["x-ratelimit-remaining-requests"]) for headers in let_in)
        assert len({*told}) >= 19
        assert one.value("switchyard_limits_degraded") == 0


async def test_a_router_serves_without_the_redis_it_was_told_of(
    world: World, engine: FakeEngine
) -> None:
    world.registry.tenants.update("acme", requests_per_minute=1)
    async with running(world, redis_url="redis://127.0.0.1:1/0") as router:
        assert router.value("switchyard_limits_degraded") == 1
        async with router.client() as client:
            await ask(client)
            await refused(client)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "router.redis_limits", None)
    with pytest.raises(MissingPackage, match="switchyard\\[redis\\]"):
        open_limits(RouterSettings(redis_url="redis://127.0.0.1:1/0"), None)  # type: ignore[arg-type]
