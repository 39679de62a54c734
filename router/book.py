"""A book: what one tenant has taken of its limits, and the arithmetic of taking more.

Knows nothing of who else writes in it: `OwnBook` is one process's alone, and shared_limits.py keeps
its numbers where several processes see them. `Terms` say what the tenant's limits are now.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from router.admission import (
    BUSY_S,
    CONCURRENT,
    DAY,
    DAY_S,
    MINUTE_S,
    REQUESTS,
    TOKENS,
    Admission,
    Terms,
)

Clock = Callable[[], float]
"""Seconds."""
Taken = tuple[int, float, float, float, float, int, int, int]
"""The number of the limit that refused (0: let in) and the wait in seconds; in how many seconds
requests and tokens are whole; what was reserved: of the tokens' minute in seconds, on which day (-1
without a budget), so many tokens of it; and the day's tokens that were used before."""

UNLIMITED: Taken = (0, 0.0, 0.0, 0.0, 0.0, -1, 0, 0)
"""Taken of no limit: only a place, should there be a limit before the request ends."""
_SLACK_S = 1e-6
"""Sums of fractions of a minute are not exact: this much over a minute is still a minute."""


class Book(Protocol):
    """Where what a tenant took is written down. Clocks are asked at each call: `monotonic` for
    seconds that don't go back, the same for all who share the book, `wall` for those since the
    epoch."""

    def take(self, terms: Terms, tokens: int, monotonic: Clock, wall: Clock) -> Taken:
        """Take a request that may need `tokens`, of all limits or, where one refuses, of none."""
        ...

    def settle(self, admission: Admission, tokens: int | None, monotonic: Clock) -> None:
        """A request that was let in is over and used `tokens`; None: its reservation stands."""
        ...


Books = Callable[[str], Book]
"""A tenant's book, by the tenant's name."""


class OwnBook:
    """One that only this process writes in."""

    __slots__ = ("busy", "day", "requests_whole_at", "tokens_whole_at", "used")

    def __init__(self) -> None:
        self.busy = 0
        """Requests under way."""
        self.requests_whole_at = 0.0
        self.tokens_whole_at = 0.0
        self.day = -2
        """Days since the epoch: the one that `used` tokens are of."""
        self.used = 0

    def take(self, terms: Terms, tokens: int, monotonic: Clock, wall: Clock) -> Taken:
        """See Book."""
        if terms.none:
            self.busy += 1
            return UNLIMITED
        now = monotonic()
        refused, wait_s = 0, 0.0
        if terms.most is not None and self.busy >= terms.most:
            refused, wait_s = CONCURRENT, BUSY_S
        requests_s = tokens_s = reserved_s = 0.0
        if terms.requests is not None:
            if self.requests_whole_at > now:
                requests_s = self.requests_whole_at - now
            over_s = requests_s + terms.request_s - MINUTE_S
            if over_s > wait_s + _SLACK_S:
                refused, wait_s = REQUESTS, over_s
        if terms.tokens is not None:
            reserved_s = terms.token_s * _of(tokens, terms.tokens)
            if self.tokens_whole_at > now:
                tokens_s = self.tokens_whole_at - now
            over_s = tokens_s + reserved_s - MINUTE_S
            if over_s > wait_s + _SLACK_S:
                refused, wait_s = TOKENS, over_s
        day, day_tokens, used = -1, 0, 0
        if terms.budget is not None:
            unix = wall()
            day = int(unix // DAY_S)
            used = self.used if self.day == day else 0
            day_tokens = _of(tokens, terms.budget)
            if used + day_tokens > terms.budget:
                refused, wait_s = DAY, (day + 1) * DAY_S - unix
        if refused:
            return refused, wait_s, requests_s, tokens_s, 0.0, -1, 0, used
        if terms.requests is not None:
            requests_s += terms.request_s
            self.requests_whole_at = now + requests_s
        if terms.tokens is not None:
            tokens_s += reserved_s
            self.tokens_whole_at = now + tokens_s
        if day >= 0:
            self.day, self.used = day, used + day_tokens
        self.busy += 1
        return 0, 0.0, requests_s, tokens_s, reserved_s, day, day_tokens, used

    def settle(self, admission: Admission, tokens: int | None, monotonic: Clock) -> None:
        """See Book."""
        self.busy -= 1
        if tokens is None:
            return
        if admission.token_s:
            now = monotonic()
            more_s = tokens * admission.token_s - admission.reserved_s
            self.tokens_whole_at = max(self.tokens_whole_at, now) + more_s
        if admission.day == self.day:  # a request that began yesterday was yesterday's
            self.used += tokens - admission.day_tokens


def _of(tokens: int, limit: int) -> int:
    """What is reserved of a limit. Plain comparisons: max(1, min(…)) takes twice as long."""
    if tokens > limit:
        tokens = limit
    return tokens if tokens > 1 else 1
