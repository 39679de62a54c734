"""Decisions: a receipt for each promote, reject, retrain, hold or rollback, and drift's state."""

from __future__ import annotations

from sqlalchemy import ForeignKey, LargeBinary, Select, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Base, Database, JsonObject, now
from registry.errors import NotFound, Superseded
from registry.names import new_id

ACCEPT = "accept"
"""The rule of an "ask" that wants an adapter's traffic and answers, as they are, to count as usual;
any other asks for a retraining."""

CONTROLLER = "controller"
"""Whose decisions those are that no person made."""


class Decision(Base):
    """What was decided, by which rule, on which evidence, and what it expected.

    `kind`: "promote", "reject", "retrain", "hold", "rollback", "watch", "shadow" and "canary" for a
    step of a rollout, "ask" for somebody's wish. `realised` is filled in later,
    when what happened is known.
    """

    __tablename__ = "decisions"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("dec-"))
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name", ondelete="CASCADE"), index=True)
    adapter: Mapped[str]
    kind: Mapped[str]
    rule: Mapped[str]
    by: Mapped[str] = mapped_column(default=CONTROLLER)
    digest: Mapped[str | None]
    job_id: Mapped[str | None]
    evidence: Mapped[JsonObject] = mapped_column(default=dict)
    expected: Mapped[JsonObject] = mapped_column(default=dict)
    realised: Mapped[JsonObject | None]
    created_at: Mapped[float] = mapped_column(default=now, index=True)


class DriftState(Base):
    """Where a drift detector stands, so that a restarted controller goes on and doesn't begin anew.

    `epoch` counts references: a new one is taken after each promotion. `cursor` is the last
    exchange number seen. `state` is the detector's own, `arrays` its packed numbers.
    """

    __tablename__ = "drift_states"

    tenant: Mapped[str] = mapped_column(
        ForeignKey("tenants.name", ondelete="CASCADE"), primary_key=True
    )
    adapter: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(default=0)
    cursor: Mapped[int] = mapped_column(default=0)
    state: Mapped[JsonObject] = mapped_column(default=dict)
    arrays: Mapped[bytes | None] = mapped_column(LargeBinary)
    updated_at: Mapped[float] = mapped_column(default=now)


class Decisions:
    """Receipts and detector states in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(
        self,
        tenant: str,
        adapter: str,
        kind: str,
        rule: str,
        *,
        by: str = CONTROLLER,
        digest: str | None = None,
        job_id: str | None = None,
        evidence: JsonObject | None = None,
        expected: JsonObject | None = None,
        at: float | None = None,
    ) -> Decision:
        """Leave a receipt; `at` is its moment (seconds since the epoch), now if not given."""
        decision = Decision(
            tenant=tenant,
            adapter=adapter,
            kind=kind,
            rule=rule,
            by=by,
            digest=digest,
            job_id=job_id,
            evidence=evidence or {},
            expected=expected or {},
            created_at=now() if at is None else at,
        )
        with self._database.write() as session:
            session.add(decision)
        return decision

    def realise(self, decision_id: str, realised: JsonObject) -> None:
        """Score a decision by what happened. Raises NotFound."""
        with self._database.write() as session:
            decision = session.get(Decision, decision_id)
            if decision is None:
                raise NotFound("decision", decision_id)
            decision.realised = realised

    def all(
        self, tenant: str | None = None, adapter: str | None = None, kind: str | None = None
    ) -> list[Decision]:
        """Newest first."""
        with self._database.read() as session:
            return [*session.scalars(_filtered(tenant, adapter, kind))]

    def counts(self) -> dict[tuple[str, str], int]:
        """{(tenant, kind): receipts}."""
        query = select(Decision.tenant, Decision.kind, func.count()).group_by(
            Decision.tenant, Decision.kind
        )
        with self._database.read() as session:
            return {(tenant, kind): count for tenant, kind, count in session.execute(query)}

    def page(
        self,
        after: str | None,
        limit: int,
        tenant: str | None = None,
        adapter: str | None = None,
        kind: str | None = None,
    ) -> list[Decision]:
        """At most `limit` decisions, newest first, those behind the one with the id `after`.

        Raises NotFound (no decision has that id).
        """
        query = _filtered(tenant, adapter, kind).limit(limit)
        with self._database.read() as session:
            if after is not None:
                last = session.get(Decision, after)
                if last is None:
                    raise NotFound("decision", after)
                same = (Decision.created_at == last.created_at) & (Decision.id > last.id)
                query = query.where((Decision.created_at < last.created_at) | same)
            return [*session.scalars(query)]

    def drift_state(self, tenant: str, adapter: str) -> DriftState | None:
        """The detector's state, or None before its first tick."""
        with self._database.read() as session:
            return session.get(DriftState, (tenant, adapter))

    def save_drift_state(self, state: DriftState, known: float | None = None) -> float:
        """Write a detector's state (insert or replace); when that was. `known`: when it was written
        last as far as the caller knows (0.0: never). Raises Superseded if that was not the last."""
        with self._database.write() as session:
            key = (state.tenant, state.adapter)
            if known is not None:
                there = session.get(DriftState, key, with_for_update=True)
                if known != (0.0 if there is None else there.updated_at):
                    raise Superseded("drift state", "/".join(key))
            state.updated_at = now()
            session.merge(state)
        return state.updated_at

    def forget_drift_state(self, tenant: str, adapter: str) -> None:
        """Remove a detector's state. One that is not there is no error."""
        its = (DriftState.tenant == tenant, DriftState.adapter == adapter)
        with self._database.write() as session:
            session.execute(delete(DriftState).where(*its))

    def drift_states(self) -> list[DriftState]:
        """Every detector's state."""
        with self._database.read() as session:
            return [*session.scalars(select(DriftState))]


def _filtered(tenant: str | None, adapter: str | None, kind: str | None) -> Select[Decision]:
    query = select(Decision).order_by(Decision.created_at.desc(), Decision.id)
    if tenant is not None:
        query = query.where(Decision.tenant == tenant)
    if adapter is not None:
        query = query.where(Decision.adapter == adapter)
    if kind is not None:
        query = query.where(Decision.kind == kind)
    return query
