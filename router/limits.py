"""Limits: what a tenant may take, a minute, a day and at once. In memory.

A request is let in when all of its tenant's limits have room, and then takes of all of them; a
refused one takes of none. Tokens are reserved by an estimate when a request comes in and settled by
what was really used when it ends. The workers of one parent write in the same books
(shared_limits.py). Routers of different parents each allow the whole limit, and a restart forgets
the day: redis_limits.py is for those.
"""

from __future__ import annotations

import time
from typing import Protocol

from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.admission import Admission, Terms, refusal
from router.book import Book, Books, Clock, OwnBook
from router.settings import RouterSettings


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
    """Limits in memory: this process's own, or where `books` says that they are kept. `monotonic`
    gives seconds that don't go back, `wall` those since the epoch; they are asked at each call.
    `admit` never suspends."""

    def __init__(
        self,
        metrics: Metrics,
        *,
        books: Books | None = None,
        monotonic: Clock = time.monotonic,
        wall: Clock = time.time,
    ) -> None:
        self._metrics = metrics
        self._books: Books = books or (lambda _name: OwnBook())
        self._monotonic = monotonic
        self._wall = wall
        self._known: dict[str, tuple[Terms, Book]] = {}

    async def startup(self) -> None:
        """Nothing to open."""

    async def shutdown(self) -> None:
        """Nothing to close."""

    async def admit(self, tenant: Tenant, tokens: int) -> Admission:
        """See Limits."""
        return self.take(tenant, tokens)

    def take(self, tenant: Tenant, tokens: int) -> Admission:
        """`admit` for those who can't await."""
        known = self._known.get(tenant.name)
        if known is None:
            known = self._known[tenant.name] = Terms.of(tenant), self._books(tenant.name)
        elif known[0].tenant is not tenant:
            known = self._known[tenant.name] = Terms.of(tenant), known[1]
        terms, book = known
        refused, wait_s, requests_s, tokens_s, reserved_s, day, day_tokens, used = book.take(
            terms, tokens, self._monotonic, self._wall
        )
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
        token_s = 0.0 if terms.tokens is None else terms.token_s
        headers = terms.headers(requests_s, tokens_s)
        return Admission(terms.name, headers, reserved_s, token_s, day, day_tokens)

    def settle(self, admission: Admission, tokens: int | None) -> None:
        """See Limits."""
        if admission.settled:
            return
        admission.settled = True
        self._known[admission.tenant][1].settle(admission, tokens, self._monotonic)


def open_limits(settings: RouterSettings, metrics: Metrics, books: Books | None = None) -> Limits:
    """Shared through Redis where a URL is set, else kept in `books`. Raises MissingPackage."""
    if settings.redis_url is None:
        return MemoryLimits(metrics, books=books)
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
