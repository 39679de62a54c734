"""Limits, wherever they are kept: in memory, in memory that workers share, and in a real Redis."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.admission import Admission, go_duration
from router.book import Books
from router.errors import Headers, RateLimited
from router.limits import Limits, MemoryLimits
from router.redis_limits import RedisLimits
from router.settings import RouterSettings
from router.shared_limits import SharedBooks
from tests.real_redis import RealRedis

METRICS = Metrics()
METRICS.know_tenants(["acme", "lex"])


@pytest.fixture(params=["memory", "shared", "redis"])
async def limits(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Limits]:
    if request.param == "memory":
        yield MemoryLimits(METRICS)
        return
    if request.param == "shared":
        books = SharedBooks.create(2)
        yield MemoryLimits(METRICS, books=books.at(1))
        books.close()
        return
    redis: RealRedis = request.getfixturevalue("redis")
    shared = RedisLimits(
        RouterSettings(redis_url=redis.url, redis_prefix=tmp_path.name, redis_timeout_s=5.0),
        METRICS,
    )
    await shared.startup()
    try:
        yield shared
        assert METRICS.registry.get_sample_value("switchyard_limits_degraded") == 0
    finally:
        await shared.shutdown()


async def refused(limits: Limits, tenant: Tenant, tokens: int = 1) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        await limits.admit(tenant, tokens)
    return caught.value


def told(admission: Admission) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in admission.headers}


async def test_a_tenant_without_limits_is_told_of_none(limits: Limits) -> None:
    admission = await limits.admit(Tenant(name="acme"), 10**9)
    assert admission.headers == []
    limits.settle(admission, 10**9)


async def test_requests_of_a_minute_may_come_at_once_and_no_more(limits: Limits) -> None:
    tenant = Tenant(name="acme", requests_per_minute=3)
    first = await limits.admit(tenant, 1)
    assert told(first)["x-ratelimit-limit-requests"] == "3"
    assert told(first)["x-ratelimit-remaining-requests"] == "2"
    assert told(first)["x-ratelimit-reset-requests"] == "20s"
    assert "x-ratelimit-limit-tokens" not in told(first)
    for _ in range(2):
        limits.settle(await limits.admit(tenant, 1), 1)
    error = await refused(limits, tenant)
    assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
    assert error.limit == "requests_per_minute" and error.limit in error.message
    assert error.retry_after_s is not None and 0 < error.retry_after_s <= 20
    headers = dict(error.headers())
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"
    assert b"x-should-retry" not in headers
    limits.settle(first, 0)  # it came, whatever became of it
    await refused(limits, tenant)


async def test_tokens_are_reserved_and_settled_by_what_was_used(limits: Limits) -> None:
    tenant = Tenant(name="acme", tokens_per_minute=100)
    first = await limits.admit(tenant, 60)
    assert told(first)["x-ratelimit-limit-tokens"] == "100"
    assert told(first)["x-ratelimit-remaining-tokens"] == "40"
    error = await refused(limits, tenant, 60)
    assert (error.type, error.code) == ("tokens", "rate_limit_exceeded")
    assert "tokens_per_minute" in error.message and "Requested 60" in error.message
    limits.settle(first, 10)
    second = await limits.admit(tenant, 60)
    assert 30 <= int(told(second)["x-ratelimit-remaining-tokens"]) <= 60
    limits.settle(second, 0)
    third = await limits.admit(tenant, 60)
    limits.settle(third, None)  # nobody knows: the reservation stands
    await refused(limits, tenant, 60)


async def test_more_than_was_reserved_is_owed(limits: Limits) -> None:
    tenant = Tenant(name="acme", tokens_per_minute=100)
    limits.settle(await limits.admit(tenant, 1), 1100)
    error = await refused(limits, tenant)
    assert error.retry_after_s is not None and error.retry_after_s > 400
    assert dict(error.headers())[b"x-ratelimit-remaining-tokens"] == b"0"


async def test_a_request_that_is_estimated_too_large_runs_when_nothing_else_is_taken(
    limits: Limits,
) -> None:
    tenant = Tenant(name="acme", tokens_per_minute=100, tokens_per_day=200)
    first = await limits.admit(tenant, 10**6)
    await refused(limits, tenant)
    limits.settle(first, 50)
    limits.settle(await limits.admit(tenant, 40), 40)


async def test_a_spent_day_says_that_trying_again_is_no_use(limits: Limits) -> None:
    tenant = Tenant(name="acme", tokens_per_day=100)
    first = await limits.admit(tenant, 80)
    error = await refused(limits, tenant, 30)
    assert (error.type, error.code) == ("insufficient_quota", "insufficient_quota")
    assert "tokens_per_day" in error.message and "Used 80" in error.message
    assert dict(error.headers())[b"x-should-retry"] == b"false"
    assert error.retry_after_s is not None and 0 < error.retry_after_s <= 86_400
    limits.settle(first, 70)
    limits.settle(await limits.admit(tenant, 30), 30)
    await refused(limits, tenant)


async def test_places_at_once_are_free_again_when_their_requests_end(limits: Limits) -> None:
    tenant = Tenant(name="acme", max_concurrent=2)
    first, second = await limits.admit(tenant, 1), await limits.admit(tenant, 1)
    error = await refused(limits, tenant)
    assert (error.type, error.code) == ("requests", "rate_limit_exceeded")
    assert "max_concurrent" in error.message and error.retry_after_s == 0.5
    limits.settle(first, 1)
    third = await limits.admit(tenant, 1)
    limits.settle(first, 1)  # once is enough
    await refused(limits, tenant)
    limits.settle(second, 1)
    limits.settle(third, 1)


async def test_a_refused_request_takes_nothing_of_any_limit(limits: Limits) -> None:
    tenant = Tenant(
        name="acme",
        requests_per_minute=4,
        tokens_per_minute=1000,
        tokens_per_day=2000,
        max_concurrent=1,
    )
    first = await limits.admit(tenant, 100)
    for _ in range(5):
        await refused(limits, tenant, 100)
    limits.settle(first, 100)
    second = await limits.admit(tenant, 100)
    assert told(second)["x-ratelimit-remaining-requests"] == "2"
    assert 800 <= int(told(second)["x-ratelimit-remaining-tokens"]) <= 850
    limits.settle(second, 100)


async def test_tenants_have_limits_of_their_own(limits: Limits) -> None:
    await limits.admit(Tenant(name="acme", requests_per_minute=1), 1)
    await limits.admit(Tenant(name="lex", requests_per_minute=1), 1)
    await refused(limits, Tenant(name="acme", requests_per_minute=1))


async def test_a_changed_limit_keeps_the_share_that_is_left(limits: Limits) -> None:
    limits.settle(await limits.admit(Tenant(name="acme", tokens_per_minute=100), 50), 50)
    more = await limits.admit(Tenant(name="acme", tokens_per_minute=1000), 1)
    assert 499 <= int(told(more)["x-ratelimit-remaining-tokens"]) <= 600
    await refused(limits, Tenant(name="acme", tokens_per_minute=10), 8)


async def test_a_limit_of_nothing_lets_nothing_in(limits: Limits) -> None:
    for field in ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_concurrent"):
        error = await refused(limits, Tenant(name="acme", **{field: 0}))
        assert error.limit == field


async def test_refusals_are_counted_by_limit(limits: Limits) -> None:
    def count() -> float:
        labels = {"tenant": "lex", "limit": "tokens_per_day"}
        return METRICS.registry.get_sample_value("switchyard_rate_limited_total", labels) or 0.0

    before = count()
    await refused(limits, Tenant(name="lex", tokens_per_day=0))
    assert count() == before + 1


class Clock:
    """Seconds, moved by hand."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(params=["own", "shared"])
