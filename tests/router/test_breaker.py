"""The circuit breaker, and the budget that retries come from."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.breaker import CLOSED, HALF_OPEN, OPEN, Breaker, RetryBudget

COOLDOWN_S = 1.0
LONGEST_S = 30.0


class Breakers(RuleBasedStateMachine):
    """Requests that go, succeed, fail and are left, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(COOLDOWN_S)
        self.now = 100.0
        self.under_way = 0
        self.probes = 0
        self.since_success = 0
        self.opened_at: float | None = None

    @rule()
    def ask(self) -> None:
        if self.breaker.allows(self.now):
            if self.breaker.state(self.now) == HALF_OPEN:
                assert self.probes == 0, "one probe at a time"
                self.probes += 1
            self.breaker.begin(self.now)
            self.under_way += 1

    @precondition(lambda self: self.under_way)
    @rule(unreachable=st.booleans())
    def fail(self, unreachable: bool) -> None:
        before = self.breaker.state(self.now)
        self.under_way -= 1
        self.probes = 0
        self.since_success += 1
        opened = self.breaker.failed(self.now, unreachable=unreachable)
        if before == CLOSED:
            due = unreachable or self.since_success >= self.breaker.failures_to_open
            assert opened == due
            assert self.breaker.state(self.now) == (OPEN if due else CLOSED)
        else:
            assert not opened and self.breaker.state(self.now) == OPEN

    @precondition(lambda self: self.under_way)
    @rule()
    def succeed(self) -> None:
        self.under_way -= 1
        self.probes = self.since_success = 0
        self.breaker.succeeded()
        assert self.breaker.state(self.now) == CLOSED

    @precondition(lambda self: self.under_way)
    @rule()
    def abandon(self) -> None:
        self.under_way -= 1
        self.probes = 0
        self.breaker.abandoned()

    @rule(seconds=st.floats(0, 40))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def open_lets_nobody_through_and_not_for_ever(self) -> None:
        state = self.breaker.state(self.now)
        if state == OPEN:
            assert not self.breaker.allows(self.now)
        assert self.breaker.state(self.now + LONGEST_S) != OPEN
        if state != CLOSED:
            assert COOLDOWN_S <= self.breaker.pause_s <= LONGEST_S


TestBreakers = Breakers.TestCase


def test_a_refused_connection_opens_at_once_other_failures_only_in_a_row() -> None:
    refused = Breaker(COOLDOWN_S)
    assert refused.failed(1.0, unreachable=True) and refused.state(1.0) == OPEN
    failing = Breaker(COOLDOWN_S)
    for _ in range(4):
        assert not failing.failed(1.0, unreachable=False)
    failing.succeeded()
    for _ in range(4):
        assert not failing.failed(1.0, unreachable=False)
    assert failing.failed(1.0, unreachable=False)


def test_half_open_lets_one_through_and_its_outcome_decides() -> None:
    breaker = Breaker(COOLDOWN_S)
    breaker.failed(0.0, unreachable=True)
    assert breaker.state(1.0) == HALF_OPEN and breaker.allows(1.0)
    breaker.begin(1.0)
    assert not breaker.allows(1.1)
    breaker.succeeded()
    assert breaker.state(1.1) == CLOSED and breaker.allows(1.1)


def test_a_probe_that_fails_doubles_the_pause_up_to_half_a_minute() -> None:
    breaker, now, pauses = Breaker(COOLDOWN_S), 0.0, []
    for _ in range(8):
        breaker.begin(now)
        breaker.failed(now, unreachable=True)
        pauses.append(breaker.open_until - now)
        now = breaker.open_until
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_those_under_way_when_it_broke_do_not_lengthen_the_pause() -> None:
    breaker = Breaker(COOLDOWN_S)
    for _ in range(50):
        breaker.failed(0.0, unreachable=True)
    assert breaker.state(COOLDOWN_S) == HALF_OPEN


@given(
    steps=st.lists(st.tuples(st.integers(0, 30), st.floats(0, 0.2)), min_size=1, max_size=60),
)
def test_retries_are_a_share_of_requests_and_a_trickle(steps: list[tuple[int, float]]) -> None:
    budget = RetryBudget(share=0.2, per_second=10.0)
    now = begin = 50.0
    requests = retries = 0
    for asked, seconds in steps:
        now += seconds
        for _ in range(asked):
            budget.earn()
            requests += 1
            retries += budget.take(now)
    assert retries <= 10.0 + 0.2 * requests + 10.0 * (now - begin) + 1e-6


def test_an_idle_minute_does_not_save_up_a_storm() -> None:
    budget = RetryBudget()
    assert budget.take(1.0)
    assert sum(budget.take(10_000.0) for _ in range(1000)) <= 100
