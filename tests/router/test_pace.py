"""Pace: what a flood of one tenant's may cost the steps of the others."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.lanes import Lane, Rules
from router.pace import Pace
from tests.router.stepping import REQUEST_S, STEP_S, Ask, Stepping

SLOWDOWN = 1.5
TOLERANCE = 1.1
"""While the pace is being learned, and because `together` is an average."""


@given(
    step=st.floats(0.001, 0.1),
    ratio=st.floats(2.0, 200.0),
    batches=st.lists(st.integers(1, 128), min_size=300, max_size=300),
)
def test_learns_what_a_step_and_a_request_cost(
    step: float, ratio: float, batches: list[int]
) -> None:
    if len({*batches[-150:]}) < 20:
        return
    pace = Pace()
    for size in batches:
        pace.learn(size, step + step / ratio * size)
    assert pace.ratio == pytest.approx(ratio, rel=0.2)


def test_noise_does_not_lead_it_astray() -> None:
    rng, pace = random.Random(1), Pace()
    for _ in range(2000):
        size = rng.uniform(1, 64)
        pace.learn(size, (STEP_S + REQUEST_S * size) * rng.uniform(0.8, 1.2))
    assert pace.ratio == pytest.approx(STEP_S / REQUEST_S, rel=0.35)


def test_before_it_knows_anything_it_assumes_something_usual() -> None:
    pace = Pace()
    assert pace.most(1.0, 1.0) == 1.0
    assert 4 < pace.most(1.0, 1.5) < 20
    for _ in range(50):
        pace.learn(8.0, 0.01)  # always the same batch: nothing to tell a step from a request by
    assert 4 < pace.most(1.0, 1.5) < 20


def test_follows_an_engine_that_changes() -> None:
    rng, pace = random.Random(2), Pace()
    for ratio in (10.0, 60.0):
        for _ in range(1500):
            size = rng.uniform(1, 64)
            pace.learn(size, 0.01 * (1 + size / ratio))
        assert pace.ratio == pytest.approx(ratio, rel=0.2)


def test_requests_that_cost_nothing_extra_are_not_held_back() -> None:
    rng, pace = random.Random(3), Pace()
    for _ in range(1000):
        pace.learn(rng.uniform(1, 64), 0.01)
    assert pace.most(1.0, 1.5) > 1000


def played(clients: dict[str, int], slowdown: float, seconds: float = 40.0) -> Stepping:
    """Closed loops of so many clients for each tenant; what ended after a start-up."""
    rng = random.Random(7)
    engine = Stepping(Lane(128, 16, Rules(slowdown=slowdown)))

    def asking(tenant: str) -> Callable[[], Ask]:
        return lambda: Ask(tenant, tenant, tokens=rng.randint(16, 48))

    for tenant, count in clients.items():
        for _ in range(count):
            engine.client(asking(tenant))
    engine.run(seconds)
    engine.done = [done for done in engine.done if done.came_at > seconds / 4]
    return engine


def step_s(engine: Stepping, tenants: set[str]) -> float:
    """Mean time of a token of theirs, as they feel it: waiting counts."""
    done = [each for each in engine.done if each.ask.tenant in tenants]
    assert len(done) > 100
    return sum(each.latency for each in done) / sum(each.ask.tokens for each in done)


def p99(engine: Stepping, tenants: set[str]) -> float:
    """Of their latencies, seconds."""
    took = sorted(each.latency for each in engine.done if each.ask.tenant in tenants)
    return took[int(len(took) * 0.99)]


LIGHT = {f"light-{number}": 1 for number in range(7)}


def test_a_flood_does_not_slow_light_tenants_by_more_than_was_said() -> None:
    alone = played(LIGHT, SLOWDOWN)
    flooded = played(LIGHT | {"flood": 64}, SLOWDOWN)
    unchecked = played(LIGHT | {"flood": 64}, 1e9)
    names = {*LIGHT}
    most = SLOWDOWN * TOLERANCE
    assert step_s(flooded, names) <= most * step_s(alone, names)
    assert p99(flooded, names) <= 2.0 * p99(alone, names)
    assert step_s(unchecked, names) > most * step_s(alone, names), "there is nothing to prevent"


def test_the_flood_still_gets_what_costs_the_others_nothing() -> None:
    flooded = played(LIGHT | {"flood": 64}, SLOWDOWN)
    tokens: dict[str, int] = {}
    for each in flooded.done:
        tokens[each.ask.tenant] = tokens.get(each.ask.tenant, 0) + each.ask.tokens
    assert tokens["flood"] > 2 * max(tokens[name] for name in LIGHT)


@pytest.mark.parametrize("each", [1, 4, 8])
def test_tenants_that_all_want_the_same_are_not_held_back(each: int) -> None:
    tenants = {f"t{number}": each for number in range(8)}
    paced, free = played(tenants, SLOWDOWN), played(tenants, 1e9)
    assert len(paced.done) >= 0.95 * len(free.done)


def test_a_heavier_tenant_may_have_more_under_way() -> None:
    tokens = {}
    for weight in (1.0, 8.0):
        engine = Stepping(Lane(128, 16, Rules(slowdown=1.2)))
        for tenant in LIGHT:
            engine.client(partial(Ask, tenant, tenant))
        for _ in range(64):
            engine.client(partial(Ask, "flood", "flood", weight=weight))
        engine.run(20.0)
        tokens[weight] = sum(e.ask.tokens for e in engine.done if e.ask.tenant == "flood")
    assert tokens[8.0] > 1.25 * tokens[1.0]
