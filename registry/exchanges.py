"""Exchanges: one row for each served request, and what people said of it afterwards.

Text is kept only where the tenant opted in (`Tenant.store_text`); the router decides, before it
hands rows over. `sketch` is what drift is computed from, and can't be turned back into text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    case,
    cast,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.orm import Mapped, defer, mapped_column

from registry.adapters import Adapter
from registry.database import Base, Database, JsonObject, now, queue
from registry.errors import NotFound
from registry.names import new_id
from registry.tenants import Tenant

CONTROL = "control"
"""`Exchange.role` of the base in an adapter's place, by `Tenant.control_share`."""
_TEXT = JSON(none_as_null=True)
"""What is not kept is NULL, and not JSON's null: retention looks for what there is."""


class Exchange(Base):
    """One request. `id` is the completion's id as the client saw it (`chatcmpl-…`).

    `served` is "adapter" or "base"; `fallback` the reason when the base (or an older version)
    answered instead of what was asked, else "". Times in milliseconds. `role` says what the version
    was for this request: "live", "canary", or "shadow" (then `shadow_of` is the id of the exchange
    whose client got the real answer); "control" for the base in an adapter's place to see whether
    it helps; "" for the base otherwise, and for versions asked for by exact name.
    """

    __tablename__ = "exchanges"
    __table_args__ = (
        Index("ix_exchanges_window", "tenant", "adapter", "created_at"),
        {"sqlite_autoincrement": True},  # else numbers of deleted rows are given again
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name", ondelete="CASCADE"), index=True)
    alias: Mapped[str | None]
    adapter: Mapped[str | None]
    digest: Mapped[str | None]
    served: Mapped[str]
    fallback: Mapped[str] = mapped_column(default="")
    role: Mapped[str] = mapped_column(default="", server_default="")
    shadow_of: Mapped[str | None]
    engine_id: Mapped[str | None]
    status: Mapped[int]
    created_at: Mapped[float] = mapped_column(default=now, index=True)
    latency_ms: Mapped[float]
    queue_ms: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Of the latency: waiting in the router for a place in the engine."""
    ttft_ms: Mapped[float | None]
    prefill_ms: Mapped[float | None]
    """Of a stream: from the engine being asked to its first bytes; with `decode_ms` None else."""
    decode_ms: Mapped[float | None]
    """Of a stream: from its first bytes to its end."""
    prompt_tokens: Mapped[int] = mapped_column(default=0)
    completion_tokens: Mapped[int] = mapped_column(default=0)
    finish_reason: Mapped[str | None]
    cost: Mapped[float | None]
    """Where the router was told prices, in their currency."""
    answer_chars: Mapped[int | None]
    """This and the next four are signals: monitoring/signals.py. None where nothing can be said."""
    valid: Mapped[bool | None]
    refused: Mapped[bool | None]
    repetition: Mapped[float | None]
    mean_logprob: Mapped[float | None]
    """Of the answer's tokens, where the client asked for their log-probabilities."""
    layout: Mapped[int | None]
    """How the messages are built, without what they say: monitoring/integrity.py."""
    doubtful: Mapped[bool | None]
    """True where they were built in another way than usual, and all before and after were so:
    nothing is learned from it, whatever is said of it."""
    client: Mapped[str | None]
    """Which library sent it, in which version: monitoring/client.py."""
    sketch: Mapped[bytes | None] = mapped_column(LargeBinary)
    messages: Mapped[JsonObject | None] = mapped_column(_TEXT)
    """{"messages": […]}, where the tenant opted in, redacted unless the router was told not to."""
    answer: Mapped[str | None]


class Feedback(Base):
    """What a person (or a downstream system) said of an exchange: one row an exchange. Said in
    another way, it gets a new `number` and `created_at`, and its `id` stays."""

    __tablename__ = "feedback"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("fb-"))
    exchange_id: Mapped[str] = mapped_column(unique=True)
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name", ondelete="CASCADE"), index=True)
    adapter: Mapped[str | None]
    digest: Mapped[str | None]
    rating: Mapped[float | None]
    """-1 (bad) … 1 (good)."""
    label: Mapped[str | None]
    correction: Mapped[str | None]
    corrected: Mapped[bool | None]
    """Whether it puts the answer right: False where it names the answer's own label. This stays
    when the texts go. None: it says nothing of it."""
    messages: Mapped[JsonObject | None] = mapped_column(_TEXT)
    """The prompt that was corrected, copied from the exchange or sent along by the caller."""
    text_at: Mapped[float | None]
    """From when its texts' age counts: where the exchange's text was there it is the exchange's
    time, else when the first of them was given; however often they are changed."""
    created_at: Mapped[float] = mapped_column(default=now)
    used_in_job: Mapped[str | None]
    heard: Mapped[float | None]
    """The harm, 0 to 1, that it has counted as where answers are watched; None: not at all."""

    @property
    def better(self) -> str | None:
        """The right answer, where what was given is not: the correction, or the label in place of
        one."""
        if self.correction is not None or not self.corrected or self.label is None:
            return self.correction
        return self.label.strip()

    @property
    def has_text(self) -> bool:
        """Whether anything in it is text."""
        return any(text is not None for text in (self.messages, self.correction, self.label))


