"""Limits in Redis: the same ones, exact over all routers that share it.

What many requests ask meanwhile goes to Redis in one script (limits.lua), so that the client's cost
is shared and every step is atomic. When Redis is out of reach, this process keeps limits of its own
and asks again in the background; no request waits for that. A place among requests at once is
a lease, renewed while the request runs: those of a killed router come back by themselves.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import count
from typing import Any, TypeVar

import msgspec
import redis.asyncio
import redis.exceptions
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, ResponseError

from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.admission import DAY_S, Admission, Terms, refusal
from router.limits import MemoryLimits
from router.settings import RouterSettings

_log = structlog.get_logger("router.redis_limits")

_US = 1e6
_BATCH = 256
"""Operations of a script at most: it holds up all of Redis, for some 10 µs each."""
_UNSENT = 100_000
"""Settlements kept while Redis is away; the oldest go, and their reservations stand."""
_Answer = tuple[int, float, float, float, int, int]
"""refused, wait, requests whole in, tokens whole in (µs), day, the day's tokens: see limits.lua"""
_Settlement = tuple[str, list[Any]]
"""A tenant, and what limits.lua is told of it."""
_Item = TypeVar("_Item")
_answers = msgspec.json.Decoder(list[_Answer])


@dataclass(slots=True)
class _Ask:
    """A request that waits to be let in. Its answer is None when Redis has none."""

    terms: Terms
    need: int
    lease: str
    answer: asyncio.Future[_Answer | None]


