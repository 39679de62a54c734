"""A station: one replica as this router deals with it. Its lane, its ledger, its breaker.

The lane decides who goes next; here the others wait, until it is their turn, their time is over,
or the engine is gone.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from router.breaker import Breaker
from router.lanes import OUTPUT_WEIGHT, Lane
from router.ledger import SLOT, Ledger
from router.tickets import Ticket
from router.view import Replica


class Crowded(Exception):
    """The queue is full, or was, and somebody had to go. `own` says that it is full of this
    tenant's own requests."""

    def __init__(self, retry_after_s: float, *, own: bool) -> None:
        super().__init__("queue full")
        self.retry_after_s = retry_after_s
        self.own = own


class WaitedTooLong(Exception):
    """No place in the engine came free in time."""


class EngineGone(Exception):
    """The engine broke while requests were waiting for it: another may do."""


@dataclass(slots=True, eq=False)
class Station:
    """`enter`, then ask the engine, then `leave`. Times are monotonic seconds."""

    engine: Replica
    lane: Lane
    ledger: Ledger
    breaker: Breaker
    queue_limit: int
    _waiting: dict[Ticket, asyncio.Future[None]] = field(default_factory=dict)
    """Those in the lane's queue, and nobody else."""
    _loads: dict[str, int] = field(default_factory=dict)

    @property
    def load(self) -> float:
        """How full it is: 1.0 when every seat is taken, more when others wait."""
        return (self.lane.running + self.lane.queued) / self.lane.seats

    def enter(self, ticket: Ticket, now: float) -> bool:
        """Whether the request may go at once. If not, `wait` for its turn.

        Raises Crowded.
        """
        if self.lane.enter(ticket, now):
            self._use(ticket)
            return True
        self._waiting[ticket] = asyncio.get_running_loop().create_future()
        if self.lane.queued > self.queue_limit:
            self._make_place(ticket)
        return False

    async def wait(self, ticket: Ticket, timeout_s: float) -> None:
        """Until it is its turn. Raises WaitedTooLong, Crowded, EngineGone."""
        turn = self._waiting[ticket]
        try:
            # Unlike `await turn`, this never cancels the turn, so it can be given at any moment.
            await asyncio.wait((turn,), timeout=timeout_s)
        except asyncio.CancelledError:
            if not self.withdraw(ticket) and turn.exception() is None:
                self.leave(ticket, asyncio.get_running_loop().time(), 0.0)  # its turn had come
            raise
        if self.withdraw(ticket):
            raise WaitedTooLong
        turn.result()
        self._use(ticket)

    def leave(self, ticket: Ticket, now: float, cost: float, tokens: int = 0) -> None:
        """The request is over: it cost so many weighted tokens and made so many."""
        lane = self.lane
        if tokens > 0 and not ticket.decked:
            took = now - ticket.went_at
            lane.pace.learn(lane.together(ticket, now), took / tokens)
        self._grant(lane.leave(ticket, now, cost))

    def tick(self, now: float) -> None:
        """Now and then: what time alone allows (waiting for a slot too long, a tenant's demand
        that faded) would else have to wait until some request ends."""
        self.lane.tidy(now)
        if self._waiting:
            self._grant(self.lane.next(now))

    def send_away(self) -> None:
        """The engine broke: nobody has to wait for it."""
        for ticket in list(self._waiting):
            self._dismiss(ticket, EngineGone())

    def retry_after_s(self) -> float:
        """When there may be room again: as long as those that wait take."""
        rounds = math.ceil((self.lane.queued + 1) / self.lane.seats)
        return min(30.0, max(1.0, rounds * self.lane.service_s))

    def _make_place(self, ticket: Ticket) -> None:
        """The queue is overfull: whoever fills it most has to make room. Raises Crowded."""
        flows = self.lane.flows
        own = flows[ticket.tenant]
        most = max(flows.values(), key=lambda flow: flow.queued / flow.weight)
        if own.queued / own.weight >= most.queued / most.weight:
            mostly_own = own.queued > self.queue_limit / 2
            self.withdraw(ticket)
            raise Crowded(self.retry_after_s(), own=mostly_own)
        queue = max(most.waiting.values(), key=lambda each: each[-1].came_at)
        self._dismiss(queue[-1], Crowded(self.retry_after_s(), own=True))

    def take_loads(self) -> dict[str, int]:
        """Requests since the last call whose adapter had to be brought in, by from where: "host"
        (the engine's memory) or "cold" (disk or store)."""
        loads, self._loads = self._loads, {}
        return loads

    def _grant(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self._waiting.pop(ticket).set_result(None)

    def _use(self, ticket: Ticket) -> None:
        if ticket.adapter is not None:
            was = self.ledger.use(ticket.adapter)
            if was != SLOT:
                self._loads[was] = self._loads.get(was, 0) + 1

    def withdraw(self, ticket: Ticket) -> bool:
        """Take a ticket out of the queue; False when it is not there any more."""
        if self._waiting.pop(ticket, None) is None:
            return False
        self.lane.abandon(ticket)
        return True

    def _dismiss(self, ticket: Ticket, error: Exception) -> None:
        turn = self._waiting[ticket]
        self.withdraw(ticket)
        turn.set_exception(error)


def weighted(prompt: float, completion: float) -> float:
    """Tokens as fairness counts them."""
    return prompt + OUTPUT_WEIGHT * completion
