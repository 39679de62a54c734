"""An engine in model time: each step gives a token to every request in it and takes a + b·n s.

The lane in front of it is the real one; so is what it learns. With more adapters than `slots` the
engine does as vLLM does: first come, first served, and those whose adapter is in the step go along.
Clients are closed loops: each sends its next request when the one before has ended (and a pause is
over).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from router.lanes import Lane
from router.station import weighted
from router.tickets import Ticket

STEP_S, REQUEST_S = 0.0069, 0.0004
"""What a step costs, and what each request adds: a tiny model on a processor."""
TICK_S = 0.5
"""How often the router looks at its lanes (router/fleet.py)."""


@dataclass
class Ask:
    """What a client sends: `tokens` are those of the answer, `guess` what was expected of it."""

    tenant: str
    adapter: str | None
    tokens: int = 32
    prompt: int = 20
    guess: int | None = None
    weight: float = 1.0

    @property
    def cost(self) -> float:
        return weighted(self.prompt, self.tokens)


@dataclass
class Done:
    """A request that ended. Seconds of model time."""

    ask: Ask
    came_at: float
    went_at: float
    ended_at: float
    together: float

    @property
    def latency(self) -> float:
        return self.ended_at - self.came_at

    @property
    def waited(self) -> float:
        return self.went_at - self.came_at


@dataclass
class Stepping:
    """`run` until a time; `done` is what happened. `watch` is called after each step."""

    lane: Lane
    slots: int = 1000
    """The engine's own."""
    trip_s: float = 0.0
    """From the router to the engine, and back."""
    now: float = 0.0
    done: list[Done] = field(default_factory=list)
    tokens: dict[Ticket, int] = field(default_factory=dict)
    """Of each request in the engine, those still to come."""
    held: list[Ticket] = field(default_factory=list)
    """In the engine, without a slot."""
    asks: dict[Ticket, tuple[Ask, Callable[[], Ask | None], float]] = field(default_factory=dict)
    _coming: list[tuple[float, int, Ask, Callable[[], Ask | None], float]] = field(
        default_factory=list
    )
    _sent: list[tuple[float, int, Ticket]] = field(default_factory=list)
    _ended: list[tuple[float, int, Ticket]] = field(default_factory=list)
    _numbers: Iterable[int] = field(default_factory=itertools.count)
    watch: Callable[[], None] = lambda: None

    def client(self, ask: Callable[[], Ask | None], *, at: float = 0.0, pause: float = 0.0) -> None:
        """A closed loop: `ask()` is its next request, None ends it."""
        first = ask()
        if first is not None:
            self._later(at, first, ask, pause)

    def run(self, until: float) -> None:
        """Let the time pass."""
        tick = self.now
        while self.now < until:
            if self.now >= tick:
                tick = self.now + TICK_S
                self.lane.tidy(self.now)
                if self.lane.queued:
                    self._start(self.lane.next(self.now))
            while self._ended and self._ended[0][0] <= self.now:
                self._end(heapq.heappop(self._ended)[2])
            while self._coming and self._coming[0][0] <= self.now:
                _, _, ask, more, pause = heapq.heappop(self._coming)
                self._arrive(ask, more, pause)
            while self._sent and self._sent[0][0] <= self.now:
                self.held.append(heapq.heappop(self._sent)[2])
            self._admit()
            if not self.tokens:
                following = [each[0][0] for each in (self._coming, self._sent, self._ended) if each]
                if not following:
                    return
                self.now = max(self.now, min(following))
                continue
            self.now += STEP_S + REQUEST_S * len(self.tokens)
            for ticket in [*self.tokens]:
                self.tokens[ticket] -= 1
                if self.tokens[ticket] == 0:
                    del self.tokens[ticket]
                    self._put(self._ended, self.trip_s, ticket)
            self.watch()

    def waiting(self) -> float:
        """How long the longest has waited that still waits."""
        coming = [want.first(name).came_at for name, want in self.lane.wants.items()]
        coming += [ticket.came_at for ticket in self.held]
        return self.now - min(coming, default=self.now)

    def _later(self, at: float, ask: Ask, more: Callable[[], Ask | None], pause: float) -> None:
        heapq.heappush(self._coming, (at, next(iter(self._numbers)), ask, more, pause))

    def _arrive(self, ask: Ask, more: Callable[[], Ask | None], pause: float) -> None:
        guess = ask.tokens if ask.guess is None else ask.guess
        cost = weighted(ask.prompt, guess)
        ticket = Ticket(ask.tenant, ask.weight, ask.adapter, cost, self.now)
        self.asks[ticket] = ask, more, pause
        if self.lane.enter(ticket, self.now):
            self._start([ticket])

    def _start(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            self._put(self._sent, self.trip_s, ticket)

    def _put(self, where: list[tuple[float, int, Ticket]], after_s: float, ticket: Ticket) -> None:
        heapq.heappush(where, (self.now + after_s, next(iter(self._numbers)), ticket))

    def _admit(self) -> None:
        """Into the next step."""
        adapters = {ticket.adapter for ticket in self.tokens} - {None}
        without = []
        for ticket in self.held:
            if ticket.adapter is not None and ticket.adapter not in adapters:
                if len(adapters) == self.slots:
                    without.append(ticket)
                    continue
                adapters.add(ticket.adapter)
            self.tokens[ticket] = self.asks[ticket][0].tokens
        self.held = without

    def _end(self, ticket: Ticket) -> None:
        ask, more, pause = self.asks.pop(ticket)
        together = self.lane.together(ticket, self.now)
        self.done.append(Done(ask, ticket.came_at, ticket.went_at, self.now, together))
        if not ticket.decked:
            self.lane.pace.learn(together, (self.now - ticket.went_at) / ask.tokens)
        self._start(self.lane.leave(ticket, self.now, ask.cost))
        following = more()
        if following is not None:
            self._later(self.now + pause, following, more, pause)
