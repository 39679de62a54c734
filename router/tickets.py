"""Who stands in a lane: requests, the tenants that they are from, the adapters that they are for.

Pure; `now` is handed in, in monotonic seconds.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

_AVERAGE_S = 2.0


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
    decked: bool = False
    """It went before its adapter had a slot: the pace of its tokens is not the engine's."""


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


@dataclass(slots=True, eq=False)
class Want:
    """Those that wait for one adapter."""

    count: int = 0
    flows: dict[Flow, None] = field(default_factory=dict)
    """Whose they are; almost always one tenant's."""

    def first(self, adapter: str | None) -> Ticket:
        """Who has waited longest."""
        return min(
            (flow.waiting[adapter][0] for flow in self.flows), key=lambda ticket: ticket.came_at
        )
