"""Retention: exchanges, and the text in them, that are no longer to be there.

Rows go on everywhere else; what was made of them before (a training file, a version) is not undone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import ColumnElement, delete, func, or_, select, update

from registry.database import Database
from registry.errors import NotFound
from registry.exchanges import Exchange, Feedback
from registry.tenants import Tenant


@dataclass(frozen=True)
class Forgotten:
    """How many rows went, or lost their text."""

    exchanges: int
    feedback: int


_Key = TypeVar("_Key", str, int)
_IDS_AT_ONCE = 500
"""In one statement: databases bound how many values it may name."""
_HAS_TEXT = or_(Exchange.messages.is_not(None), Exchange.answer.is_not(None))
_SAYS_TEXT = or_(
    Feedback.messages.is_not(None), Feedback.correction.is_not(None), Feedback.label.is_not(None)
)
_NO_TEXT: dict[str, None] = dict.fromkeys(("messages", "answer"))
_NO_WORDS: dict[str, None] = dict.fromkeys(("messages", "correction", "label"))


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
        nothing = update(Exchange).values(_NO_TEXT)
        with self._database.write() as session:
            ids = [*session.scalars(old.order_by(Exchange.created_at).limit(limit))]
            for some in _pieces(ids):
                session.execute(nothing.where(Exchange.id.in_(some)))
        return len(ids)

    def forget_said_before(self, text_at: float, limit: int | None = None) -> int:
        """Take the texts of feedback away whose age counts from before a time (`Feedback.text_at`),
        whether a training has used them or not; how many had some. What it says of the answer
        stays."""
        age = func.coalesce(Feedback.text_at, Feedback.created_at)
        old = select(Feedback.id).where(age < text_at, _SAYS_TEXT)
        nothing = update(Feedback).values(_NO_WORDS)
        with self._database.write() as session:
            ids = [*session.scalars(old.order_by(age).limit(limit))]
            for some in _pieces(ids):
                session.execute(nothing.where(Feedback.id.in_(some)))
        return len(ids)

    def forget(self, tenant: str, *, text_only: bool = False, at_once: int = 1000) -> Forgotten:
        """Delete a tenant's exchanges and feedback, or only the text in them: then signals and
        ratings stay. In steps, so that others may write meanwhile: what is cut short is done in
        part. What a router has not yet written comes after. Raises NotFound."""
        with self._database.read() as session:
            if session.get(Tenant, tenant) is None:
                raise NotFound("tenant", tenant)
        theirs, said = Exchange.tenant == tenant, Feedback.tenant == tenant
        if text_only:
            theirs, said = theirs & _HAS_TEXT, said & _SAYS_TEXT
        # Feedback last: it may be given, with an exchange's text, until that is gone.
        exchanges = self._in_steps(Exchange, theirs, _NO_TEXT if text_only else None, at_once)
        feedback = self._in_steps(Feedback, said, _NO_WORDS if text_only else None, at_once)
        return Forgotten(exchanges, feedback)

    def _in_steps(
        self,
        kind: type[Exchange | Feedback],
        which: ColumnElement[bool],
        without: Mapping[str, None] | None,
        at_once: int,
    ) -> int:
        """Delete rows, or make them `without` some columns, each step a transaction: how many.
        Those that come meanwhile are left."""
        with self._database.read() as session:
            until = session.scalar(select(func.max(kind.number)).where(which)) or 0
        some = (
            select(kind.number)
            .where(which, kind.number <= until)
            .order_by(kind.number)
            .limit(at_once)
        )
        total = 0
        while True:
            with self._database.write() as session:
                numbers = [*session.scalars(some)]
                for piece in _pieces(numbers):
                    these = kind.number.in_(piece)
                    session.execute(
                        delete(kind).where(these)
                        if without is None
                        else update(kind).where(these).values(without)
                    )
            total += len(numbers)
            if len(numbers) < at_once:
                return total


def _pieces(ids: Sequence[_Key]) -> Iterator[Sequence[_Key]]:
    for first in range(0, len(ids), _IDS_AT_ONCE):
        yield ids[first : first + _IDS_AT_ONCE]
