"""A circuit breaker for one engine. Pure: the caller says what happened and when.

    closed ──failures in a row, or one refused connection──► open ──after a while──► half-open
      ▲                                                        ▲                         │
      └──────────────── one request succeeded ─────────────────┼─────────────────────────┤
                                                               └── it failed: twice as long

Half-open lets one request through at a time: a probe that the engine may fail without anybody being
the worse for it, since nothing was sent to its client and another replica can be asked.
"""

from __future__ import annotations

from dataclasses import dataclass

CLOSED, HALF_OPEN, OPEN = "closed", "half-open", "open"
_LONGEST = 30.0


@dataclass(slots=True)
class Breaker:
    """Times are monotonic seconds. `cooldown_s` is the first pause; it doubles up to 30 s."""

    cooldown_s: float
    failures_to_open: int = 5
    failures: int = 0
    open_until: float = 0.0
    pause_s: float = 0.0
    probing: bool = False

    def state(self, now: float) -> str:
        """closed, half-open or open."""
        if self.pause_s == 0.0:
            return CLOSED
        return OPEN if now < self.open_until else HALF_OPEN

    def allows(self, now: float) -> bool:
        """Whether a request may go there. Half-open: whether nobody else is trying it."""
        if self.pause_s == 0.0:
            return True
        return now >= self.open_until and not self.probing

    def begin(self, now: float) -> bool:
        """A request that was allowed goes there; whether it is the probe."""
        if self.pause_s == 0.0 or now < self.open_until:
            return False
        self.probing = True
        return True

    def succeeded(self) -> None:
        """The engine answered."""
        self.failures = 0
        self.pause_s = 0.0
        self.probing = False

    def failed(self, now: float, *, unreachable: bool) -> bool:
        """It did not, or with a server error; True when that opened the circuit."""
        self.failures += 1
        self.probing = False
        if not unreachable and self.pause_s == 0.0 and self.failures < self.failures_to_open:
            return False
        if now < self.open_until and self.pause_s != 0.0:
            return False  # one of many that were under way when it broke
        opened = self.pause_s == 0.0
        self.pause_s = min(_LONGEST, max(self.cooldown_s, 2 * self.pause_s))
        self.open_until = now + self.pause_s
        return opened

    def abandoned(self) -> None:
        """The probe's client left before anything was known: the next one may try."""
        self.probing = False


@dataclass(slots=True)
class RetryBudget:
    """Retries at most `share` of requests, and `per_second` in any case: when everything fails, a
    retry for each request would double the load on what is left."""

    share: float = 0.2
    per_second: float = 10.0
    left: float = 10.0
    at: float = 0.0
    taken: int = 0
    """Retries so far."""

    def earn(self) -> None:
        """A request came in."""
        self.left = min(100.0, self.left + self.share)

    def take(self, now: float) -> bool:
        """Whether one more retry is allowed now."""
        self.left = (
            min(100.0, self.left + (now - self.at) * self.per_second) if self.at else self.left
        )
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        self.taken += 1
        return True
