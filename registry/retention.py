"""Retention: exchanges, and the text in them, that are no longer to be there.

Rows go on everywhere else; what was made of them before (a training file, a version) is not undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, or_, select, update

from registry.database import Database
from registry.errors import NotFound
from registry.exchanges import Exchange, Feedback
from registry.tenants import Tenant


@dataclass(frozen=True)
class Forgotten:
    """How many rows went, or lost their text."""

    exchanges: int
    feedback: int


_IDS_AT_ONCE = 500
"""In one statement: databases bound how many values it may name."""
_HAS_TEXT = or_(Exchange.messages.is_not(None), Exchange.answer.is_not(None))
_SAYS_TEXT = or_(
    Feedback.messages.is_not(None), Feedback.correction.is_not(None), Feedback.label.is_not(None)
)


class Retention:
    """Forgetting, in the registry. `limit` bounds one transaction: call again until fewer go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def forget_before(
        self, created_at: float, tenant: str | None = None, limit: int | None = None
    ) -> int:
        """Delete exchanges older than a time, with what was said of them; how many went."""
        old = select(Exchange.id).where(Exchange.created_at < created_at)
        if tenant is not None:
            old = old.where(Exchange.tenant == tenant)
        with self._database.write() as session:
            ids = [*session.scalars(old.order_by(Exchange.created_at).limit(limit))]
            for some in _pieces(ids):
                session.execute(delete(Feedback).where(Feedback.exchange_id.in_(some)))
                session.execute(delete(Exchange).where(Exchange.id.in_(some)))
        return len(ids)

    def forget_text_before(
        self, created_at: float, since: float = 0.0, limit: int | None = None
    ) -> int:
        """Take the text of exchanges away that were made from `since` to before `created_at`; how
        many had some. Signals stay."""
        old = select(Exchange.id).where(
            Exchange.created_at >= since, Exchange.created_at < created_at, _HAS_TEXT
        )
        nothing = update(Exchange).values(messages=None, answer=None)
        with self._database.write() as session:
            ids = [*session.scalars(old.order_by(Exchange.created_at).limit(limit))]
            for some in _pieces(ids):
                session.execute(nothing.where(Exchange.id.in_(some)))
        return len(ids)

    def forget_said_before(
        self, created_at: float, since: float = 0.0, limit: int | None = None
    ) -> int:
        """Take the texts of feedback away that was given from `since` to before `created_at`,
        whether a training has used them or not; how many had some. What it says of the answer
        stays."""
        old = select(Feedback.id).where(
            Feedback.created_at >= since, Feedback.created_at < created_at, _SAYS_TEXT
        )
        nothing = update(Feedback).values(messages=None, correction=None, label=None)
        with self._database.write() as session:
            ids = [*session.scalars(old.order_by(Feedback.created_at).limit(limit))]
            for some in _pieces(ids):
                session.execute(nothing.where(Feedback.id.in_(some)))
        return len(ids)

    def forget(self, tenant: str, *, text_only: bool = False) -> Forgotten:
        """Delete a tenant's exchanges and feedback, or only the text in them: then signals and
        ratings stay. What a router has not yet written comes after. Raises NotFound."""
        theirs, said = Exchange.tenant == tenant, Feedback.tenant == tenant
        with self._database.write() as session:
            if session.get(Tenant, tenant) is None:
                raise NotFound("tenant", tenant)
            if text_only:
                exchanges = session.execute(
                    update(Exchange).where(theirs, _HAS_TEXT).values(messages=None, answer=None)
                )
                feedback = session.execute(
                    update(Feedback)
                    .where(said, _SAYS_TEXT)
                    .values(messages=None, correction=None, label=None)
                )
            else:
                exchanges = session.execute(delete(Exchange).where(theirs))
                feedback = session.execute(delete(Feedback).where(said))
            counts = [int(done.rowcount) for done in (exchanges, feedback)]  # type: ignore[attr-defined]
        return Forgotten(*counts)


def _pieces(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[first : first + _IDS_AT_ONCE]
