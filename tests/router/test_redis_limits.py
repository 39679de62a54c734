"""Limits that routers share: exact together, and what happens when Redis or a router goes."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.admission import Admission, Terms
from router.errors import RateLimited
from router.redis_limits import RedisLimits, _Ask
from router.settings import RouterSettings
from tests.real_redis import RealRedis
from tests.router.conftest import until

LONG_S = 30.0
"""A time limit that a busy test machine doesn't reach."""


@asynccontextmanager
async def sharing(
    server: RealRedis, prefix: str = "test", *, timeout_s: float = LONG_S, **options: Any
) -> AsyncIterator[RedisLimits]:
    """One router's limits."""
    given = RouterSettings(redis_url=server.url, redis_prefix=prefix, redis_timeout_s=timeout_s)
    limits = RedisLimits(given, Metrics(), probe_s=0.02, **options)
    await limits.startup()
    try:
        yield limits
    finally:
        await limits.shutdown()


@pytest.fixture
def prefix() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RealRedis]:
    """One to be killed."""
    with RealRedis(tmp_path) as server:
        yield server


async def let_in(limits: RedisLimits, tenant: Tenant, tokens: int = 1) -> Admission | None:
    try:
        return await limits.admit(tenant, tokens)
    except RateLimited:
        return None


async def flood(
    routers: list[RedisLimits], tenant: Tenant, times: int, tokens: int = 1
) -> list[Admission]:
    """Through all of them at once; what was let in."""
    asked = (let_in(router, tenant, tokens) for _ in range(times) for router in routers)
    return [admission for admission in await asyncio.gather(*asked) if admission is not None]


def degraded(limits: RedisLimits) -> bool:
    return limits._metrics.limits_degraded._value.get() == 1


async def leases(server: RealRedis, prefix: str, tenant: str = "acme") -> dict[str, float]:
    async with redis.asyncio.Redis.from_url(server.url, protocol=2) as client:
        found = await client.zrange(f"{prefix}:{{limits}}:{tenant}:leases", 0, -1, withscores=True)
    return {name.decode(): score for name, score in found}


async def test_two_routers_let_in_as_many_at_once_as_one_would(
    redis: RealRedis, prefix: str
) -> None:
    tenant = Tenant(name="acme", max_concurrent=20)
    async with sharing(redis, prefix) as one, sharing(redis, prefix) as two:
        taken = await flood([one, two], tenant, 100)
        assert len(taken) == 20
        for admission in taken[:7]:
            for router in (one, two):
                if admission.lease in router._live:
                    router.settle(admission, 1)
        assert len(await flood([one, two], tenant, 100)) == 7


async def test_two_routers_spend_one_daily_budget(redis: RealRedis, prefix: str) -> None:
    tenant = Tenant(name="acme", tokens_per_day=1000)
    async with sharing(redis, prefix) as one, sharing(redis, prefix) as two:
        assert len(await flood([one, two], tenant, 150, tokens=10)) == 100


@pytest.mark.parametrize(
    "minute",
    [
        {"requests_per_minute": 120, "tokens_per_minute": 10**9},
        {"requests_per_minute": 10**9, "tokens_per_minute": 1200},
    ],
)
async def test_two_routers_share_a_minute(
    redis: RealRedis, prefix: str, minute: dict[str, int]
) -> None:
    tenant = Tenant(name="acme", **minute)
    async with sharing(redis, prefix) as one, sharing(redis, prefix) as two:
        began = time.monotonic()
        taken = len(await flood([one, two], tenant, 300, tokens=10))
        refilled = (time.monotonic() - began) * 2
    assert 120 <= taken <= 120 + refilled


async def test_what_is_sent_twice_counts_once(redis: RealRedis, prefix: str) -> None:
    tenant = Tenant(name="acme", tokens_per_day=100, tokens_per_minute=100)
    async with sharing(redis, prefix, linger_s=600.0) as limits:
        first = await limits.admit(tenant, 40)
        second = await limits.admit(tenant, 40)
        limits.settle(first, 10)
        limits._unsettled.append(limits._unsettled[-1])  # as after a connection that broke
        assert await let_in(limits, tenant, 51) is None
        third = await limits.admit(tenant, 50)
        asked = _Ask(Terms.of(tenant), 50, third.lease, asyncio.Future())
        assert await limits._send([asked], [], False) == [(0, 0, ANY, ANY, ANY, 100)]
        limits.settle(second, 0)
        limits.settle(third, 0)
        assert await limits.admit(tenant, 90)