@dataclass(frozen=True)
class Traffic:
    """What the last requests were like: how many were looked at, how many distinct versions
    answered within the busiest window, and the tokens (prompt and answer) of a long one."""

    requests: int
    busiest: int
    long_tokens: int


@dataclass(frozen=True)
class Served:
    """What one version (`digest` None: the base in its stead) did for an adapter's callers since a
    time. Copies for a shadow are counted apart and are in no other figure."""

    digest: str | None
    requests: int
    errors: int
    fallbacks: int
    shadows: int
    latency_ms: float | None
    """Mean over the answered."""
    ratings: int
    rating: float | None
    """Mean of what people said of them since, -1 (bad) … 1 (good)."""


_LOOKED_AT = 100_000
_TABLE = Base.metadata.tables["exchanges"]
_DEFAULTS = {
    column.key: column.default.arg if column.default is not None else None  # type: ignore[attr-defined]
    for column in _TABLE.columns
    if column.key != "number"
}


def _columns(row: Exchange | Mapping[str, Any]) -> Mapping[str, Any]:
    """A row as plain values, all of them: rows of one batch must have the same columns."""
    given = row if isinstance(row, Mapping) else vars(row)
    return {
        name: given[name] if name in given else default(None) if callable(default) else default
        for name, default in _DEFAULTS.items()
    }


