"""News: what is there of every adapter, in one query a table, so that who looks again and again can
pass over those for whom nothing is new. Figures and names only: no text, no manifest, no evidence.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select

from registry.corrections import waiting
from registry.database import Database
from registry.decisions import Decision
from registry.exchanges import Exchange, Feedback
from registry.job import Job
from registry.versions import Version

Names = tuple[str, str]
"""(tenant, adapter)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One version, checkpoints left out. `again`: what its canary prompts said when they were asked
    again, {"passed": …}; None where they were not."""

    digest: str
    tenant: str
    adapter: str
    served_name: str
    state: str
    state_at: float
    verdict: str
    again: dict[str, Any] | None
    requested_by: str | None = None

    @property
    def reasons(self) -> dict[str, Any]:
        """Of `Version.reasons`, who wants it live."""
        return {} if self.requested_by is None else {"requested_by": self.requested_by}


@dataclass(frozen=True, slots=True)
class Gain:
    """What a retraining was expected to gain at most, and what it gained, as shares of answers."""

    tenant: str
    expected: float
    realised: float


class News:
    """Every adapter's rows, in few queries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def exchanges(self, after: int) -> dict[str, int]:
        """{tenant: its newest exchange's number}, of exchanges with a number above `after`."""
        query = (
            select(Exchange.tenant, func.max(Exchange.number))
            .where(Exchange.number > after)
            .group_by(Exchange.tenant)
        )
        with self._database.read() as session:
            return {tenant: number for tenant, number in session.execute(query)}

    def words(self, after: int) -> dict[Names, int]:
        """{(tenant, adapter): the number of people's newest word}, of numbers above `after`."""
        query = (
            select(Feedback.tenant, Feedback.adapter, func.max(Feedback.number))
            .where(Feedback.number > after, Feedback.adapter.is_not(None))
            .group_by(Feedback.tenant, Feedback.adapter)
        )
        with self._database.read() as session:
            return {(tenant, name or ""): n for tenant, name, n in session.execute(query)}

    def receipts(self) -> dict[tuple[str, str, str], tuple[int, float]]:
        """{(tenant, adapter, kind): (receipts, when the newest was left)}, in seconds since the
        epoch."""
        columns = (Decision.tenant, Decision.adapter, Decision.kind)
        query = select(*columns, func.count(), func.max(Decision.created_at)).group_by(*columns)
        with self._database.read() as session:
            return {(t, a, kind): (n, at) for t, a, kind, n, at in session.execute(query)}

    def versions(self) -> list[Standing]:
        """All there are, oldest first."""
        query = (
            select(
                Version.digest, Version.tenant, Version.adapter, Version.served_name,
                Version.state, Version.state_at, Version.verdict, Version.certificate["again"],
                Version.reasons["requested_by"],
            )
            .where(Version.step.is_(None))
            .order_by(Version.created_at, Version.digest)
        )  # fmt: skip
        with self._database.read() as session:
            return [Standing(*row) for row in session.execute(query)]

    def corrections(self) -> dict[Names, int]:
        """{(tenant, adapter): how many `Corrections.of` would find that no job has used}."""
        query = (
            select(Feedback.tenant, Feedback.adapter, func.count())
            .outerjoin(Exchange, Feedback.exchange_id == Exchange.id)
            .where(Feedback.adapter.is_not(None), *waiting())
            .group_by(Feedback.tenant, Feedback.adapter)
        )
        with self._database.read() as session:
            return {(tenant, name or ""): n for tenant, name, n in session.execute(query)}

    def failed(
        self, names: Names, but: str, since: float, until: float, unavailable: Collection[str]
    ) -> tuple[int, int]:
        """(failed, requests) of all tenants between two times (both included, in seconds since the
        epoch), those left out that the adapter `names` sent to its version with the digest `but`.
        Failed is what became a 5xx, or was left to another for a reason in `unavailable`. Refused
        ones (4xx) and copies for a shadow are no requests here."""
        left = Exchange.fallback.in_(unavailable)
        same = (Exchange.tenant == names[0]) & (func.coalesce(Exchange.adapter, "") == names[1])
        query = select(
            func.coalesce(func.sum(case((left | (Exchange.status >= 500), 1), else_=0)), 0),
            func.count(),
        ).where(
            Exchange.created_at >= since,
            Exchange.created_at <= until,
            (Exchange.status < 400) | (Exchange.status >= 500),
            func.coalesce(Exchange.digest, "") != but,
            ~(same & left),  # another answered, but it was this version that was asked
            Exchange.role != "shadow",
        )
        with self._database.read() as session:
            failed, requests = session.execute(query).one()
        return int(failed), int(requests)

    def unscored(self) -> list[Decision]:
        """Receipts of retrainings of which it is not known yet what came of them."""
        query = select(Decision).where(Decision.kind == "retrain", Decision.realised.is_(None))
        with self._database.read() as session:
            return [*session.scalars(query)]

    def jobs(self) -> dict[str, int]:
        """{state: jobs}."""
        query = select(Job.state, func.count()).group_by(Job.state)
        with self._database.read() as session:
            return {state: count for state, count in session.execute(query)}

    def trained_s(self, since: float, until: float) -> float:
        """Seconds that the controller's jobs have trained between two times; one that is still
        running counts up to `until`."""
        query = select(Job.started_at, Job.finished_at).where(
            Job.trigger == "controller",
            Job.started_at.is_not(None),
            func.coalesce(Job.finished_at, until) > since,
        )
        with self._database.read() as session:
            spans = session.execute(query).all()
        return sum(
            max(min(end or until, until) - max(begun or since, since), 0.0) for begun, end in spans
        )

    def gains(self) -> list[Gain]:
        """Of the retrainings whose receipts say both, newest first."""
        expected = Decision.expected["gain_at_most"].as_float()
        realised = Decision.realised["gain"].as_float()
        query = (
            select(Decision.tenant, expected, realised)
            .where(Decision.kind == "retrain", Decision.realised.is_not(None))
            .order_by(Decision.created_at.desc(), Decision.id)
        )
        with self._database.read() as session:
            return [
                Gain(tenant, most, gain)
                for tenant, most, gain in session.execute(query)
                if most is not None and gain is not None
            ]
