"""The availability objective, computed from exchanges as its rules compute it from counters.

Of the errors that 30 days allow, how many are left: 1 all, 0 none, below 0 the objective is missed
(`rules.budgets`). Exchanges are requests that an engine was asked for; counters also know those
that found none, so this is what the registry can say and no more. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitoring.rules import AVAILABILITY
from registry.history import Answered

WINDOW_S = 30 * 86_400.0
STEP_S = 86_400
"""Length of the steps in which requests are counted for it, in seconds."""


@dataclass(frozen=True)
class Budget:
    """What is left of the errors that were allowed in the 30 days up to `until`. `since` is the
    first step with a request in them; times in seconds since the epoch, None without a request."""

    left: float | None
    requests: int
    failed: int
    since: float | None
    until: float


def budget(answered: Iterable[Answered], until: float) -> Budget:
    """Of the 30 steps up to that in which `until` lies."""
    end = math.ceil(until / STEP_S) * STEP_S
    found = [one for one in answered if end - WINDOW_S <= one.at < end]
    requests = sum(one.requests for one in found)
    failed = sum(one.failed for one in found)
    left = 1.0 - failed / (requests * (1.0 - AVAILABILITY)) if requests else None
    return Budget(left, requests, failed, min((one.at for one in found), default=None), until)


def over_time(answered: Sequence[Answered], until: float, steps: int = 30) -> list[Budget]:
    """At `until` and at the end of each of the steps before, oldest first, `steps` of them at
    most; those before the first request are left out."""
    begun = until // STEP_S * STEP_S
    ends = [begun - back * STEP_S for back in range(steps - 2, -1, -1)]
    return [found for end in [*ends, until] if (found := budget(answered, end)).requests]