class RedisLimits:
    """Limits in Redis at `settings.redis_url`. Times are seconds.

    `lease_s` is how soon a killed router's places come back, `linger_s` how long a settlement waits
    for company, `probe_s` how often a Redis that is away is asked whether it is back.
    """

    def __init__(
        self,
        settings: RouterSettings,
        metrics: Metrics,
        *,
        lease_s: float = 15.0,
        linger_s: float = 0.005,
        probe_s: float = 0.25,
    ) -> None:
        assert settings.redis_url is not None
        self._timeout_s = settings.redis_timeout_s
        self._prefix = f"{settings.redis_prefix}:{{limits}}:"  # one cluster slot: scripts need that
        self._lease_s, self._linger_s, self._probe_s = lease_s, linger_s, probe_s
        self._metrics = metrics
        self._local = MemoryLimits(metrics)
        self._client: redis.asyncio.Redis = redis.asyncio.Redis.from_url(
            settings.redis_url,
            # The whole exchange has a time limit; a connection that was dropped is made anew once.
            socket_timeout=None,
            socket_connect_timeout=None,
            retry=Retry(NoBackoff(), 1, supported_errors=(redis.exceptions.ConnectionError,)),
            protocol=2,
        )
        at = self._client.connection_pool.connection_kwargs
        self._where = at.get("path") or f"{at.get('host')}:{at.get('port')}"
        self._script = resources.files("router").joinpath("limits.lua").read_text()
        self._sha = hashlib.sha1(self._script.encode(), usedforsecurity=False).hexdigest()
        self._terms: dict[str, Terms] = {}
        self._leases: Iterator[str] = iter(())
        self._live: dict[str, str] = {}
        self._asks: deque[_Ask] = deque()
        self._unsettled: deque[_Settlement] = deque(maxlen=_UNSENT)
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.TimerHandle | None = None
        self._renew = False
        self._away = False
        self._closing = False
        self._pump: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Ask Redis once; go on without it if it doesn't answer."""
        # Here and not in the constructor: a forked process must not name its leases as its parent.
        self._leases = map((secrets.token_hex(6) + "-{:x}").format, count())
        await self._exchange()
        self._renewal_due()
        self._pump = asyncio.get_running_loop().create_task(self._run())

    async def shutdown(self) -> None:
        """Send what is not settled yet, if Redis can be reached."""
        self._closing = True
        self._wake.set()
        if self._pump is not None:
            await self._pump
        for timer in (self._timer, self._renewal):
            if timer is not None:
                timer.cancel()
        await self._client.aclose()

    async def admit(self, tenant: Tenant, tokens: int) -> Admission:
        """See Limits."""
        terms = self._terms.get(tenant.name)
        if terms is None or terms.tenant is not tenant:
            terms = self._terms[tenant.name] = Terms.of(tenant)
        if terms.none or self._away or self._closing:
            return self._local.take(tenant, tokens)
        answer = asyncio.get_running_loop().create_future()
        ask = _Ask(terms, max(1, tokens), next(self._leases), answer)
        self._asks.append(ask)
        self._wake.set()
        try:
            said = await answer
        except asyncio.CancelledError:
            said = answer.result() if answer.done() and not answer.cancelled() else None
            if said is not None and not said[0]:
                self._take_back(ask, said[4])
            raise
        if said is None:
            return self._local.take(tenant, tokens)
        refused, wait, requests, minute, day, used = said
        if refused:
            error = refusal(
                terms,
                tokens,
                refused,
                wait_s=wait / _US,
                requests_s=requests / _US,
                tokens_s=minute / _US,
                used=used,
            )
            self._metrics.rate_limited_total.labels(terms.name, error.limit).inc()
            raise error
        return self._admission(ask, day, requests / _US, minute / _US)

    def settle(self, admission: Admission, tokens: int | None) -> None:
        """See Limits. Sent with the next request's question, or a little later by itself."""
        if not admission.lease:
            self._local.settle(admission, tokens)
            return
        if admission.settled:
            return
        admission.settled = True
        self._live.pop(admission.lease, None)
        more_us = day_more = 0.0
        if tokens is not None:
            more_us = (tokens * admission.token_s - admission.reserved_s) * _US
            day_more = tokens - admission.day_tokens
        operation = [admission.lease, more_us, admission.day, day_more]
        self._unsettled.append((admission.tenant, operation))
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._linger_s, self._wake.set)

    def _admission(self, ask: _Ask, day: int, requests_s: float, tokens_s: float) -> Admission:
        terms, need = ask.terms, ask.need
        limited, budgeted = terms.tokens is not None, terms.budget is not None
        return Admission(
            terms.name,
            terms.headers(requests_s, tokens_s),
            reserved_s=terms.token_s * max(1, min(need, terms.tokens or 0)) if limited else 0.0,
            token_s=terms.token_s if limited else 0.0,
            day=day if budgeted else -1,
            day_tokens=max(1, min(need, terms.budget or 0)) if budgeted else 0,
            lease=ask.lease,
        )

    def _take_back(self, ask: _Ask, day: int) -> None:
        """Nobody waits for this answer any more: what it took is given back."""
        self.settle(self._admission(ask, day, 0.0, 0.0), 0)

    async def _run(self) -> None:
        """Until `shutdown`: send what there is; while Redis is away, see whether it is back."""
        while True:
            if self._away:
                if self._closing:
                    return
                await asyncio.sleep(self._probe_s)
            elif not (self._asks or self._unsettled or self._renew):
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
            await self._exchange()

    async def _exchange(self) -> None:
        """One script: everything that waits, as much as fits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        asks = _taken(self._asks)
        settling = _taken(self._unsettled)
        renewing, self._renew = self._renew, False
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = await self._send(asks, settling, renewing)
        except Exception as error:  # the loop's edge: whatever it is, requests go on
            self._failed(asks, settling, error)
            return
        if self._away:
            self._away = False
            self._metrics.limits_degraded.set(0)
            _log.info("Redis answers again: limits are shared", redis=self._where)
        for ask, said in zip(asks, answers, strict=True):
            if not ask.answer.cancelled():
                if not said[0]:
                    self._live[ask.lease] = ask.terms.name
                ask.answer.set_result(said)
            elif not said[0]:
                self._take_back(ask, said[4])

    async def _send(
        self, asks: list[_Ask], settling: list[_Settlement], renewing: bool
    ) -> list[_Answer]:
        numbers: dict[str, int] = {}
        operations: list[list[Any]] = []
        for name, operation in settling:  # first: they make room
            operations.append([1, numbers.setdefault(name, len(numbers) + 1), *operation])
        if renewing:
            leases: dict[str, list[str]] = {}
            for lease, name in self._live.items():
                leases.setdefault(name, []).append(lease)
            for name, held in leases.items():
                operations.append([2, numbers.setdefault(name, len(numbers) + 1), *held])
        for ask in asks:
            terms = ask.terms
            limits = (terms.requests, terms.tokens, terms.budget, terms.most)
            number = numbers.setdefault(terms.name, len(numbers) + 1)
            told = [-1 if limit is None else limit for limit in limits]
            operations.append([0, number, ask.lease, *told, ask.need])
        keys: list[str] = []
        for name in numbers:
            keys += (self._prefix + name, f"{self._prefix}{name}:leases")
        rest = (len(keys), *keys, int(self._lease_s * _US), msgspec.json.encode(operations))
        execute: Any = self._client.execute_command
        try:
            said = await execute("EVALSHA", self._sha, *rest)
        except NoScriptError:  # a new server, or one that forgot
            said = await execute("EVAL", self._script, *rest)
        return _answers.decode(said)

    def _failed(self, asks: list[_Ask], settling: list[_Settlement], error: Exception) -> None:
        """Redis didn't answer: whoever waits is let in or refused by this process's own limits."""
        if not self._away:
            self._away = True
            self._metrics.limits_degraded.set(1)
            _log.warning(
                "Redis is out of reach: until it answers, this process keeps limits of its own",
                redis=self._where,
                error=_told(error),
            )
        self._renew = True
        self._unsettled.extendleft(reversed(settling))
        for (
            ask
        ) in asks:  # whether they took anything is unknown: only what holds a lease is settled
            self._take_back(ask, int(time.time() // DAY_S))
        for ask in (*asks, *_taken(self._asks, len(self._asks))):
            if not ask.answer.cancelled():
                ask.answer.set_result(None)

    def _renewal_due(self) -> None:
        self._renew = bool(self._live)
        if self._renew:
            self._wake.set()
        self._renewal = asyncio.get_running_loop().call_later(self._lease_s / 3, self._renewal_due)


def _taken(waiting: deque[_Item], most: int = _BATCH) -> list[_Item]:
    return [waiting.popleft() for _ in range(min(len(waiting), most))]


def _told(error: Exception) -> str:
    """An error for the log. A server's own text may quote what it was sent, a password included:
    its first word says what it is (NOAUTH, READONLY, OOM)."""
    if isinstance(error, ResponseError):
        return f"{type(error).__name__} {str(error).split(' ', 1)[0]}"
    return type(error).__name__
