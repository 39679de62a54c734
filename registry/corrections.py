"""Corrections: what people put right, as examples that a training can learn from.

A correction is feedback that says what the answer should have been (registry/exchanges.py). It
waits until a job is made of it; where nothing came of that job, it waits for another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select

from registry.database import Database
from registry.errors import NotFound
from registry.exchanges import CONTROL, Exchange, Feedback


class Corrections:
    """Corrections in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(
        self, tenant: str, adapter: str, unused: bool = True, since: float | None = None
    ) -> list[Feedback]:
        """Corrected examples with their prompts, oldest first; only those in no job if `unused`;
        only of prompts from `since` on (seconds since the epoch; where the request is not kept any
        more, the correction's own time). None of the control arm: what the base got wrong is
        nothing that the adapter has to learn; and none of doubtful requests.
        """
        query = (
            select(Feedback)
            .outerjoin(Exchange, Feedback.exchange_id == Exchange.id)
            .where(*_of(tenant, adapter), *(waiting() if unused else corrected()))
        )
        if since is not None:
            query = query.where(func.coalesce(Exchange.created_at, Feedback.created_at) >= since)
        with self._database.read() as session:
            return [*session.scalars(query.order_by(Feedback.number))]

    def count(self, tenant: str, adapter: str, since: float | None = None) -> int:
        """How many `of` would find that are in no job; reads no text."""
        query = (
            select(func.count())
            .select_from(Feedback)
            .outerjoin(Exchange, Feedback.exchange_id == Exchange.id)
            .where(*_of(tenant, adapter), *waiting())
        )
        if since is not None:
            query = query.where(func.coalesce(Exchange.created_at, Feedback.created_at) >= since)
        with self._database.read() as session:
            return session.scalar(query) or 0

    def answers(self, tenant: str, adapter: str) -> list[tuple[str, str]]:
        """(what was answered, what should have been) of those that are in no job, where the answer
        is kept. No prompts."""
        query = (
            select(Exchange.answer, func.coalesce(Feedback.correction, Feedback.label))
            .select_from(Feedback)
            .join(Exchange, Feedback.exchange_id == Exchange.id)
            .where(*_of(tenant, adapter), *waiting(), Exchange.answer.is_not(None))
        )
        with self._database.read() as session:
            return [(answer or "", better or "") for answer, better in session.execute(query)]

    def given(self, tenant: str, adapter: str) -> dict[str, str]:
        """{id: what was answered} of those that are in no job, where the answer is kept."""
        query = (
            select(Feedback.id, Exchange.answer)
            .join(Exchange, Feedback.exchange_id == Exchange.id)
            .where(*_of(tenant, adapter), *waiting(), Exchange.answer.is_not(None))
        )
        with self._database.read() as session:
            return {name: answer or "" for name, answer in session.execute(query)}

    def unusable(self, tenant: str, adapter: str) -> dict[str, int]:
        """{why: how many} of the corrections that no training can learn from."""
        query = (
            select(Feedback, Exchange.role, Exchange.doubtful)
            .outerjoin(Exchange, Feedback.exchange_id == Exchange.id)
            .where(*_of(tenant, adapter), Feedback.corrected.is_(True))
        )
        with self._database.read() as session:
            rows = session.execute(query)
            found = [_unusable(*row) for row in rows if row[0].better is not None]
        return dict(Counter(why for why in found if why is not None))

    def why_unusable(self, row: Feedback) -> str | None:
        """Why no training can learn from this correction; None where one can. Raises NotFound."""
        query = select(Exchange.role, Exchange.doubtful).where(Exchange.id == row.exchange_id)
        with self._database.read() as session:
            found = session.execute(query).first()
        if found is None:
            raise NotFound("completion", row.exchange_id)
        return _unusable(row, *found)

    def mark_used(self, feedback_ids: Sequence[str], job_id: str) -> None:
        """Note which job trains on these corrections, so that the next one waits for new ones."""
        with self._database.write() as session:
            rows = session.scalars(select(Feedback).where(Feedback.id.in_(feedback_ids)))
            for row in rows:
                row.used_in_job = job_id

    def release(self, job_id: str) -> None:
        """What this job was to learn waits for another again: nothing came of it."""
        with self._database.write() as session:
            for row in session.scalars(select(Feedback).where(Feedback.used_in_job == job_id)):
                row.used_in_job = None


def corrected() -> tuple[ColumnElement[bool], ...]:
    """What is true of corrections, joined to their exchanges, that a training can learn from. The
    control arm's are the base's own errors, and nothing that the adapter has to learn."""
    return (
        Feedback.corrected.is_(True),
        Feedback.correction.is_not(None) | Feedback.label.is_not(None),
        Feedback.messages.is_not(None),
        func.coalesce(Exchange.role, "") != CONTROL,
        Exchange.doubtful.is_not(True),
    )


def waiting() -> tuple[ColumnElement[bool], ...]:
    """Of those, the ones that none has learned from."""
    return (*corrected(), Feedback.used_in_job.is_(None))


def _of(tenant: str, adapter: str) -> tuple[ColumnElement[bool], ...]:
    return Feedback.tenant == tenant, Feedback.adapter == adapter


def _unusable(row: Feedback, role: str | None, doubtful: bool | None) -> str | None:
    if row.adapter is None:
        return "no adapter was asked for"
    if role == CONTROL:
        return "the base gave the answer, as a control"
    if doubtful:
        return "the messages were built in another way than usual"
    if row.messages is None:
        return "the prompt is not kept: send it along as 'messages', or let text be kept"
    return None
