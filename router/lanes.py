"""A lane: the queue in front of one replica, and who goes next. Pure: no clock, no event loop.

A replica works on `seats` requests at once, from at most `slots` distinct adapters; what the engine
gets beyond that it queues itself, first come first served, and then one tenant's flood is
everybody's wait. So no more than that is sent, and here is decided what:

- **Virtual token counters** (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024):
  each tenant's served tokens, output counted double, divided by its weight. The smallest goes next;
  a tenant that comes back is lifted to the smallest of those at work, so that nobody saves up.
  A request is charged what it is expected to cost when it goes, and set right when it ends.
- **Adapters hold slots** until none of their requests is left, so that a slot is used by as many
  as there are. A slot that is free goes to the longest queue, waiting time counting far more than
  length: `count · wait⁶`, by which a queue twice as long makes up for a wait shorter by an eighth.
  With slots for all that want one, the virtual token counters decide alone.
- **A batch closes to latecomers.** A request that joins its adapter's others keeps the slot for
  longer than they would, by about the time since the last of them went. While others want the slot,
  it joins only if that serves about as many in the time as the longest queue would with the slot;
  else the adapter closes: it takes no more requests until the last of these has ended.
- **On deck.** For each adapter that closes the engine gets another's requests ahead of time, and
  takes them up in the step in which the slot comes free: no step is lost to a round trip. Whoever
  is on deck can't be called back, so that is done only where requests are short, and not behind
  one that turns out long.
- **Aging**: when somebody has waited `aging_s` for a slot, an adapter closes for them, and the next
  slot or place on deck is theirs.
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
from collections.abc import Iterable
from dataclasses import dataclass, field

from router.pace import Pace
from router.tickets import Flow, Ticket, Want

_PATIENCE = 6
"""Power of the wait against the length of a queue: 1 serves 4 % more tokens where slots are short,
and lets the last wait twice as long; 6 is better in both than first come, first served."""
_SERVICE = 0.05
"""Weight of each new observation of `service_s`."""
_JOIN = 2.0
"""A latecomer joins while the longest queue would serve at most so many times as many."""
_SHORT_S = 2.0
"""Requests are short that take less than so long on average."""
_RATION_S = 0.05
_AMPLE = 2.0
"""Times the median demand that nobody is held back for."""
_PRESENT = 0.1
"""Requests at the lane on average, from which on a tenant counts as being there."""
OUTPUT_WEIGHT = 2.0
"""What an output token counts in input tokens (the paper's w_q/w_p)."""


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
    wants: dict[str | None, Want] = field(default_factory=dict)
    """Adapters that somebody waits for."""
    active: dict[str, int] = field(default_factory=dict)
    """Adapters that hold a slot or are on deck, and how many requests each has in the engine."""
    began: dict[str, float] = field(default_factory=dict)
    """When an active adapter got its slot, or its place on deck."""
    joined: dict[str, float] = field(default_factory=dict)
    """When the last of an active adapter's requests went."""
    service_s: float = 1.0
    """What a request takes in the engine, on average of late."""
    area: float = 0.0
    """Requests in the engine, integrated over time, up to `at`."""
    at: float = 0.0
    last: float = 0.0
    """The counter of whoever was the last at work, when nobody is any more."""
    closing: dict[str, None] = field(default_factory=dict)
    """Adapters that take no more requests, as others want their slots."""
    deck: list[str] = field(default_factory=list)
    """Active adapters that wait in the engine for a slot of a closing one, in their order."""
    lacking: dict[str, None] = field(default_factory=dict)
    """Adapters that somebody waits for and that are not active."""
    _due_at: float = math.inf
    """Nobody in `lacking` has waited `aging_s` before this."""
    _ration: tuple[float, float] = (math.inf, math.inf)
    _rationed_at: float = -math.inf
    _changes: int = 0
    """Requests that came or ended since the ration was reckoned."""

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Whether it may go at once; otherwise it waits, and a later `leave` returns it."""
        flow = self.flows.get(ticket.tenant)
        if flow is None:
            flow = self.flows[ticket.tenant] = Flow()
        flow.weight = ticket.weight
        flow.demand(now)
        if not flow.running and not flow.queued:
            flow.counter = max(flow.counter, self._floor())
        self._changes += 1
        if (
            self.running < self.seats
            and ticket.adapter not in flow.waiting
            and self._open(ticket.adapter, now)
            and self._in_pace(flow, now)
        ):
            self._go(flow, ticket, now)
            return True
        queue = flow.waiting.get(ticket.adapter)
        if queue is None:
            queue = flow.waiting[ticket.adapter] = deque()
        queue.append(ticket)
        want = self.wants.get(ticket.adapter)
        if want is None:
            want = self.wants[ticket.adapter] = Want()
        want.count += 1
        want.flows[flow] = None
        if want.count == 1:
            self._lack(ticket.adapter)
        flow.queued += 1
        self.queued += 1
        return False

    def leave(self, ticket: Ticket, now: float, cost: float) -> list[Ticket]:
        """A request that went is over and cost so many weighted tokens: who goes next."""
        flow = self.flows[ticket.tenant]
        adapter = ticket.adapter
        began = ticket.went_at if adapter is None else max(ticket.went_at, self.began[adapter])
        self.service_s += _SERVICE * (now - began - self.service_s)
        flow.counter += (cost - ticket.cost) / ticket.weight
        flow.demand(now)
        flow.running -= 1
        self._changes += 1
        self._tick(now)
        self.running -= 1
        if adapter is not None:
            left = self.active[adapter] - 1
            if left:
                self.active[adapter] = left
            else:
                self._vacate(adapter, now)
        if self.queued:
            return self.next(now)
        self._reopen()
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
        self._drop(self.flows[ticket.tenant], ticket)
        self._reopen()

    def next(self, now: float) -> list[Ticket]:
        """Let go whoever may."""
        gone: list[Ticket] = []
        self._make_room(now)
        while self.queued and self.running < self.seats:
            best = self._best(now)
            if best is None:
                break
            flow, adapter = best
            ticket = flow.waiting[adapter][0]
            self._drop(flow, ticket)
            self._go(flow, ticket, now)
            gone.append(ticket)
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

    def _drop(self, flow: Flow, ticket: Ticket) -> None:
        """It waits no longer."""
        adapter = ticket.adapter
        queue, want = flow.waiting[adapter], self.wants[adapter]
        queue.remove(ticket)
        if not queue:
            del flow.waiting[adapter], want.flows[flow]
        want.count -= 1
        if not want.count:
            del self.wants[adapter]
            if adapter is not None:
                self.lacking.pop(adapter, None)
        flow.queued -= 1
        self.queued -= 1

    def _go(self, flow: Flow, ticket: Ticket, now: float) -> None:
        flow.counter += ticket.cost / ticket.weight  # what the settlement goes by, too
        flow.running += 1
        self._tick(now)
        self.running += 1
        ticket.went_at, ticket.area = now, self.area
        adapter = ticket.adapter
        if adapter is not None:
            if adapter not in self.active:
                self.lacking.pop(adapter, None)
                self.began[adapter] = now
                if len(self.active) >= self.slots:
                    self.deck.append(adapter)
            ticket.decked = adapter in self.deck
            self.active[adapter] = self.active.get(adapter, 0) + 1
            self.joined[adapter] = now

    def _vacate(self, adapter: str, now: float) -> None:
        """None of its requests is left in the engine."""
        del self.active[adapter], self.began[adapter], self.joined[adapter]
        self._lack(adapter)
        self.closing.pop(adapter, None)
        if adapter in self.deck:
            self.deck.remove(adapter)
        elif self.deck:
            first = self.deck.pop(0)
            self.began[first] = self.joined[first] = now

    def _places(self, now: float) -> int:
        """How many adapters may have requests in the engine. Nobody is put on deck behind an
        adapter whose last request runs longer than most: there it would be out of reach of its
        deadline and its alias's policy."""
        if self.service_s >= _SHORT_S:
            return self.slots
        return self.slots + sum(now - self.joined[a] < _SHORT_S for a in self.closing)

    def _best(self, now: float) -> tuple[Flow, str | None] | None:
        """The queue whose first goes next; None when nobody may."""
        # With slots for all of them only seats are scarce, and those go by counter alone: else a
        # tenant with a request now and then would come after all who keep their adapters busy.
        places = self._places(now)
        lacking = [*self.lacking] if len(self.active) < places else []
        scarce = len(self.active) + len(lacking) > places
        if scarce:
            aged = now - self.rules.aging_s
            claims = [(self.wants[adapter].first(adapter).came_at, adapter) for adapter in lacking]
            due = min(
                ((came_at, adapter) for came_at, adapter in claims if came_at <= aged), default=None
            )
            if due is not None and (found := self._of([due[1]], now)):
                return found
        seated = [a for a in (None, *self.active) if a in self.wants and self._open(a, now)]
        found = self._of(seated if scarce else [*seated, *lacking], now)
        if found is None and scarce:
            claims.sort(
                key=lambda claim: self.wants[claim[1]].count * (now - claim[0]) ** _PATIENCE
            )
            while claims and found is None:
                found = self._of([claims.pop()[1]], now)
        return found

    def _of(self, adapters: Iterable[str | None], now: float) -> tuple[Flow, str | None] | None:
        """Of the queues for these, the one of the tenant with the smallest counter, in pace."""
        best: tuple[Flow, str | None] | None = None
        least = (math.inf, math.inf)
        for adapter in adapters:
            for flow in self.wants[adapter].flows:
                key = (flow.counter, flow.waiting[adapter][0].came_at)
                if key < least and self._in_pace(flow, now):
                    least, best = key, (flow, adapter)
        return best

    def _lack(self, adapter: str | None) -> None:
        """Note it if somebody waits for it and it has nothing in the engine."""
        if adapter is not None and adapter in self.wants and adapter not in self.active:
            self.lacking[adapter] = None
            since = self.wants[adapter].first(adapter).came_at
            self._due_at = min(self._due_at, since + self.rules.aging_s)

    def _open(self, adapter: str | None, now: float) -> bool:
        """Whether one more request may go to this adapter, as far as slots decide."""
        if adapter is None:
            return True
        if adapter not in self.active:
            return len(self.active) < self._places(now)
        if adapter in self.closing:
            return False
        return adapter in self.deck or not self.queued or self._joins(adapter, now, self._rival())

    def _rival(self) -> int:
        """The longest queue for an adapter without a slot, where no slot is free."""
        if len(self.active) < self.slots:
            return 0
        return max((self.wants[adapter].count for adapter in self.lacking), default=0)

    def _joins(self, adapter: str, now: float, rival: int) -> bool:
        """Whether latecomers to an adapter that holds a slot may join."""
        mine = self.wants[adapter].count if adapter in self.wants else 1
        return (now - self.joined[adapter]) * rival <= _JOIN * self.service_s * mine

    def _in_pace(self, flow: Flow, now: float) -> bool:
        if flow.running == 0 or len(self.flows) == 1:
            return True
        if self.running + 1 <= self.pace.most(1.0, self.rules.slowdown):
            return True
        # What many tenants want changes little with each request, and costs much to look at.
        if 4 * self._changes > len(self.flows) or now > self._rationed_at + _RATION_S:
            self._ration, self._rationed_at, self._changes = self._reckon(now), now, 0
        level, most = self._ration
        return flow.running + 1 <= level * flow.weight or self.running + 1 <= most

    def _reckon(self, now: float) -> tuple[float, float]:
        """(requests in the engine that nobody is held back for, times its weight; how many there
        may be in all for the others)."""
        present = [
            (demand, flow.weight)
            for flow in self.flows.values()
            if (demand := flow.demand(now)) > _PRESENT
        ]
        if len(present) < 2:
            return math.inf, math.inf
        shares = sorted(demand / weight for demand, weight in present)
        level = max(1.0, _AMPLE * shares[(len(shares) - 1) // 2])
        reference = sum(min(demand, level * weight) for demand, weight in present)
        return level, self.pace.most(reference, self.rules.slowdown)

    def _floor(self) -> float:
        """The smallest counter of tenants at work, or of the last that was: else whoever came
        first after a pause would owe nothing, and the others all they were ever served."""
        return min(
            (flow.counter for flow in self.flows.values() if flow.running or flow.queued),
            default=self.last,
        )

    def _make_room(self, now: float) -> None:
        """Close adapters for those that want their slots."""
        self._reopen()
        if not self.lacking or len(self.active) < self.slots:
            return
        most = len(self.lacking) + len(self.deck)
        rival = self._rival()
        held = [a for a in self.active if a not in self.closing and a not in self.deck]
        for adapter in held:
            if len(self.closing) < most and not self._joins(adapter, now, rival):
                self.closing[adapter] = None
        missing = self._due(now) + len(self.deck) - len(self.closing)
        if missing > 0:
            held = sorted((a for a in held if a not in self.closing), key=self._left)
            self.closing.update(dict.fromkeys(held[:missing]))

    def _due(self, now: float) -> int:
        """How many adapters somebody has waited for too long."""
        if now < self._due_at:
            return 0
        since = sorted(self.wants[adapter].first(adapter).came_at for adapter in self.lacking)
        self._due_at = since[0] + self.rules.aging_s
        return sum(came_at + self.rules.aging_s <= now for came_at in since)

    def _reopen(self) -> None:
        """As many adapters are closed as others want slots, and no more."""
        while self.closing and len(self.closing) > len(self.lacking) + len(self.deck):
            self.closing.popitem()

    def _left(self, adapter: str) -> int:
        """What an adapter still has to do: the one with least gives its slot up soonest."""
        return self.active[adapter] + (self.wants[adapter].count if adapter in self.wants else 0)