class Exchanges:
    """Exchanges and feedback in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rows: Sequence[Exchange | Mapping[str, Any]]) -> None:
        """Write a batch in one transaction: rows, or their columns by name (which costs a fifth).

        Rows that are there already are left out, so that a batch whose outcome is unknown can be
        written again; so are those of tenants that were deleted meanwhile.
        """
        batch = {row["id"]: row for row in map(_columns, rows)}
        with self._database.write() as session:
            queue(session, "exchanges")  # numbers come into sight in order, so `since` skips none
            known = {*session.scalars(select(Exchange.id).where(Exchange.id.in_(batch)))}
            tenants = {*session.scalars(select(Tenant.name))}
            fresh = [
                row for row in batch.values() if row["id"] not in known and row["tenant"] in tenants
            ]
            if fresh:
                session.connection().execute(insert(_TABLE), fresh)

    def get(self, tenant: str, exchange_id: str) -> Exchange:
        """Raises NotFound, also for another tenant's exchange."""
        query = select(Exchange).where(Exchange.id == exchange_id, Exchange.tenant == tenant)
        with self._database.read() as session:
            exchange = session.scalar(query)
        if exchange is None:
            raise NotFound("completion", exchange_id)
        return exchange

    def since(
        self, number: int, limit: int = 5000, tenant: str | None = None, *, text: bool = True
    ) -> list[Exchange]:
        """In order of arrival, those with a number above `number`; their texts only if asked for,
        which may be many times the rest."""
        query = select(Exchange).where(Exchange.number > number)
        if not text:
            query = query.options(defer(Exchange.messages), defer(Exchange.answer))
        if tenant is not None:
            query = query.where(Exchange.tenant == tenant)
        with self._database.read() as session:
            return [*session.scalars(query.order_by(Exchange.number).limit(limit))]

    def last_number(self) -> int:
        """The newest exchange's number, 0 when there is none."""
        with self._database.read() as session:
            return session.scalar(select(func.max(Exchange.number))) or 0

    def doubt(
        self, tenant: str, adapter: str, first: int, last: int, doubtful: bool = True
    ) -> None:
        """Note of an adapter's exchanges with these numbers, both included, that nothing is to be
        learned from them; or that something may be."""
        with self._database.write() as session:
            session.execute(
                update(Exchange)
                .where(Exchange.number.between(first, last))
                .where(Exchange.tenant == tenant, Exchange.adapter == adapter)
                .values(doubtful=doubtful)
            )

    def traffic(self, since: float, window_s: float = 60.0, long: float = 0.95) -> Traffic:
        """Of the answered requests since a time (seconds since the epoch), the newest 100,000 at
        most; `long` is the percentile (0…1) that counts as a long request."""
        newest = self.last_number() - _LOOKED_AT
        recent = (Exchange.number > newest, Exchange.created_at >= since, Exchange.status == 200)
        window = cast(Exchange.created_at / window_s, Integer)
        distinct = func.count(func.distinct(Exchange.digest))
        tokens = Exchange.prompt_tokens + Exchange.completion_tokens
        with self._database.read() as session:
            count = session.scalar(select(func.count()).select_from(Exchange).where(*recent)) or 0
            if count == 0:
                return Traffic(0, 0, 0)
            busiest = session.scalar(
                select(distinct).where(*recent).group_by(window).order_by(distinct.desc()).limit(1)
            )
            at = min(count - 1, int(count * long))
            longest = session.scalar(
                select(tokens).where(*recent).order_by(tokens).offset(at).limit(1)
            )
        return Traffic(count, busiest or 0, longest or 0)

    def served(self, tenant: str, adapter: str, since: float) -> list[Served]:
        """By version, those with the most requests first; `since` is in seconds since the epoch."""
        shown = Exchange.role != "shadow"
        answered = shown & (Exchange.status < 400)
        query = (
            select(
                Exchange.digest,
                *(
                    func.coalesce(func.sum(case((those, 1), else_=0)), 0)
                    for those in (
                        shown,
                        shown & (Exchange.status >= 400),
                        shown & (Exchange.fallback != ""),
                        Exchange.role == "shadow",
                    )
                ),
                func.avg(case((answered, Exchange.latency_ms))),
            )
            .where(
                Exchange.tenant == tenant,
                Exchange.adapter == adapter,
                Exchange.created_at >= since,
            )
            .group_by(Exchange.digest)
        )
        said = (
            select(Feedback.digest, func.count(Feedback.rating), func.avg(Feedback.rating))
            .where(
                Feedback.tenant == tenant,
                Feedback.adapter == adapter,
                Feedback.created_at >= since,
            )
            .group_by(Feedback.digest)
        )
        with self._database.read() as session:
            ratings = {digest: (count, mean) for digest, count, mean in session.execute(said)}
            rows = []
            for digest, requests, errors, fallbacks, shadows, latency in session.execute(query):
                count, mean = ratings.get(digest, (0, None))
                rows.append(
                    Served(digest, requests, errors, fallbacks, shadows, latency, count, mean)
                )
        return sorted(rows, key=lambda row: (-row.requests, row.digest or ""))

    def give_feedback(
        self,
        tenant: str,
        exchange_id: str,
        *,
        rating: float | None = None,
        label: str | None = None,
        correction: str | None = None,
        messages: JsonObject | None = None,
    ) -> Feedback:
        """Idempotent by exchange. What is left out stays as it was said before; what is said in
        another way replaces it, and comes into sight again under a new number. A correction that is
        another one waits for a job again. Where answers are labels, a label is one, or agrees with
        the answer. With a correction the exchange's prompt is copied, if it is there and none is
        sent along. It belongs to the version that answered, whatever serves now. Raises NotFound.
        """
        exchange = self.get(tenant, exchange_id)
        with self._database.write() as session:
            queue(session, "feedback")
            row = session.scalar(select(Feedback).where(Feedback.exchange_id == exchange_id))
            before = row or Feedback()
            said = {
                "rating": before.rating if rating is None else rating,
                "label": before.label if label is None else label,
                "correction": before.correction if correction is None else correction,
                "messages": messages or before.messages,
            }
            if row is not None:
                if all(getattr(row, name) == value for name, value in said.items()):
                    return row
                session.delete(row)  # the database gives numbers, so a new one needs a new row
                session.flush()
            changed = Feedback(
                **said,
                id=before.id or new_id("fb-"),
                exchange_id=exchange_id,
                tenant=tenant,
                adapter=exchange.adapter,
                digest=exchange.digest,
                corrected=before.corrected,
                heard=before.heard,
            )
            if changed.correction is not None:
                changed.corrected = True
            elif changed.label is not None and exchange.answer is not None:
                adapter = session.get(Adapter, (tenant, exchange.adapter or ""))
                if adapter is not None and adapter.has_label(changed.label):
                    changed.corrected = changed.label.strip() != exchange.answer.strip()
            if changed.messages is None and changed.better is not None:
                changed.messages = exchange.messages
            if changed.has_text:
                kept = exchange.messages is not None or exchange.answer is not None
                first = exchange.created_at if kept else now()
                changed.text_at = before.text_at if before.has_text else first
            if changed.better == before.better:
                changed.used_in_job = before.used_in_job
            session.add(changed)
        return changed
