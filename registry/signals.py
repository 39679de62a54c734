"""Signals: what a version's answers were like in a window of time, over its exchanges' rows.

Figures only: no text is read, and none is needed. What each signal is: monitoring/signals.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, case, func, select

from registry.database import Database
from registry.exchanges import Exchange


@dataclass(frozen=True)
class Window:
    """One version (`digest` None: the base in its stead) in one role, for one adapter's callers.

    Shares are 0…1 and means are over the answers that have the figure; None where none has. How
    many do: `checked` for `valid`, `read` for `refused`, `repetition` and `answer_chars`, `told`
    for `mean_logprob`, `streamed` for `prefill_ms` and `decode_ms`. Times in milliseconds.
    """

    digest: str | None
    role: str
    """As `Exchange.role`: "live", "canary", "shadow", "control" or ""."""
    requests: int
    errors: int
    """Of the requests, those with a status from 400 on; they are in no other figure but this."""
    cut: float | None
    """Share of answers that ended at their longest, by `finish_reason`."""
    checked: int
    valid: float | None
    read: int
    refused: float | None
    repetition: float | None
    answer_chars: float | None
    told: int
    mean_logprob: float | None
    streamed: int
    prefill_ms: float | None
    decode_ms: float | None
    queue_ms: float | None
    latency_ms: float | None
    prompt_tokens: int
    completion_tokens: int
    cost: float | None
    """Sum, in whatever currency the prices are; None where none were set."""


class Signals:
    """Windows of exchanges in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def windows(
        self, tenant: str, adapter: str, since: float, until: float | None = None
    ) -> list[Window]:
        """By version and role, those with the most requests first, of exchanges made from `since`
        to before `until` (seconds since the epoch; None: no end). One query."""
        answered = Exchange.status < 400

        def mean(value: Any) -> ColumnElement[Any]:
            return func.avg(case((answered, value)))

        def count(value: Any) -> ColumnElement[Any]:
            return func.count(case((answered, value)))

        def total(value: Any) -> ColumnElement[Any]:
            return func.sum(case((answered, value)))

        query = select(
            Exchange.digest,
            Exchange.role,
            func.count(),
            func.count(case((~answered, 1))),
            mean(_share(Exchange.finish_reason == "length")),
            count(Exchange.valid),
            mean(_share(Exchange.valid)),
            count(Exchange.refused),
            mean(_share(Exchange.refused)),
            mean(Exchange.repetition),
            mean(Exchange.answer_chars),
            count(Exchange.mean_logprob),
            mean(Exchange.mean_logprob),
            count(Exchange.prefill_ms),
            mean(Exchange.prefill_ms),
            mean(Exchange.decode_ms),
            mean(Exchange.queue_ms),
            mean(Exchange.latency_ms),
            func.coalesce(total(Exchange.prompt_tokens), 0),
            func.coalesce(total(Exchange.completion_tokens), 0),
            total(Exchange.cost),
        ).where(
            Exchange.tenant == tenant,
            Exchange.adapter == adapter,
            Exchange.created_at >= since,
        )
        if until is not None:
            query = query.where(Exchange.created_at < until)
        with self._database.read() as session:
            rows = session.execute(query.group_by(Exchange.digest, Exchange.role)).all()
        windows = [Window(*map(_plain, row)) for row in rows]
        return sorted(windows, key=lambda w: (-w.requests, w.digest or "", w.role))


def _share(condition: Any) -> ColumnElement[Any]:
    """1 or 0, and NULL where the condition is: an average leaves those out."""
    return case((condition, 1.0), (~condition, 0.0))


def _plain(value: Any) -> Any:
    """PostgreSQL gives averages of whole numbers as Decimal."""
    return value if value is None or isinstance(value, str | int) else float(value)