def books(request: pytest.FixtureRequest) -> Iterator[Books | None]:
    """Where limits in memory are kept."""
    if request.param == "own":
        yield None
        return
    shared = SharedBooks.create(2)
    yield shared.at(0)
    shared.close()


def test_a_minutes_limit_refills_evenly(books: Books | None) -> None:
    clock = Clock()
    limits = MemoryLimits(METRICS, books=books, monotonic=clock)
    tenant = Tenant(name="t", requests_per_minute=60)
    for _ in range(60):
        limits.take(tenant, 1)
    clock.now = 0.5
    with pytest.raises(RateLimited) as caught:
        limits.take(tenant, 1)
    assert caught.value.retry_after_s == pytest.approx(0.5)
    clock.now = 1.0
    limits.take(tenant, 1)
    clock.now = 1e6
    for _ in range(60):
        limits.take(tenant, 1)
    with pytest.raises(RateLimited):
        limits.take(tenant, 1)


def test_the_day_begins_at_midnight_utc_and_what_ends_then_was_of_the_day_before(
    books: Books | None,
) -> None:
    wall = Clock(1_790_000_000 // 86_400 * 86_400 + 86_399.0)
    limits = MemoryLimits(METRICS, books=books, wall=wall)
    tenant = Tenant(name="t", tokens_per_day=100)
    late = limits.take(tenant, 100)
    with pytest.raises(RateLimited) as caught:
        limits.take(tenant, 1)
    assert caught.value.retry_after_s == 1.0
    wall.now += 1
    new = limits.take(tenant, 60)
    limits.settle(late, 0)
    with pytest.raises(RateLimited):
        limits.take(tenant, 41)
    limits.settle(new, 60)
    limits.take(tenant, 40)


def test_durations_read_as_go_prints_them() -> None:
    seconds = (0, 0.012, 1, 1.5, 59.999, 63, 600, 3600.25, 172800)
    told = ("0s", "12ms", "1s", "1.5s", "59.999s", "1m3s", "10m0s", "1h0m0.25s", "48h0m0s")
    assert [go_duration(s).decode() for s in seconds] == [*told]


class AgainstAModel(RuleBasedStateMachine):
    """MemoryLimits against buckets of what is left, in sixtieths: all of it exact numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.mono, self.wall = Clock(), Clock(86_400 * 20_000.0)
        self.seats = [MemoryLimits(METRICS, monotonic=self.mono, wall=self.wall)]
        self.open: list[tuple[Admission, MemoryLimits]] = []
        self.over: list[tuple[Admission, MemoryLimits]] = []

    @initialize(
        requests=st.sampled_from([None, 1, 2, 15, 60]),
        tokens=st.sampled_from([None, 1, 15, 60, 240]),
        budget=st.sampled_from([None, 1, 100, 500]),
        most=st.sampled_from([None, 1, 3]),
    )
    def begin(
        self, requests: int | None, tokens: int | None, budget: int | None, most: int | None
    ) -> None:
        self.tenant = Tenant(
            name="acme",
            requests_per_minute=requests,
            tokens_per_minute=tokens,
            tokens_per_day=budget,
            max_concurrent=most,
        )
        self.requests, self.tokens, self.budget, self.most = requests, tokens, budget, most
        self.requests_left, self.tokens_left = requests or 0.0, tokens or 0.0
        self.used = self.busy = 0
        self.day = int(self.wall() // 86_400)

    @rule(quarters=st.integers(1, 400))
    def wait(self, quarters: int) -> None:
        seconds = quarters / 4
        self.mono.now += seconds
        if self.requests is not None:
            per_second = self.requests / 60
            self.requests_left = min(self.requests, self.requests_left + seconds * per_second)
        if self.tokens is not None:
            self.tokens_left = min(self.tokens, self.tokens_left + seconds * self.tokens / 60)

    @rule()
    def sleep_until_tomorrow(self) -> None:
        self.wall.now += 86_400
        self.day += 1
        self.used = 0

    @rule()
    def turn_to_another_worker(self) -> None:
        self.seats.append(self.seats.pop(0))

    @rule(tokens=st.integers(0, 600))
    def admit(self, tokens: int) -> None:
        need = max(1, tokens)
        room = (
            (self.most is None or self.busy < self.most)
            and (self.requests is None or self.requests_left >= 1 - 1e-6)
            and (self.tokens is None or self.tokens_left >= min(need, self.tokens) - 1e-6)
            and (self.budget is None or self.used + min(need, self.budget) <= self.budget)
        )
        try:
            self.open.append((self.seats[0].take(self.tenant, tokens), self.seats[0]))
        except RateLimited as error:
            assert not room, error.message
            self._is_told(error.more)
            return
        assert room
        self.busy += 1
        self.requests_left -= 1
        self.tokens_left -= min(need, self.tokens or 0)
        self.used += min(need, self.budget or 0)
        self._is_told(self.open[-1][0].headers)

    def _is_told(self, headers: Headers) -> None:
        told = dict(headers)
        for kind, limit, left in (
            ("requests", self.requests, self.requests_left),
            ("tokens", self.tokens, self.tokens_left),
        ):
            remaining = told.get(f"x-ratelimit-remaining-{kind}".encode())
            assert remaining == (None if limit is None else b"%d" % max(0, int(left + 1e-4)))

    @rule(pick=st.randoms(use_true_random=False), used=st.none() | st.integers(0, 800))
    def settle(self, pick: object, used: int | None) -> None:
        if not self.open:
            return
        admission, limits = self.open.pop(pick.randrange(len(self.open)))  # type: ignore[attr-defined]
        self.over.append((admission, limits))
        limits.settle(admission, used)
        self.busy -= 1
        if used is None:
            return
        if self.tokens is not None:
            reserved = round(admission.reserved_s * self.tokens / 60)
            self.tokens_left = min(self.tokens, self.tokens_left + reserved - used)
        if self.budget is not None and admission.day == self.day:
            self.used += used - admission.day_tokens

    @rule(used=st.integers(0, 800))
    def settle_again(self, used: int) -> None:
        if self.over:
            admission, limits = self.over[-1]
            limits.settle(admission, used)

    @invariant()
    def nothing_is_below_nothing(self) -> None:
        if hasattr(self, "busy"):
            assert self.busy >= 0 and self.used >= 0


class SharedAgainstAModel(AgainstAModel):
    """The same of three workers together, which have the books open on their own."""

    def __init__(self) -> None:
        super().__init__()
        parents = SharedBooks.create(3)
        self.books = [parents, *(SharedBooks(os.dup(parents.file), 3) for _ in range(2))]
        self.seats = [
            MemoryLimits(METRICS, books=books.at(seat), monotonic=self.mono, wall=self.wall)
            for seat, books in enumerate(self.books)
        ]

    def teardown(self) -> None:
        for books in self.books:
            books.close()


TestAgainstAModel = AgainstAModel.TestCase
TestSharedAgainstAModel = SharedAgainstAModel.TestCase
TestAgainstAModel.settings = TestSharedAgainstAModel.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None
)