async def test_a_killed_routers_places_come_back(redis: RealRedis, prefix: str) -> None:
    program = f"""
import asyncio
from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.redis_limits import RedisLimits
from router.settings import RouterSettings
async def main():
    settings = RouterSettings(redis_url={redis.url!r}, redis_prefix={prefix!r}, redis_timeout_s=30)
    limits = RedisLimits(settings, Metrics(), lease_s=0.6)
    await limits.startup()
    await limits.admit(Tenant(name="acme", max_concurrent=1), 1)
    print("in", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    tenant = Tenant(name="acme", max_concurrent=1)
    router = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert router.stdout is not None
    try:
        assert await asyncio.to_thread(router.stdout.readline) == b"in\n"
        async with sharing(redis, prefix) as other:
            (first,) = (await leases(redis, prefix)).items()

            async def renewed() -> bool:
                return (await leases(redis, prefix))[first[0]] > first[1] + 2e6

            await until(renewed, "the lease to outlive itself three times")
            assert await let_in(other, tenant) is None
            router.kill()
            assert await until(lambda: let_in(other, tenant), "the place to be free")
    finally:
        router.kill()
        router.wait()
        router.stdout.close()


async def test_what_was_not_sent_yet_is_sent_at_shutdown(redis: RealRedis, prefix: str) -> None:
    tenant = Tenant(name="acme", max_concurrent=1, tokens_per_day=100)
    async with sharing(redis, prefix, linger_s=600.0) as one:
        admission = await one.admit(tenant, 100)
        one.settle(admission, 1)
    async with sharing(redis, prefix) as two:
        assert await let_in(two, tenant, 99)


async def test_a_request_that_left_while_it_was_asked_for_gives_all_back(
    own_redis: RealRedis, prefix: str
) -> None:
    tenant = Tenant(name="acme", max_concurrent=1, tokens_per_day=100, tokens_per_minute=100)
    async with sharing(own_redis, prefix) as limits:
        own_redis.freeze()
        waiting = asyncio.ensure_future(limits.admit(tenant, 100))
        await asyncio.sleep(0)
        waiting.cancel()
        own_redis.thaw()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await until(lambda: let_in(limits, tenant, 100), "what it took to be back")


async def test_without_redis_each_router_goes_on_by_itself_and_comes_back(
    own_redis: RealRedis, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = Tenant(name="acme", requests_per_minute=2)
    async with sharing(own_redis, prefix) as one, sharing(own_redis, prefix) as two:
        assert len(await flood([one, two], tenant, 4)) == 2
        own_redis.kill()
        assert len(await flood([one, two], tenant, 4)) == 4  # two each, of its own
        assert degraded(one) and degraded(two)
        assert await let_in(one, tenant) is None
        own_redis.start()
        await until(lambda: not degraded(one) and not degraded(two), "both to be back")
        assert len(await flood([one, two], tenant, 4)) == 2
    assert capsys.readouterr().out.count("Redis is out of reach") == 2


async def test_a_silent_redis_holds_up_one_moment_and_then_nobody(
    own_redis: RealRedis, prefix: str
) -> None:
    tenant = Tenant(name="acme", max_concurrent=5, tokens_per_day=1000)
    async with sharing(own_redis, prefix, timeout_s=0.3) as limits:
        before = await limits.admit(tenant, 100)
        own_redis.freeze()
        assert len(await flood([limits], tenant, 10, tokens=10)) == 5
        assert degraded(limits)
        limits.settle(before, 40)
        await until(lambda: not limits._unsettled, "it to be sent")
        await until(lambda: limits._unsettled, "it to be kept for later")
        own_redis.thaw()
        await until(lambda: not degraded(limits), "it to be back")

        async def free() -> bool:
            return not await leases(own_redis, prefix)

        await until(free, "nothing to be under way")
        assert len(await flood([limits], tenant, 1, tokens=960)) == 1
        assert await let_in(limits, tenant) is None


async def test_a_router_starts_without_redis(own_redis: RealRedis, prefix: str) -> None:
    own_redis.kill()
    async with sharing(own_redis, prefix) as limits:
        assert degraded(limits)
        admission = await limits.admit(Tenant(name="acme", requests_per_minute=1), 1)
        limits.settle(admission, 1)
        own_redis.start()
        await until(lambda: not degraded(limits), "it to be found")


async def test_a_redis_that_lost_its_memory_gives_back_nothing_that_it_never_had(
    own_redis: RealRedis, prefix: str
) -> None:
    tenant = Tenant(name="acme", tokens_per_day=100)
    async with sharing(own_redis, prefix) as limits:
        before = await limits.admit(tenant, 60)
        own_redis.kill()
        await until(lambda: _after(limits.admit(Tenant(name="lex", max_concurrent=9), 1), limits),
                    "the router to notice")  # fmt: skip
        own_redis.start()
        await until(lambda: not degraded(limits), "it to be back")
        assert await let_in(limits, tenant, 50)
        limits.settle(before, 0)
        assert await let_in(limits, tenant, 51) is None
        assert await let_in(limits, tenant, 50)


async def _after(asked: Any, limits: RedisLimits) -> bool:
    await asked
    return degraded(limits)


async def test_dropped_connections_and_forgotten_scripts_are_not_noticed(
    redis: RealRedis, prefix: str
) -> None:
    tenant = Tenant(name="acme", max_concurrent=50)
    async with (
        sharing(redis, prefix) as limits,
        redis_client(redis) as client,
    ):
        taken = 0
        for _ in range(5):
            taken += len(await flood([limits], tenant, 5))
            await client.client_kill_filter(_type="normal", skipme=True)
            await client.script_flush()
        assert taken == 25 and not degraded(limits)
        assert len(await leases(redis, prefix)) == 25


@asynccontextmanager
async def redis_client(server: RealRedis) -> AsyncIterator[Any]:
    async with redis.asyncio.Redis.from_url(server.url, protocol=2) as client:
        yield client


async def test_keys_expire(redis: RealRedis, prefix: str) -> None:
    tenant = Tenant(name="acme", requests_per_minute=5, tokens_per_minute=9, tokens_per_day=10**6)
    async with sharing(redis, prefix) as limits, redis_client(redis) as client:
        await limits.admit(tenant, 1)
        limits.settle(await limits.admit(tenant, 1), 9000)
        keys = await client.keys(f"{prefix}*")
        assert len(keys) == 2
        for key in keys:
            assert 60_000 <= await client.pttl(key) <= 90_000_000


async def test_the_password_is_in_no_log_and_no_repr(
    tmp_path: Path, prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with RealRedis(tmp_path, password="right-horse") as server:
        async with sharing(server, prefix) as limits:
            assert not degraded(limits)
        settings = RouterSettings(
            redis_url=server.url.replace("right-horse", "wrong-horse"), redis_timeout_s=LONG_S
        )
        wrong = RedisLimits(settings, Metrics())
        await wrong.startup()
        assert degraded(wrong)
        await wrong.shutdown()
    output = capsys.readouterr()
    assert "Redis is out of reach" in output.out
    assert "horse" not in output.out + output.err + repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "http://user:horse@cache",
        "redis://user:horse/battery@cache",
        "redis://:battery@horse#staple@cache",
        "horse",
        "redis://",
    ],
)
def test_what_is_no_url_of_redis_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="rediss://") as caught:
        RouterSettings(redis_url=url)
    assert "horse" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://cache", "rediss://:p%2Fw@cache:6380/1", "unix:///a/b"])
def test_urls_of_redis_are_taken(url: str) -> None:
    RedisLimits(RouterSettings(redis_url=url), Metrics())


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    budget=st.none() | st.integers(1, 300),
    most=st.none() | st.integers(1, 4),
    steps=st.lists(
        st.tuples(st.just("admit"), st.integers(0, 200))
        | st.tuples(st.just("settle"), st.none() | st.integers(0, 200))
        | st.tuples(st.just("again"), st.integers(0, 200)),
        max_size=30,
    ),
)
def test_what_does_not_depend_on_time_is_as_a_model_says(
    redis: RealRedis, budget: int | None, most: int | None, steps: list[tuple[str, int | None]]
) -> None:
    asyncio.run(_against_a_model(redis, budget, most, steps))


async def _against_a_model(
    server: RealRedis, budget: int | None, most: int | None, steps: list[tuple[str, int | None]]
) -> None:
    tenant = Tenant(name="acme", tokens_per_day=budget, max_concurrent=most)
    under_way: list[Admission] = []
    over: list[Admission] = []
    used = 0
    async with sharing(server, secrets.token_hex(4)) as limits:
        for step, tokens in steps:
            if step == "admit":
                assert tokens is not None
                need = min(max(1, tokens), budget or 0)
                room = (most is None or len(under_way) < most) and (
                    budget is None or used + need <= budget
                )
                admission = await let_in(limits, tenant, tokens)
                assert (admission is not None) == room
                if admission is not None:
                    under_way.append(admission)
                    used += need
            elif step == "settle" and under_way:
                admission = under_way.pop()
                limits.settle(admission, tokens)
                used += 0 if tokens is None else tokens - admission.day_tokens
                over.append(admission)
            elif over:
                limits.settle(over[-1], tokens)
