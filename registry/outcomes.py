"""Outcomes: what became of an adapter's requests, in the order in which they came. No text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import and_, bindparam, select, update

from registry.database import Base, Database, queue
from registry.exchanges import Exchange, Feedback


@dataclass(frozen=True)
class Outcome:
    """One request that a model was asked for. `digest` is who answered (None: the base)."""

    number: int
    digest: str | None
    role: str
    """As `Exchange.role`: "live", "canary", "shadow", "control" or ""."""
    fallback: str
    status: int
    valid: bool | None
    refused: bool | None
    finish_reason: str | None
    rating: float | None
    """-1 (bad) … 1 (good), where a person said so."""
    corrected: bool | None
    """False where a person named the label that the answer is; None where nobody said."""
    created_at: float


@dataclass(frozen=True)
class Said:
    """What a person said of an answer of version `digest`, and what is known of that answer: its
    role and signals, None where it is gone."""

    number: int
    id: str
    digest: str | None
    rating: float | None
    corrected: bool | None
    heard: float | None
    """The harm that it counted as when it was said in another way."""
    role: str | None
    valid: bool | None
    refused: bool | None
    repetition: float | None
    mean_logprob: float | None
    finish_reason: str | None
    asked_at: float | None
    """When it was asked for (seconds since the epoch)."""
    asked: int | None
    """The number of that exchange."""
    doubtful: bool | None
    """As `Exchange.doubtful`."""


class Outcomes:
    """Outcomes in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def said_since(self, number: int, tenant: str, adapter: str, limit: int = 5000) -> list[Said]:
        """People's words with a number above `number`, in the order in which they came, or were
        changed."""
        query = (
            select(
                Feedback.number,
                Feedback.id,
                Feedback.digest,
                Feedback.rating,
                Feedback.corrected,
                Feedback.heard,
                Exchange.role,
                Exchange.valid,
                Exchange.refused,
                Exchange.repetition,
                Exchange.mean_logprob,
                Exchange.finish_reason,
                Exchange.created_at,
                Exchange.number,
                Exchange.doubtful,
            )
            .outerjoin(Exchange, Feedback.exchange_id == Exchange.id)
            .where(Feedback.number > number, Feedback.tenant == tenant, Feedback.adapter == adapter)
            .order_by(Feedback.number)
            .limit(limit)
        )
        with self._database.read() as session:
            return [Said(*tuple(row)) for row in session.execute(query).all()]

    def heard(self, harms: Mapping[str, float]) -> None:
        """Note of people's words ({id: harm from 0 to 1}) what they counted as."""
        if not harms:
            return
        table = Base.metadata.tables["feedback"]
        note = update(table).where(table.c.id == bindparam("said")).values(heard=bindparam("harm"))
        with self._database.write() as session:
            queue(session, "feedback")  # a word that is being changed is a new row
            rows = [{"said": said, "harm": harm} for said, harm in harms.items()]
            session.connection().execute(note, rows)

    def of(
        self,
        tenant: str,
        adapter: str,
        since: float,
        until: float | None = None,
        limit: int = 50_000,
    ) -> list[Outcome]:
        """Of an adapter's requests from `since` to before `until` (seconds since the epoch), the
        newest `limit`, oldest first. Refused ones (4xx) are left out: no model saw them; so are
        doubtful ones."""
        query = (
            select(
                Exchange.number,
                Exchange.digest,
                Exchange.role,
                Exchange.fallback,
                Exchange.status,
                Exchange.valid,
                Exchange.refused,
                Exchange.finish_reason,
                Feedback.rating,
                Feedback.corrected,
                Exchange.created_at,
            )
            .outerjoin(Feedback, and_(Feedback.exchange_id == Exchange.id))
            .where(
                Exchange.tenant == tenant,
                Exchange.adapter == adapter,
                Exchange.created_at >= since,
                (Exchange.status < 400) | (Exchange.status >= 500),
                Exchange.doubtful.is_not(True),
            )
            .order_by(Exchange.number.desc())
            .limit(limit)
        )
        if until is not None:
            query = query.where(Exchange.created_at < until)
        with self._database.read() as session:
            rows = session.execute(query).all()
        return [Outcome(*tuple(row)) for row in reversed(rows)]
