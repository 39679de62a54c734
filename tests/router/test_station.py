"""Waiting at a station: timeouts, clients that leave, engines that break; no seat is ever lost."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.breaker import Breaker
from router.lanes import Lane, Rules
from router.ledger import Ledger
from router.station import Crowded, EngineGone, Station, WaitedTooLong
from router.tickets import Ticket
from router.view import Replica

LONG_S = 30.0


def station(seats: int = 1, slots: int = 4, queue_limit: int = 100) -> Station:
    return Station(
        engine=Replica("engine-0", "http://127.0.0.1:1", "base"),
        lane=Lane(seats, slots, Rules(slowdown=1e9)),
        ledger=Ledger(slots, 8),
        breaker=Breaker(1.0),
        queue_limit=queue_limit,
    )


def ticket(tenant: str = "a", adapter: str | None = "x", weight: float = 1.0) -> Ticket:
    return Ticket(tenant, weight, adapter, 10.0, time.monotonic())


def enter(at: Station, one: Ticket) -> bool:
    return at.enter(one, one.came_at)


def leave(at: Station, one: Ticket) -> None:
    at.leave(one, time.monotonic(), 10.0)


def empty(at: Station) -> bool:
    lane = at.lane
    return not (lane.running or lane.queued or lane.active or lane.closing or at._waiting)


async def test_a_place_is_given_when_one_comes_free() -> None:
    at = station()
    first, second = ticket(), ticket("b", "y")
    assert enter(at, first) and not enter(at, second)
    waiting = asyncio.ensure_future(at.wait(second, LONG_S))
    await asyncio.sleep(0)
    assert not waiting.done()
    leave(at, first)
    await waiting
    assert at.ledger.where("y") == "slot" and at.take_loads() == {"cold": 2}
    leave(at, second)
    assert empty(at)


async def test_who_waits_too_long_is_told_and_leaves_no_trace() -> None:
    at = station()
    first, second = ticket(), ticket("b")
    enter(at, first)
    enter(at, second)
    with pytest.raises(WaitedTooLong):
        await at.wait(second, 0.001)
    assert at.lane.queued == 0 and at.lane.running == 1
    leave(at, first)
    assert empty(at)


async def test_a_client_that_leaves_while_it_waits_takes_no_place() -> None:
    at = station()
    first, second, third = ticket(), ticket("b"), ticket("c")
    for one in (first, second, third):
        enter(at, one)
    left = asyncio.ensure_future(at.wait(second, LONG_S))
    stays = asyncio.ensure_future(at.wait(third, LONG_S))
    await asyncio.sleep(0)
    left.cancel()
    leave(at, first)  # before the cancelled task had a chance to run
    with pytest.raises(asyncio.CancelledError):
        await left
    await stays
    leave(at, third)
    assert empty(at)


async def test_a_client_that_leaves_just_when_its_turn_comes_hands_the_place_on() -> None:
    at = station()
    first, second, third = ticket(), ticket("b"), ticket("c")
    for one in (first, second, third):
        enter(at, one)
    left = asyncio.ensure_future(at.wait(second, LONG_S))
    stays = asyncio.ensure_future(at.wait(third, LONG_S))
    await asyncio.sleep(0)
    leave(at, first)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    await stays
    leave(at, third)
    assert empty(at)


async def test_a_place_that_comes_free_just_when_the_time_is_over_is_not_lost() -> None:
    """The timer and the grant in one turn of the loop, in either order."""
    for grant_first in (True, False):
        at = station()
        first, second = ticket(), ticket("b")
        enter(at, first)
        enter(at, second)
        waiting = asyncio.ensure_future(at.wait(second, 0.001))
        await asyncio.sleep(0)
        if grant_first:
            leave(at, first)
        time.sleep(0.002)  # the timer is due at the loop's next turn
        if not grant_first:
            asyncio.get_running_loop().call_soon(leave, at, first)
        try:
            await waiting
            leave(at, second)
        except WaitedTooLong:
            await asyncio.sleep(0)
        assert empty(at)


async def test_a_broken_engine_sends_everybody_away() -> None:
    at = station()
    first, second, third = ticket(), ticket("b"), ticket("c")
    for one in (first, second, third):
        enter(at, one)
    waiting = [asyncio.ensure_future(at.wait(one, LONG_S)) for one in (second, third)]
    await asyncio.sleep(0)
    at.send_away()
    for each in waiting:
        with pytest.raises(EngineGone):
            await each
    leave(at, first)
    assert empty(at)


async def test_a_full_queue_sends_away_the_latest_of_whoever_fills_it_most() -> None:
    at = station(queue_limit=3)
    running = ticket("flood")
    enter(at, running)
    flood = [ticket("flood") for _ in range(3)]
    waiting = []
    for one in flood:
        enter(at, one)
        waiting.append(asyncio.ensure_future(at.wait(one, LONG_S)))
    await asyncio.sleep(0)
    with pytest.raises(Crowded) as own:
        enter(at, ticket("flood"))
    assert own.value.own and own.value.retry_after_s >= 1.0
    light = ticket("light")
    assert not enter(at, light)
    waiting.append(asyncio.ensure_future(at.wait(light, LONG_S)))
    with pytest.raises(Crowded) as evicted:
        await waiting[2]
    assert evicted.value.own
    assert not any(waiting[number].done() for number in (0, 1, 3))
    assert at.lane.queued == 3
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    leave(at, running)
    assert empty(at)


async def test_a_heavier_tenant_may_fill_more_of_the_queue() -> None:
    at = station(queue_limit=3)
    enter(at, ticket("light"))
    for one in (ticket("heavy", weight=3.0), ticket("heavy", weight=3.0), ticket("light")):
        enter(at, one)
    with pytest.raises(Crowded) as crowded:
        enter(at, ticket("light"))
    assert crowded.value.own
    assert at.lane.flows["heavy"].queued == 2


async def test_without_a_queue_a_free_place_is_taken_all_the_same() -> None:
    at = station(seats=2, queue_limit=0)
    assert enter(at, ticket()) and enter(at, ticket("b"))
    with pytest.raises(Crowded):
        enter(at, ticket("c"))
    assert at.lane.queued == 0


async def test_a_full_queue_is_no_reason_to_refuse_what_need_not_wait() -> None:
    at = station(seats=4, slots=1, queue_limit=1)
    enter(at, ticket("a", "x"))
    enter(at, ticket("b", "y"))
    assert enter(at, ticket("c", None))


async def test_time_alone_lets_go_who_may() -> None:
    at = station(seats=4, slots=1)
    at.lane.rules = Rules(slowdown=1e9, aging_s=5.0)
    enter(at, ticket("a", "x"))
    wanting = ticket("b", "y")
    enter(at, wanting)
    at.tick(wanting.came_at + 1.0)
    assert not at.lane.closing
    at.tick(wanting.came_at + 6.0)
    assert [*at.lane.closing] == ["x"]


async def _visit(
    at: Station, one: Ticket, patience_s: float, work: int, outcome: list[str]
) -> None:
    """What the router does: enter, wait, work, leave."""
    try:
        if not enter(at, one):
            await at.wait(one, patience_s)
    except (WaitedTooLong, Crowded, EngineGone) as error:
        outcome.append(type(error).__name__)
        return
    try:
        assert at.lane.running <= at.lane.seats
        for _ in range(work):
            await asyncio.sleep(0)
        outcome.append("served")
    finally:
        leave(at, one)


_visits = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([None, "x", "y", "z"]),
        st.sampled_from([0.0, 0.0005, LONG_S]),
        st.integers(0, 5),
    ),
    min_size=1,
    max_size=25,
)
_events = st.lists(
    st.tuples(st.sampled_from(["cancel", "turn", "break", "tick"]), st.integers(0, 24)), max_size=60
)


@settings(max_examples=200, deadline=None)
@given(
    visits=_visits,
    events=_events,
    seats=st.integers(1, 3),
    slots=st.integers(1, 2),
    limit=st.integers(0, 8),
)
def test_no_seat_is_lost_whoever_leaves_whenever(
    visits: list[tuple[str, str | None, float, int]],
    events: list[tuple[str, int]],
    seats: int,
    slots: int,
    limit: int,
) -> None:
    async def play() -> None:
        at = station(seats, slots, limit)
        outcome: list[str] = []
        tasks = [
            asyncio.ensure_future(_visit(at, ticket(who, what), patience, work, outcome))
            for who, what, patience, work in visits
        ]
        for event, number in events:
            if event == "cancel":
                tasks[number % len(tasks)].cancel()
            elif event == "break":
                at.send_away()
            elif event == "tick":
                at.tick(time.monotonic())
            else:
                await asyncio.sleep(0)
        ended = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        cancelled = [end for end in ended if isinstance(end, asyncio.CancelledError)]
        assert [end for end in ended if end is not None] == cancelled
        assert len(outcome) + len(cancelled) == len(tasks)
        assert empty(at)

    asyncio.run(play())
