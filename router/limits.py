"""Limits: what a tenant may take, a minute, a day and at once. In this process's memory.

A request is let in when all of its tenant's limits have room, and then takes of all of them; a
refused one takes of none. Tokens are reserved by an estimate when a request comes in and settled by
what was really used when it ends. Several processes each allow the whole limit, and a restart
forgets the day: redis_limits.py is for those.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from monitoring.metrics import Metrics
from registry.tenants import Tenant
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
    refusal,
)
from router.settings import RouterSettings

_SLACK_S = 1e-6
"""Sums of fractions of a minute are not exact: this much over a minute is still a minute."""


class Limits(Protocol):
    """What lets requests in. `startup` and `shutdown` frame its use, in the router's loop."""

    async def startup(self) -> None: ...

    async def shutdown(self) -> None: ...

    async def admit(self, tenant: Tenant, tokens: int) -> Admission:
        """Let a request in that may take `tokens`. Raises RateLimited, and has then taken nothing.

        More than a whole limit is reserved as the whole limit: a request that is estimated too
        large runs when nothing else is taken, and what it really used is settled.
        """
        ...

    def settle(self, admission: Admission, tokens: int | None) -> None:
        """The request is over and used `tokens` in all; None when that isn't known, and then the
        reservation stands. Of tokens only: a request that was let in stays counted."""
        ...


class MemoryLimits:
    """Limits in memory. `monotonic` gives seconds that don't go back, `wall` those since the epoch;
    they are asked at each call. `admit` never suspends."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._monotonic = monotonic
        self._wall = wall
        self._books: dict[str, _Book] = {}

    async def startup(self) -> None:
        """Nothing to open."""

    async def shutdown(self) -> None:
        """Nothing to close."""

    async def admit(self, tenant: Tenant, tokens: int) -> Admission:
        """See Limits."""
        return self.take(tenant, tokens)

    def take(self, tenant: Tenant, tokens: int) -> Admission:
        """`admit` for those who can't await."""
        book = self._books.get(tenant.name)
        if book is None:
            book = self._books[tenant.name] = _Book(Terms.of(tenant))
        elif book.terms.tenant is not tenant:
            book.terms = Terms.of(tenant)
        terms, now = book.terms, self._monotonic()
        refused, wait_s = 0, 0.0
        if terms.most is not None and book.busy >= terms.most:
            refused, wait_s = CONCURRENT, BUSY_S
        requests_s = tokens_s = token_s = reserved_s = 0.0
        if terms.requests is not None:
            requests_s = max(0.0, book.requests_whole_at - now)
            over_s = requests_s + terms.request_s - MINUTE_S
            if over_s > wait_s + _SLACK_S:
                refused, wait_s = REQUESTS, over_s
        if terms.tokens is not None:
            token_s = terms.token_s
            reserved_s = token_s * max(1, min(tokens, terms.tokens))
            tokens_s = max(0.0, book.tokens_whole_at - now)
            over_s = tokens_s + reserved_s - MINUTE_S
            if over_s > wait_s + _SLACK_S:
                refused, wait_s = TOKENS, over_s
        day, day_tokens, used = -1, 0, 0
        if terms.budget is not None:
            unix = self._wall()
            day = int(unix // DAY_S)
            used = book.used if book.day == day else 0
            day_tokens = max(1, min(tokens, terms.budget))
            if used + day_tokens > terms.budget:
                refused, wait_s = DAY, (day + 1) * DAY_S - unix
        if refused:
            error = refusal(
                terms,
                tokens,
                refused,
                wait_s=wait_s,
                requests_s=requests_s,
                tokens_s=tokens_s,
                used=used,
            )
            self._metrics.rate_limited_total.labels(terms.name, error.limit).inc()
            raise error
        if terms.requests is not None:
            requests_s += terms.request_s
            book.requests_whole_at = now + requests_s
        if terms.tokens is not None:
            tokens_s += reserved_s
            book.tokens_whole_at = now + tokens_s
        if day >= 0:
            book.day, book.used = day, used + day_tokens
        book.busy += 1
        headers = terms.headers(requests_s, tokens_s)
        return Admission(terms.name, headers, reserved_s, token_s, day, day_tokens)

    def settle(self, admission: Admission, tokens: int | None) -> None:
        """See Limits."""
        if admission.settled:
            return
        admission.settled = True
        book = self._books[admission.tenant]
        book.busy -= 1
        if tokens is None:
            return
        if admission.token_s:
            now = self._monotonic()
            more_s = tokens * admission.token_s - admission.reserved_s
            book.tokens_whole_at = max(book.tokens_whole_at, now) + more_s
        if admission.day == book.day:  # a request that began yesterday was yesterday's
            book.used += tokens - admission.day_tokens


class _Book:
    """What one tenant has taken."""

    __slots__ = ("busy", "day", "requests_whole_at", "terms", "tokens_whole_at", "used")

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.busy = 0
        self.requests_whole_at = 0.0
        self.tokens_whole_at = 0.0
        self.day = -2
        self.used = 0


def open_limits(settings: RouterSettings, metrics: Metrics) -> Limits:
    """Shared through Redis where a URL is set. Raises MissingPackage."""
    if settings.redis_url is None:
        return MemoryLimits(metrics)
    try:
        from router.redis_limits import RedisLimits
    except ModuleNotFoundError as error:
        raise MissingPackage from error
    return RedisLimits(settings, metrics)


class MissingPackage(Exception):
    """Redis is asked for and can't be spoken to."""

    def __init__(self) -> None:
        super().__init__(
            "SWITCHYARD_ROUTER_REDIS_URL is set, but the Python package 'redis' is not installed: "
            "install switchyard[redis], or unset it to keep limits in memory"
        )
