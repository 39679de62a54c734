"""A lane: the queue in front of one replica, and who goes next. Pure: no clock, no event loop.

A replica works on `seats` requests at once, from at most `slots` distinct adapters; what the engine
gets beyond that it queues itself, first come first served, and then one tenant's flood is
everybody's wait. So no more than that is sent, and here is decided what:

- **Virtual token counters** (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024):
  each tenant's served tokens, output counted double, divided by its weight. The smallest goes next;
  a tenant that comes back is lifted to the smallest of those at work, so that nobody saves up.
  A request is charged what it is expected to cost when it goes, and set right when it ends.
- **Adapters hold slots** until none of their requests is left, so that a slot is used by as many
  as there are. A slot that is free goes to the adapter with the longest queue among those that have
  waited about as long as the longest; with slots for all that want one, the counter decides alone.
- **Aging**: when somebody has waited `aging_s` for a slot, one adapter takes no more requests; when
  its last has ended, the slot is theirs.
  With seats to spare, the first in a queue so waits for a slot at most `aging_s`, one look at the
  lane (half a second, or until a request ends) and ⌈adapters/slots⌉ times the longest request: each
  older claim takes one turn at most, and closes as soon as it has begun.
- **Pace**: a tenant with more than twice the tenants' median demand may not make the engine's steps
  longer than `slowdown` times what they would be without what it has beyond that. Seats that it may
  not use are left empty: its own throughput is what the others' latency costs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from router.pace import Pace

_AVERAGE_S = 2.0
_ABOUT = 0.9
_AMPLE = 2.0
"""Times the median demand that nobody is held back for."""
_PRESENT = 0.1
"""Requests at the lane on average, from which on a tenant counts as being there."""
OUTPUT_WEIGHT = 2.0
"""What an output token counts in input tokens (the paper's w_q/w_p)."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A request at a lane. `cost` in weighted tokens; times in monotonic seconds."""

    tenant: str
    weight: float
    adapter: str | None
    """The version's digest; None for the base, which needs no slot."""
    cost: float
    came_at: float
    went_at: float = 0.0
    area: float = 0.0
    """The lane's `area` when it went."""


@dataclass(slots=True, eq=False)
class Flow:
    """A tenant at a lane."""

    weight: float = 1.0
    counter: float = 0.0
    running: int = 0
    queued: int = 0
    waiting: dict[str | None, deque[Ticket]] = field(default_factory=dict)
    level: float = 0.0
    """Requests at the lane, running or waiting, averaged over the last seconds, up to `at`."""
    at: float = 0.0

    def demand(self, now: float) -> float:
        """The average, brought up to now."""
        here = self.running + self.queued
        if now > self.at:
            self.level = here + (self.level - here) * math.exp((self.at - now) / _AVERAGE_S)
            self.at = now
        return max(self.level, here)


@dataclass(frozen=True, slots=True)
class Rules:
    """The dials of a lane; seconds and weighted tokens."""

    slowdown: float = 1.3
    aging_s: float = 10.0


@dataclass(slots=True, eq=False)
class Lane:
    """One replica's queue. `enter` and `leave` return the tickets that may go now."""

    seats: int
    slots: int
    rules: Rules = field(default_factory=Rules)
    pace: Pace = field(default_factory=Pace)
    running: int = 0
    queued: int = 0
    flows: dict[str, Flow] = field(default_factory=dict)
    active: dict[str, int] = field(default_factory=dict)
    """Adapters that hold a slot, and how many requests each has in the engine."""
    area: float = 0.0
    """Requests in the engine, integrated over time, up to `at`."""
    at: float = 0.0
    last: float = 0.0
    """The counter of whoever was the last at work, when nobody is any more."""
    closing: dict[str, str] = field(default_factory=dict)
    """Adapters that take no more requests → whom their slot goes to (an adapter)."""

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Whether it may go at once; otherwise it waits, and a later `leave` returns it."""
        flow = self.flows.get(ticket.tenant)
        if flow is None:
            flow = self.flows[ticket.tenant] = Flow()
        flow.weight = ticket.weight
        flow.demand(now)
        if not flow.running and not flow.queued:
            flow.counter = max(flow.counter, self._floor())
        if (
            self.running < self.seats
            and ticket.adapter not in flow.waiting
            and self._admits(flow, ticket.adapter, now)
        ):
            self._go(flow, ticket, now)
            return True
        queue = flow.waiting.get(ticket.adapter)
        if queue is None:
            queue = flow.waiting[ticket.adapter] = deque()
        queue.append(ticket)
        flow.queued += 1
        self.queued += 1
        return False

    def leave(self, ticket: Ticket, now: float, cost: float) -> list[Ticket]:
        """A request that went is over and cost so many weighted tokens: who goes next."""
        flow = self.flows[ticket.tenant]
        flow.counter += (cost - ticket.cost) / ticket.weight
        flow.demand(now)
        flow.running -= 1
        self._tick(now)
        self.running -= 1
        adapter = ticket.adapter
        if adapter is not None:
            left = self.active[adapter] - 1
            if left:
                self.active[adapter] = left
            else:
                del self.active[adapter]
                self.closing.pop(adapter, None)
        if self.queued:
            return self.next(now)
        if not self.running:
            self.last = flow.counter
        return []

    def together(self, ticket: Ticket, now: float) -> float:
        """Requests in the engine while this one was, itself included, on average."""
        self._tick(now)
        took = now - ticket.went_at
        return (self.area - ticket.area) / took if took > 0.0 else float(self.running)

    def _tick(self, now: float) -> None:
        self.area += self.running * (now - self.at)
        self.at = now

    def abandon(self, ticket: Ticket) -> None:
        """A ticket that waits goes away."""
        flow = self.flows[ticket.tenant]
        queue = flow.waiting[ticket.adapter]
        queue.remove(ticket)
        if not queue:
            del flow.waiting[ticket.adapter]
        flow.queued -= 1
        self.queued -= 1
        if self.closing and not self._want(ticket.adapter):  # nobody wants that slot any more
            self.closing = {a: to for a, to in self.closing.items() if to != ticket.adapter}

    def next(self, now: float) -> list[Ticket]:
        """Let go whoever may."""
        gone: list[Ticket] = []
        while self.queued and self.running < self.seats:
            best = self._best(now)
            if best is None:
                break
            flow, adapter = best
            queue = flow.waiting[adapter]
            ticket = queue.popleft()
            if not queue:
                del flow.waiting[adapter]
            flow.queued -= 1
            self.queued -= 1
            self._go(flow, ticket, now)
            gone.append(ticket)
        if self.queued:
            self._make_room(now)
        return gone

    def tidy(self, now: float) -> None:
        """Forget tenants that have been away long enough; their counter is lifted on return."""
        gone = [
            name
            for name, flow in self.flows.items()
            if not flow.running and not flow.queued and flow.demand(now) < _PRESENT / 10
        ]
        for name in gone:
            del self.flows[name]

    def heads(self) -> Iterator[tuple[Flow, str | None, Ticket]]:
        """The first in each queue."""
        for flow in self.flows.values():
            if flow.queued:
                for adapter, queue in flow.waiting.items():
                    yield flow, adapter, queue[0]

    def _go(self, flow: Flow, ticket: Ticket, now: float) -> None:
        flow.counter += ticket.cost / ticket.weight  # what the settlement goes by, too
        flow.running += 1
        self._tick(now)
        self.running += 1
        ticket.went_at, ticket.area = now, self.area
        if ticket.adapter is not None:
            self.active[ticket.adapter] = self.active.get(ticket.adapter, 0) + 1

    def _best(self, now: float) -> tuple[Flow, str | None] | None:
        """The queue whose first goes next; None when nobody may."""
        best: tuple[Flow, str | None] | None = None
        least: tuple[int, float, float] | None = None
        oldest = now - self.rules.aging_s
        wants_slot: dict[str, float] = {}
        """Adapters without a slot, and since when somebody waits for one."""
        for _, adapter, head in self.heads():
            if adapter is not None and adapter not in self.active:
                wants_slot[adapter] = min(wants_slot.get(adapter, now), head.came_at)
        old = now - _ABOUT * (now - min(wants_slot.values())) if wants_slot else now
        # With slots for all of them only seats are scarce, and those go by counter alone: else a
        # tenant with a request now and then would come after all who keep their adapters busy.
        plenty = len(self.active) + len(wants_slot) <= self.slots
        for flow, adapter, head in self.heads():
            if not self._admits(flow, adapter, now):
                continue
            if plenty or adapter is None or adapter in self.active:
                key = (1, flow.counter, head.came_at)
            elif head.came_at <= oldest:
                key = (0, head.came_at, 0.0)
            else:
                key = (2, -self._want(adapter) if head.came_at <= old else 0.0, head.came_at)
            if least is None or key < least:
                least, best = key, (flow, adapter)
        return best

    def _admits(self, flow: Flow, adapter: str | None, now: float) -> bool:
        """Whether slots and pace allow one more of this tenant's requests for this adapter."""
        if adapter is not None:
            if adapter in self.active:
                if adapter in self.closing:
                    return False
            elif len(self.active) >= self.slots:
                return False
        return flow.running == 0 or len(self.flows) == 1 or self._in_pace(flow, now)

    def _in_pace(self, flow: Flow, now: float) -> bool:
        rules = self.rules
        most = self.pace.most(1.0, rules.slowdown)
        if self.running + 1 <= most:
            return True
        present = [
            (demand, other.weight)
            for other in self.flows.values()
            if (demand := other.demand(now)) > _PRESENT
        ]
        if len(present) < 2:
            return True
        shares = sorted(demand / weight for demand, weight in present)
        level = max(1.0, _AMPLE * shares[(len(shares) - 1) // 2])
        if flow.running + 1 <= level * flow.weight:
            return True
        reference = sum(min(demand, level * weight) for demand, weight in present)
        return self.running + 1 <= self.pace.most(reference, rules.slowdown)

    def _want(self, adapter: str | None) -> int:
        """How many wait for an adapter, over all tenants."""
        return sum(len(f.waiting[adapter]) for f in self.flows.values() if adapter in f.waiting)

    def _floor(self) -> float:
        """The smallest counter of tenants at work, or of the last that was: else whoever came
        first after a pause would owe nothing, and the others all they were ever served."""
        return min(
            (flow.counter for flow in self.flows.values() if flow.running or flow.queued),
            default=self.last,
        )

    def _make_room(self, now: float) -> None:
        """Close adapters whose slots others have waited for too long."""
        if len(self.active) < self.slots:
            return
        oldest = now - self.rules.aging_s
        promised = {*self.closing.values()}
        wanting = sorted(
            (head.came_at, adapter)
            for _, adapter, head in self.heads()
            if adapter is not None
            and adapter not in self.active
            and adapter not in promised
            and head.came_at <= oldest
        )
        for _, adapter in wanting:
            open_ones = [held for held in self.active if held not in self.closing]
            if not open_ones:
                return
            self.closing[min(open_ones, key=self._left)] = adapter

    def _left(self, adapter: str) -> int:
        """What an adapter still has to do: the one with least gives its slot up soonest."""
        return self.active[adapter] + self._want(adapter)
