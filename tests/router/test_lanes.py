"""The lane in front of one replica: nobody lost, nobody doubled, nobody waiting for ever."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from router.lanes import Lane, Rules
from router.tickets import Ticket
from tests.router.stepping import REQUEST_S, STEP_S, TICK_S, Ask, Stepping

AGING_S = 5.0


def ticket(
    tenant: str, adapter: str | None, at: float, cost: float = 10.0, weight: float = 1.0
) -> Ticket:
    return Ticket(tenant, weight, adapter, cost, at)


class Lanes(RuleBasedStateMachine):
    """Random tenants, weights, adapters and times against plain lists of who waits and who runs."""

    @initialize(seats=st.integers(1, 6), slots=st.integers(1, 3), slowdown=st.sampled_from([1, 2]))
    def begin(self, seats: int, slots: int, slowdown: float) -> None:
        self.lane = Lane(seats, slots, Rules(slowdown, AGING_S))
        self.now = 100.0
        self.waiting: list[Ticket] = []
        self.running: list[Ticket] = []

    def granted(self, tickets: list[Ticket]) -> None:
        assert len({*tickets}) == len(tickets)
        for one in tickets:
            assert one in self.waiting
            self.waiting.remove(one)
            self.running.append(one)

    @rule(
        tenant=st.sampled_from("abc"),
        weight=st.sampled_from([0.5, 1.0, 2.0]),
        adapter=st.sampled_from([None, "x", "y", "z", "w"]),
        cost=st.floats(1, 1000),
    )
    def enter(self, tenant: str, weight: float, adapter: str | None, cost: float) -> None:
        one = Ticket(tenant, weight, adapter, cost, self.now)
        closed = adapter in self.lane.closing
        if self.lane.enter(one, self.now):
            assert not closed
            self.running.append(one)
        else:
            self.waiting.append(one)
            others = {other.tenant for other in self.running + self.waiting} - {tenant}
            if adapter is None and not others and [*self.lane.flows] == [tenant]:
                assert len(self.running) == self.lane.seats, "a lone tenant waits, seats are free"

    @precondition(lambda self: self.running)
    @rule(data=st.data(), cost=st.floats(0, 1000))
    def leave(self, data: st.DataObject, cost: float) -> None:
        one = data.draw(st.sampled_from(self.running))
        self.running.remove(one)
        self.granted(self.lane.leave(one, self.now, cost))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(one)
        self.lane.abandon(one)

    @rule()
    def look(self) -> None:
        self.granted(self.lane.next(self.now))
        self.lane.tidy(self.now)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, AGING_S, 60.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def counts_add_up(self) -> None:
        lane = self.lane
        held = [one.adapter for one in self.running if one.adapter is not None]
        assert lane.running == len(self.running) <= lane.seats
        assert lane.queued == len(self.waiting)
        assert lane.active == {adapter: held.count(adapter) for adapter in {*held}}
        holders = lane.active.keys() - {*lane.deck}
        assert len(holders) <= lane.slots
        assert lane.closing.keys() <= holders and lane.joined.keys() == lane.active.keys()
        assert len(lane.active) == len(holders) + len(lane.deck)
        assert len(lane.deck) <= len(lane.closing)
        assert lane.lacking.keys() == lane.wants.keys() - lane.active.keys() - {None}
        assert {name: want.count for name, want in lane.wants.items()} == Counter(
            one.adapter for one in self.waiting
        )
        queues = [q for flow in lane.flows.values() for q in flow.waiting.values()]
        assert all(queues)
        assert {one for queue in queues for one in queue} == {*self.waiting}
        for name, flow in lane.flows.items():
            assert flow.running == sum(one.tenant == name for one in self.running)
            assert flow.queued == sum(one.tenant == name for one in self.waiting)
            assert flow.queued == sum(map(len, flow.waiting.values()))

    @invariant()
    def an_empty_engine_leaves_nobody_waiting(self) -> None:
        assert self.running or not self.waiting

    def teardown(self) -> None:
        """Whoever waits goes in the end, as the others leave: nobody is forgotten."""
        if not hasattr(self, "lane"):
            return
        for _ in range(len(self.running) + len(self.waiting)):
            one = self.running.pop(0)
            self.granted(self.lane.leave(one, self.now, one.cost))
        assert not self.running and not self.waiting and not self.lane.closing


TestLanes = Lanes.TestCase
TestLanes.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def test_a_lone_tenant_uses_every_seat_whatever_the_pace() -> None:
    lane = Lane(8, 2, Rules(slowdown=1.0))
    assert all(lane.enter(ticket("a", "x", 0.0), 0.0) for _ in range(8))
    assert not lane.enter(ticket("a", "x", 0.0), 0.0)


def test_a_request_that_needs_no_slot_does_not_wait_behind_one_that_does() -> None:
    lane = Lane(8, 1)
    lane.enter(ticket("b", "long", 0.0), 0.0)
    assert not lane.enter(ticket("a", "x", 0.0), 0.0)
    assert lane.enter(ticket("a", None, 1.0), 1.0)


def test_of_one_tenants_queues_the_oldest_request_goes_first() -> None:
    lane = Lane(1, 4, Rules(aging_s=1e6))
    running = ticket("a", "x", 0.0)
    lane.enter(running, 0.0)
    lane.enter(ticket("a", None, 1.0), 1.0)
    tickets = [ticket("a", "x", 2.0 + n) for n in range(20)]
    for one in tickets:
        lane.enter(one, one.came_at)
    lane.active["x"] += 1  # another tenant holds the slot: only the seat is scarce
    (gone,) = lane.leave(running, 30.0, 10.0)
    assert gone.adapter is None


def closed(lane: Lane) -> list[str]:
    return [*lane.closing]


def test_who_has_waited_too_long_is_next_whatever_queue_is_longer() -> None:
    lane = Lane(8, 1, Rules(aging_s=AGING_S))
    lane.service_s = 100.0  # long requests: nobody is put on deck, and latecomers join
    running = ticket("a", "x", 0.0)
    assert lane.enter(running, 0.0)
    wanting = ticket("b", "y", 1.0)
    assert not lane.enter(wanting, 1.0)
    for number in range(3):
        assert not lane.enter(ticket("c", "z", 1.1), 1.1 + number / 10)
    assert lane.next(1.0 + AGING_S) == [] and closed(lane) == ["x"]
    late = ticket("a", "x", 7.0)
    assert not lane.enter(late, 7.0), "an adapter that closes takes no more"
    assert lane.leave(running, 9.0, 10.0) == [wanting]
    assert not lane.closing


def test_an_adapter_opens_again_when_nobody_wants_its_slot_any_more() -> None:
    lane = Lane(4, 1, Rules(aging_s=AGING_S))
    lane.service_s = 100.0
    lane.enter(ticket("a", "x", 0.0), 0.0)
    wanting = ticket("b", "y", 1.0)
    lane.enter(wanting, 1.0)
    lane.next(7.0)
    assert closed(lane) == ["x"]
    lane.abandon(wanting)
    assert lane.enter(ticket("a", "x", 8.0), 8.0)


def test_a_latecomer_joins_only_while_that_serves_as_many_as_the_longest_queue_would() -> None:
    lane = Lane(8, 1)
    lane.service_s = 10.0
    lane.enter(ticket("a", "x", 0.0), 0.0)
    for number in range(4):
        lane.enter(ticket("b", "y", 0.0), 0.0 + number / 100)
    assert lane.enter(ticket("a", "x", 1.0), 1.0), "a moment more for one more"
    assert not lane.enter(ticket("a", "x", 8.0), 8.0), "most of another turn for one, four wait"


def test_the_next_adapters_requests_are_in_the_engine_before_the_slot_comes_free() -> None:
    lane = Lane(8, 1)
    lane.service_s = 1.0
    running, other = ticket("a", "x", 0.0), ticket("a", "x", 0.0)
    assert lane.enter(running, 0.0) and lane.enter(other, 0.0)
    waiting = [ticket("b", "y", 0.1) for _ in range(3)]
    assert not any(lane.enter(one, 0.1) for one in waiting)
    assert lane.leave(running, 0.9, 10.0) == waiting
    assert lane.deck == ["y"] and closed(lane) == ["x"]
    assert lane.enter(ticket("b", "y", 0.95), 0.95), "who comes while it is on deck goes along"
    late = ticket("a", "x", 0.96)
    assert not lane.enter(late, 0.96)
    assert lane.leave(other, 1.0, 10.0) == []
    assert lane.deck == [] and lane.joined["y"] == 1.0, "its turn begins when the slot is free"


def test_nobody_is_put_on_deck_behind_a_request_that_turns_out_long() -> None:
    lane = Lane(8, 1)
    lane.service_s = 1.0
    long = ticket("a", "x", 0.0)
    assert lane.enter(long, 0.0)
    wanting = ticket("b", "y", 2.5)
    assert not lane.enter(wanting, 2.5)
    assert lane.next(3.0) == [] and closed(lane) == ["x"], "closed, and yet nobody is sent"
    assert lane.leave(long, 60.0, 10.0) == [wanting]


def test_a_longer_queue_goes_before_one_that_waits_a_little_longer() -> None:
    def after(came_at: float) -> str:
        lane = Lane(8, 1)
        lane.service_s = 100.0
        running = ticket("a", "x", 0.0)
        lane.enter(running, 0.0)
        lane.enter(ticket("b", "y", 1.0), 1.0)
        for _ in range(2):
            lane.enter(ticket("c", "z", came_at), came_at)
        return str(lane.leave(running, 9.0, 10.0)[0].adapter)

    assert after(1.5) == "z"
    assert after(2.5) == "y"


def longest_wait(
    slots: int, zipf: float, most: int, loyal: int = 0, aging_s: float = AGING_S
) -> float:
    """Of anybody, while 60 s pass: the longest wait of 64 clients for one of 32 adapters, with
    answers of up to `most` tokens. `loyal` clients ask for the first adapter only."""
    adapters, clients = 32, 64
    rng = random.Random(f"{slots} {adapters} {zipf}")
    popularity = [1 / (rank + 1) ** zipf for rank in range(adapters)]

    def ask() -> Ask:
        (number,) = rng.choices(range(adapters), popularity)
        return Ask(str(number), str(number), tokens=rng.randint(1, most))

    lane = Lane(clients, slots, Rules(aging_s=aging_s))
    engine = Stepping(lane, slots)
    longest = 0.0

    def watch() -> None:
        nonlocal longest
        longest = max(longest, engine.waiting())

    engine.watch = watch
    for number in range(clients):
        engine.client(ask if number >= loyal else lambda: Ask("0", "0", rng.randint(1, most)))
    engine.run(60.0)
    return longest


@pytest.mark.parametrize(
    "slots, zipf, most, loyal",
    [(4, 1.0, 32, 0), (4, 1.5, 128, 0), (1, 1.0, 32, 0), (1, 0.0, 32, 16), (2, 1.0, 64, 32)],
)
def test_nobody_waits_longer_for_a_slot_than_the_stated_bound(
    slots: int, zipf: float, most: int, loyal: int
) -> None:
    longest_request_s = most * (STEP_S + REQUEST_S * 64)
    bound = AGING_S + TICK_S + math.ceil(32 / slots) * longest_request_s
    assert longest_wait(slots, zipf, most, loyal) <= bound


def test_without_aging_they_would_wait_for_ever() -> None:
    assert longest_wait(1, 0.0, 32, loyal=16, aging_s=1e6) > 55.0


@dataclass
class Outcome:
    """Of `worst`: the greatest 99th percentile of any tenant's seconds."""

    requests: int
    worst: float


