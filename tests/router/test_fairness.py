"""Virtual token counters: tenants that always have work waiting are served alike, by weight.

The bound is that of Sheng et al. (OSDI 2024, theorem on backlogged clients): over any interval, the
service of two backlogged tenants differs by at most 2·max(w_p·L_input, w_q·M), M being the tokens
that fit the running batch. Here a request is charged what it is expected to cost when it goes and
set right when it ends, so what is charged and not yet served, and what was guessed wrong, lies
within the batch: M becomes the weighted tokens of a batch full of the longest requests, and the
bound 2·M (M ≥ w_p·L_input always). Weighted: both sides are divided by the smallest weight.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import pytest

from router.lanes import OUTPUT_WEIGHT, Lane, Rules
from router.station import weighted
from router.tickets import Ticket
from tests.router.stepping import Ask, Stepping

SEATS = 8
PROMPT, ANSWER = 200, 64
LARGEST = weighted(PROMPT, ANSWER)
FREE = Rules(slowdown=1e9)
"""No pace: seats are all that is scarce."""


def asking(
    rng: random.Random, tenant: str, weight: float, *, blind: bool = True, short: bool = False
) -> Callable[[], Ask]:
    def ask() -> Ask:
        tokens = rng.randint(1, 8 if short else ANSWER)
        guess = rng.randint(1, ANSWER) if blind else tokens
        prompt = rng.randint(1, PROMPT)
        return Ask(tenant, None, tokens, prompt, guess=guess, weight=weight)

    return ask


class Service:
    """What each tenant was served, after each step: weighted tokens by weight."""

    def __init__(self, engine: Stepping, weights: Mapping[str, float]) -> None:
        self.engine = engine
        self.weights = weights
        self.seen: list[dict[str, float]] = []
        self.counters: list[dict[str, float]] = []
        self._ended = dict.fromkeys(weights, 0.0)
        self._counted = 0
        engine.watch = self.look

    def look(self) -> None:
        for done in self.engine.done[self._counted :]:
            self._ended[done.ask.tenant] += done.ask.cost
        self._counted = len(self.engine.done)
        served = {**self._ended}
        for ticket, left in self.engine.tokens.items():
            ask = self.engine.asks[ticket][0]
            if left < ask.tokens:  # its prompt is worked through in its first step
                served[ask.tenant] += ask.prompt + OUTPUT_WEIGHT * (ask.tokens - left)
        self.seen.append({t: served[t] / weight for t, weight in self.weights.items()})
        self.counters.append({t: self.engine.lane.flows[t].counter for t in self.weights})

    def furthest_apart(self, one: str, other: str, since: int = 0) -> float:
        """Over any interval: how much more service one got than the other."""
        gaps = [seen[one] - seen[other] for seen in self.seen[since:]]
        return max(gaps) - min(gaps)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (2.0, 1.0), (1.0, 2.0, 0.5), (1.0,) * 6])
@pytest.mark.parametrize("blind", [False, True])
def test_backlogged_tenants_service_differs_by_less_than_the_bound(
    weights: tuple[float, ...], blind: bool
) -> None:
    rng = random.Random(len(weights))
    lane = Lane(SEATS, 4, FREE)
    engine = Stepping(lane)
    names = {f"t{number}": weight for number, weight in enumerate(weights)}
    service = Service(engine, names)
    for number, (name, weight) in enumerate(names.items()):
        # Some send short requests and many of them: neither buys anything.
        ask = asking(rng, name, weight, blind=blind, short=number % 2 == 1)
        for _ in range(2 * SEATS + 20 * (number % 2)):
            engine.client(ask)
    engine.run(60.0)

    bound = 2 * SEATS * LARGEST / min(weights)
    last = service.seen[-1]
    assert min(last.values()) > 3 * bound, "too short a run to show anything"
    for one in names:
        for other in names:
            assert service.furthest_apart(one, other) <= bound

    # The counters themselves: one request apart, and what was guessed wrong in one batch.
    wrong = SEATS * OUTPUT_WEIGHT * ANSWER if blind else 0.0
    apart = max(max(c.values()) - min(c.values()) for c in service.counters)
    assert apart <= (LARGEST + wrong) / min(weights)


def test_first_come_first_served_would_break_the_bound() -> None:
    """What the bound is worth: the same load in one tenant's name is served by who sends more."""
    rng = random.Random(1)
    engine = Stepping(Lane(SEATS, 4, FREE))
    served = {"few": 0.0, "many": 0.0}
    for name, clients in (("few", 2), ("many", 30)):
        inner = asking(rng, "everybody", 1.0)

        def ask(name: str = name, inner: Callable[[], Ask] = inner) -> Ask:
            made = inner()
            served[name] += made.cost
            return made

        for _ in range(clients):
            engine.client(ask)
    engine.run(60.0)
    assert served["many"] - served["few"] > 2 * SEATS * LARGEST


