"""What was served and what was said of it, over a time: figures to add up. Reads only, no text.

A row of an exchange is heavy (sketch, messages, answer); here only its figures are read.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, case, cast, func, or_, select

from registry.database import Database
from registry.exchanges import CONTROL, Exchange, Feedback

LOOKED_AT = 100_000


@dataclass(frozen=True, slots=True)
class Past:
    """One request that a client was answered. Times of it in milliseconds, `at` in seconds since
    the epoch; `digest` None: the base."""

    at: float
    tenant: str
    adapter: str | None
    digest: str | None
    fallback: str
    status: int
    latency_ms: float
    queue_ms: float
    ttft_ms: float | None
    prompt_tokens: int
    completion_tokens: int
    prefill_ms: float | None = None
    decode_ms: float | None = None
    """Of streams, from the engine being asked to its first bytes, and from there to the end."""
    valid: bool | None = None
    refused: bool | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """Requests of one tenant within `step` seconds from `at` (since the epoch), and those of them
    that ended in 5xx."""

    tenant: str
    at: float
    requests: int
    failed: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a person said of an answer: good is a rating above 0; without one, a correction is not
    good, and the answer's own label is."""

    at: float
    tenant: str
    adapter: str | None
    digest: str | None
    good: bool


_JUDGED = or_(Feedback.rating.is_not(None), Feedback.corrected.is_not(None))
_AGREES = case((Feedback.corrected.is_(False), 1.0), else_=-1.0)
_GOOD = func.coalesce(Feedback.rating, _AGREES) > 0
_ITS = Feedback.exchange_id == Exchange.id
_COUNTS = func.coalesce(Exchange.role, "").not_in((CONTROL, "shadow"))


class History:
    """Exchanges and feedback, as figures over time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def requests(
        self, since: float, tenant: str | None = None, limit: int = LOOKED_AT
    ) -> list[Past]:
        """Since a time (seconds since the epoch), oldest first; the newest `limit` if there are
        more. Copies for a shadow are left out: nobody was answered by them."""
        columns = (
            Exchange.created_at, Exchange.tenant, Exchange.adapter, Exchange.digest,
            Exchange.fallback, Exchange.status, Exchange.latency_ms, Exchange.queue_ms,
            Exchange.ttft_ms, Exchange.prompt_tokens, Exchange.completion_tokens,
            Exchange.prefill_ms, Exchange.decode_ms, Exchange.valid, Exchange.refused,
            Exchange.cost,
        )  # fmt: skip
        query = select(*columns).where(Exchange.created_at >= since, Exchange.role != "shadow")
        if tenant is not None:
            query = query.where(Exchange.tenant == tenant)
        with self._database.read() as session:
            found = session.execute(query.order_by(Exchange.number.desc()).limit(limit))
            return [Past(*row) for row in found][::-1]

    def answered(self, since: float, step: int, tenant: str | None = None) -> list[Answered]:
        """Since a time (seconds since the epoch), in steps of so many seconds, oldest first; steps
        without a request are left out. Counted by the database, however many there are."""
        # Whole numbers are divided alike everywhere; a cast may round, by half a second here.
        slot = cast(Exchange.created_at, BigInteger) // step
        query = (
            select(
                Exchange.tenant,
                slot,
                func.count(),
                func.sum(case((Exchange.status >= 500, 1), else_=0)),
            )
            .where(Exchange.created_at >= since, Exchange.role != "shadow")
            .group_by(Exchange.tenant, slot)
            .order_by(slot, Exchange.tenant)
        )
        if tenant is not None:
            query = query.where(Exchange.tenant == tenant)
        with self._database.read() as session:
            return [
                Answered(who, float(number * step), count, int(failed))
                for who, number, count, failed in session.execute(query)
            ]

    def judgements(self, since: float, tenant: str | None = None) -> list[Judgement]:
        """What was said since a time (seconds since the epoch), oldest first. What the base got
        wrong as a control is not the adapters' fault, and a shadow's answers nobody saw."""
        query = select(
            Feedback.created_at, Feedback.tenant, Feedback.adapter, Feedback.digest, _GOOD
        ).where(_JUDGED, Feedback.created_at >= since)
        query = query.outerjoin(Exchange, _ITS).where(_COUNTS)
        if tenant is not None:
            query = query.where(Feedback.tenant == tenant)
        with self._database.read() as session:
            found = session.execute(query.order_by(Feedback.number))
            return [Judgement(at, who, what, by, bool(good)) for at, who, what, by, good in found]

    def judged(self, since: float) -> dict[str, tuple[int, int]]:
        """{tenant: (good, judged)} of the answers that were judged since a time; the same ones."""
        query = (
            select(Feedback.tenant, func.sum(case((_GOOD, 1), else_=0)), func.count())
            .outerjoin(Exchange, _ITS)
            .where(_JUDGED, _COUNTS, Feedback.created_at >= since)
            .group_by(Feedback.tenant)
        )
        with self._database.read() as session:
            return {tenant: (int(good), count) for tenant, good, count in session.execute(query)}
