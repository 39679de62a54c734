"""An engine in model time: each step gives a token to every request in it and takes a + b·n s.

The lane in front of it is the real one; so is what it learns. Clients are closed loops: each sends
its next request when the one before has ended (and a pause is over).
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from router.lanes import Lane, Ticket
from router.station import weighted

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
    now: float = 0.0
    done: list[Done] = field(default_factory=list)
    tokens: dict[Ticket, int] = field(default_factory=dict)
    """Of each request in the engine, those still to come."""
    asks: dict[Ticket, tuple[Ask, Callable[[], Ask | None], float]] = field(default_factory=dict)
    _coming: list[tuple[float, int, Ask, Callable[[], Ask | None], float]] = field(
        default_factory=list
    )
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
            while self._coming and self._coming[0][0] <= self.now:
                _, _, ask, more, pause = heapq.heappop(self._coming)
                self._arrive(ask, more, pause)
            if not self.tokens:
                if not self._coming:
                    return
                self.now = max(self.now, self._coming[0][0])
                continue
            self.now += STEP_S + REQUEST_S * len(self.tokens)
            for ticket in [*self.tokens]:
                self.tokens[ticket] -= 1
                if self.tokens[ticket] == 0:
                    self._end(ticket)
            self.watch()

    def waiting(self) -> float:
        """How long the longest has waited that still waits."""
        coming = [want.first(name).came_at for name, want in self.lane.wants.items()]
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
            self.tokens[ticket] = self.asks[ticket][0].tokens

    def _end(self, ticket: Ticket) -> None:
        del self.tokens[ticket]
        ask, more, pause = self.asks.pop(ticket)
        together = self.lane.together(ticket, self.now)
        self.done.append(Done(ask, ticket.came_at, ticket.went_at, self.now, together))
        self.lane.pace.learn(together, (self.now - ticket.went_at) / ask.tokens)
        self._start(self.lane.leave(ticket, self.now, ask.cost))
        following = more()
        if following is not None:
            self._later(self.now + pause, following, more, pause)
