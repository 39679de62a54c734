"""Limits: requests a minute and requests at once, for each tenant.

In this router's memory: two routers each allow the whole limit. A rejected request costs nothing of
the minute's budget. What is left is told in `x-ratelimit-*`, resets as Go durations, as OpenAI
does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from registry.tenants import Tenant
from router.budget import Budget
from router.errors import Headers, RateLimited

_BUSY_S = 0.5
"""When to come back after too many at once: nobody knows when one of them ends."""


@dataclass
class Limits:
    """`begin` each request and `end` it; times are monotonic seconds."""

    under_way: dict[str, int] = field(default_factory=dict)
    _budgets: dict[str, tuple[int, Budget]] = field(default_factory=dict)

    def begin(self, tenant: Tenant, now: float) -> Headers:
        """Let a request in; the headers that say what is left. Raises RateLimited."""
        name, most = tenant.name, tenant.max_concurrent
        busy = self.under_way.get(name, 0)
        if most is not None and busy >= most:
            raise RateLimited(
                f"Too many requests at once: this tenant may have {most} under way.",
                retry_after_s=_BUSY_S,
            )
        per_minute = tenant.requests_per_minute
        headers: Headers = []
        if per_minute is not None:
            budget = self._budget(name, per_minute)
            wait_s = budget.take(now)
            headers = _headers(per_minute, budget)
            if wait_s > 0:
                raise RateLimited(
                    f"Rate limit reached: this tenant may send {per_minute} requests a minute.",
                    retry_after_s=wait_s,
                    more=headers,
                )
        self.under_way[name] = busy + 1
        return headers

    def end(self, tenant: Tenant) -> None:
        """A request that `begin` let in is over."""
        self.under_way[tenant.name] -= 1

    def _budget(self, name: str, per_minute: int) -> Budget:
        known = self._budgets.get(name)
        if known is None or known[0] != per_minute:  # new, or the limit was changed
            known = self._budgets[name] = (per_minute, Budget(per_minute / 60, per_minute))
        return known[1]


def _headers(per_minute: int, budget: Budget) -> Headers:
    reset_s = (budget.burst - budget.left) / budget.rate
    return [
        (b"x-ratelimit-limit-requests", b"%d" % per_minute),
        (b"x-ratelimit-remaining-requests", b"%d" % int(budget.left)),
        (b"x-ratelimit-reset-requests", go_duration(reset_s).encode()),
    ]


def go_duration(seconds: float) -> str:
    """`12ms`, `1.5s`, `1m3s`: what Go's time.Duration prints, to the millisecond."""
    ms = max(0, round(seconds * 1000))
    if ms < 1000:
        return f"{ms}ms" if ms else "0s"
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
