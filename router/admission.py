"""Admission: what letting a request in took of its tenant's limits, and how that is told.

Pure. Knows the limits' arithmetic, `x-ratelimit-*` and the 429s; nothing of where the counts are
kept (limits.py: in memory, redis_limits.py: in Redis).

A limit a minute is kept as one moment: when it will be whole again (the generic cell rate
algorithm, ITU-T I.371). Taking n of L moves it by n/L minutes; it may lie a minute ahead. So a
limit refills evenly, a whole minute's worth may be taken at once, and changing a limit keeps the
share of it that is left.
"""

from __future__ import annotations

from dataclasses import dataclass

from registry.tenants import Tenant
from router.errors import Headers, QuotaSpent, RateLimited

MINUTE_S = 60.0
DAY_S = 86_400
BUSY_S = 0.5
"""When to come back after too many at once: nobody knows when one of them ends."""
NEVER_S = 2 * MINUTE_S
"""What one costs of a limit of 0: more than fits."""

CONCURRENT, REQUESTS, TOKENS, DAY = 1, 2, 3, 4
"""Which limit refused; 0 is none. The numbers are those of limits.lua."""
NAMES = ("", "max_concurrent", "requests_per_minute", "tokens_per_minute", "tokens_per_day")
"""The same by name: the tenant's fields, in messages and in metrics."""


@dataclass(slots=True)
class Terms:
    """A tenant's limits as plain values: a row's attributes cost more than the arithmetic."""

    tenant: Tenant
    name: str
    requests: int | None
    request_s: float
    """What one request takes of its minute, in seconds."""
    tokens: int | None
    token_s: float
    budget: int | None
    most: int | None
    none: bool
    """Whether nothing is limited."""
    _requests_told: tuple[bytes, bytes]
    _tokens_told: tuple[bytes, bytes]

    @classmethod
    def of(cls, tenant: Tenant) -> Terms:
        requests, tokens = tenant.requests_per_minute, tenant.tokens_per_minute
        limits = requests, tokens, tenant.tokens_per_day, tenant.max_concurrent
        return cls(
            tenant=tenant,
            name=tenant.name,
            requests=requests,
            request_s=MINUTE_S / requests if requests else NEVER_S,
            tokens=tokens,
            token_s=MINUTE_S / tokens if tokens else NEVER_S,
            budget=tenant.tokens_per_day,
            most=tenant.max_concurrent,
            none=all(limit is None for limit in limits),
            _requests_told=(b"x-ratelimit-limit-requests", b"%d" % (requests or 0)),
            _tokens_told=(b"x-ratelimit-limit-tokens", b"%d" % (tokens or 0)),
        )

    def headers(self, requests_s: float, tokens_s: float) -> Headers:
        """`x-ratelimit-*` of the limits a minute there are, which are whole in so many seconds."""
        found: Headers = []
        if self.requests is not None:
            found += (
                self._requests_told,
                (b"x-ratelimit-remaining-requests", _remaining(self.requests, requests_s)),
                (b"x-ratelimit-reset-requests", go_duration(requests_s)),
            )
        if self.tokens is not None:
            found += (
                self._tokens_told,
                (b"x-ratelimit-remaining-tokens", _remaining(self.tokens, tokens_s)),
                (b"x-ratelimit-reset-tokens", go_duration(tokens_s)),
            )
        return found


@dataclass(slots=True)
class Admission:
    """A request that was let in. `settle` it once; another time changes nothing."""

    tenant: str
    headers: Headers
    reserved_s: float = 0.0
    """Of the tokens' minute, in seconds; `token_s` is what one token takes, 0 without a limit."""
    token_s: float = 0.0
    day: int = -1
    """Days since the epoch, UTC; -1 without a daily budget."""
    day_tokens: int = 0
    lease: str = ""
    """Its place in Redis; empty where this process alone keeps count."""
    settled: bool = False


def refusal(
    terms: Terms,
    need: int,
    refused: int,
    *,
    wait_s: float,
    requests_s: float,
    tokens_s: float,
    used: int,
) -> RateLimited:
    """The 429 for a request that may take `need` tokens: the limit numbered `refused` has room for
    it in `wait_s`; the day's budget has `used` taken."""
    name, told = NAMES[refused], terms.headers(requests_s, tokens_s)
    if refused == DAY:
        budget = terms.budget or 0
        return QuotaSpent(
            f"You exceeded your daily token budget ({name}): Limit {budget}, Used {used}, "
            f"Requested {min(need, budget)}. It starts anew at midnight UTC.",
            limit=name,
            retry_after_s=wait_s,
            more=told,
        )
    kind = "requests"
    if refused == REQUESTS:
        text = (
            f"Rate limit reached on requests per minute ({name}): "
            f"Limit {terms.requests}, Requested 1."
        )
    elif refused == TOKENS:
        kind, limit = "tokens", terms.tokens or 0
        text = (
            f"Rate limit reached on tokens per minute ({name}): Limit {limit}, "
            f"Used {limit - left(limit, tokens_s)}, Requested {min(need, limit)}."
        )
    else:
        text = f"Too many requests at once ({name}): Limit {terms.most}."
    return RateLimited(
        f"{text} Please try again in {go_duration(wait_s).decode()}.",
        type=kind,
        limit=name,
        retry_after_s=wait_s,
        more=told,
    )


def left(limit: int, whole_in_s: float) -> int:
    """What is left of a limit a minute that will be whole in so many seconds; below 0 in debt."""
    return int((MINUTE_S - whole_in_s) * limit / MINUTE_S + 1e-4)


def go_duration(seconds: float) -> bytes:
    """`12ms`, `1.5s`, `1m3s`: what Go's time.Duration prints, to the millisecond."""
    ms = int(seconds * 1000 + 0.5)
    if ms < 1000:
        return b"%dms" % ms if ms > 0 else b"0s"
    if ms < 60_000:
        return b"%gs" % (ms / 1000)
    minutes, rest = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = b"%dm%gs" % (minutes, rest / 1000)
    return b"%dh%s" % (hours, tail) if hours else tail


def _remaining(limit: int, whole_in_s: float) -> bytes:
    return b"%d" % max(0, left(limit, whole_in_s))