def zipf(lane: Lane, seed: int) -> Outcome:
    """A minute of 64 clients and 32 adapters, 1/rank, before an engine of 4 slots."""
    rng = random.Random(seed)
    popularity = [1 / (rank + 1) for rank in range(32)]

    def ask() -> Ask:
        (number,) = rng.choices(range(32), popularity)
        return Ask(str(number), str(number))

    engine = Stepping(lane, slots=4, trip_s=0.003)
    for number in range(64):
        engine.client(ask, at=number / 32)
    engine.run(62.0)
    took: dict[str, list[float]] = {}
    for done in engine.done:
        took.setdefault(done.ask.tenant, []).append(done.latency)
    enough = [sorted(each) for each in took.values() if len(each) >= 20]
    return Outcome(len(engine.done), max(each[math.ceil(0.99 * len(each)) - 1] for each in enough))


def test_with_too_few_slots_it_serves_more_and_sooner_than_first_come_first_served() -> None:
    plain = [zipf(Lane(128, 1000, Rules(slowdown=1e9)), seed) for seed in range(5)]
    ours = [zipf(Lane(128, 4), seed) for seed in range(5)]
    assert sum(o.requests for o in ours) > 1.01 * sum(p.requests for p in plain)
    assert sum(o.worst for o in ours) < 0.95 * sum(p.worst for p in plain)
