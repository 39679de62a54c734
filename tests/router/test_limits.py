"""Limits per tenant, and what the SDK is told of them."""

from __future__ import annotations

import asyncio

import openai
import pytest

from registry.tenants import Tenant
from router.errors import RateLimited
from router.limits import Limits, go_duration
from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, until
from tests.router.test_chat import HELLO


async def changed(router: Running, **limits: int) -> None:
    router.world.registry.tenants.update("acme", **limits)
    await until(
        lambda: router.value("switchyard_snapshot_revision") >= router.world.registry.revision(),
        "the limit to be known",
    )


async def test_requests_over_the_minutes_limit_are_told_when_to_come_back(
    router: Running, world: World
) -> None:
    await changed(router, requests_per_minute=2)
    async with router.client() as client:
        raw = await client.chat.completions.with_raw_response.create(model="triage", messages=HELLO)
        assert raw.headers["x-ratelimit-limit-requests"] == "2"
        assert raw.headers["x-ratelimit-remaining-requests"] == "1"
        await client.chat.completions.create(model="triage", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(model="triage", messages=HELLO)
    assert caught.value.code == "rate_limit_exceeded"
    headers = caught.value.response.headers
    assert 1 <= int(headers["retry-after"]) <= 30
    assert 0 < int(headers["retry-after-ms"]) <= 30_000
    assert headers["x-ratelimit-remaining-requests"] == "0"
    async with router.client("lex") as client:
        await client.chat.completions.create(model="clauses", messages=HELLO)


async def test_requests_at_once_are_limited_and_a_place_is_free_again_afterwards(
    router: Running, engine: FakeEngine
) -> None:
    await changed(router, max_concurrent=1)
    engine.slow_ms = 300
    async with router.client() as client:
        first = asyncio.ensure_future(
            client.chat.completions.create(model="triage", messages=HELLO)
        )
        await until(lambda: engine.in_flight == 1, "the first to be under way")
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="triage", messages=HELLO)
        await first
        await client.chat.completions.create(model="triage", messages=HELLO)
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model="triage", messages=[])
        await client.chat.completions.create(model="triage", messages=HELLO)


def test_a_minutes_budget_refills_evenly() -> None:
    limits, tenant = Limits(), Tenant(name="t", requests_per_minute=60)
    for _ in range(60):
        limits.begin(tenant, 0.0)
    with pytest.raises(RateLimited) as caught:
        limits.begin(tenant, 0.5)
    assert caught.value.retry_after_s == pytest.approx(0.5)
    limits.begin(tenant, 1.0)
    assert limits.under_way == {"t": 61}


def test_durations_read_as_go_prints_them() -> None:
    assert [go_duration(s) for s in (0, 0.012, 1, 1.5, 63, 3600.25)] == [
        "0s",
        "12ms",
        "1s",
        "1.5s",
        "1m3s",
        "1h0m0.25s",
    ]