def test_a_tenant_that_was_away_gets_no_credit_for_it() -> None:
    rng = random.Random(3)
    engine = Stepping(Lane(SEATS, 4, FREE))
    service = Service(engine, {"here": 1.0, "away": 1.0})
    for _ in range(2 * SEATS):
        engine.client(asking(rng, "here", 1.0))
    engine.client(asking(rng, "away", 1.0))
    engine.run(0.1)
    begin = engine.now + 30.0
    for _ in range(2 * SEATS):
        engine.client(asking(rng, "away", 1.0), at=begin)
    engine.run(begin + 0.5)
    since = len(service.seen)
    engine.run(begin + 30.0)
    assert service.furthest_apart("here", "away", since) <= 2 * SEATS * LARGEST


def test_a_newcomer_to_an_idle_lane_owes_what_the_last_at_work_owed() -> None:
    lane = Lane(1, 4, FREE)
    for second in range(100):
        one = Ticket("old", 1.0, None, 50.0, float(second))
        assert lane.enter(one, float(second))
        lane.leave(one, second + 0.5, 50.0)
    new = [Ticket("new", 1.0, None, 50.0, 200.0) for _ in range(20)]
    old = [Ticket("old", 1.0, None, 50.0, 200.0) for _ in range(20)]
    for one in (*new, *old):
        lane.enter(one, 200.0)
    order, running = [], new[0]
    for _ in range(20):
        (running,) = lane.leave(running, 201.0, 50.0)
        order.append(running.tenant)
    assert abs(order.count("old") - order.count("new")) <= 2


def test_what_was_charged_is_given_back_at_the_weight_it_was_charged_by() -> None:
    lane = Lane(4, 4, FREE)
    lane.enter(Ticket("other", 1.0, None, 1.0, 0.0), 0.0)
    before = Ticket("a", 1.0, None, 100.0, 0.0)
    lane.enter(before, 0.0)
    owed = lane.flows["a"].counter
    lane.enter(Ticket("a", 0.1, None, 0.0, 1.0), 1.0)  # an admin changed the weight meanwhile
    lane.leave(before, 2.0, 0.0)
    assert lane.flows["a"].counter == pytest.approx(owed - 100.0)


@pytest.mark.parametrize("heavy, each", [(30, 4), (4, 64), (8, 16)])
def test_with_slots_for_all_a_request_now_and_then_is_served_like_any_other(
    heavy: int, each: int
) -> None:
    """Its adapter is in no step when it comes, the others' always are: no reason to wait."""
    rng = random.Random(1)
    engine = Stepping(Lane(64, 64, FREE))

    def asking(tenant: str) -> Callable[[], Ask]:
        return lambda: Ask(tenant, tenant, rng.randint(16, 48))

    for number in range(heavy * each):
        engine.client(asking(f"heavy-{number % heavy}"))
    for number in range(5):
        engine.client(asking(f"light-{number}"))
    engine.run(40.0)
    waits = [done.waited for done in engine.done if done.ask.tenant.startswith("light")]
    others = sorted(d.waited for d in engine.done if d.ask.tenant.startswith("heavy"))
    assert len(waits) > 50
    assert max(waits) <= others[int(len(others) * 0.99)]
