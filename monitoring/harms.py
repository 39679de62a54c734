"""Harms: what can be said against one exchange, without a right answer. Knows no statistics."""

from __future__ import annotations

from typing import Protocol

FAILED, INVALID, REFUSED, DISLIKED = "failed", "invalid", "refused", "disliked"
CHANNELS = (FAILED, INVALID, REFUSED, DISLIKED)
"""No answer (or none of its own in time); one out of form; one that refuses; one that people rated
badly or corrected."""


class Judged(Protocol):
    """What of an exchange is judged."""

    @property
    def status(self) -> int:
        """HTTP's."""

    @property
    def fallback(self) -> str:
        """Why another answered, or ""."""

    @property
    def valid(self) -> bool | None:
        """Whether the answer is in form."""

    @property
    def refused(self) -> bool | None:
        """Whether it refuses."""


def of_exchange(exchange: Judged) -> list[tuple[str, float]]:
    """(channel, harm 0…1) of all that can be said without a person."""
    failed = exchange.status >= 500 or exchange.fallback != ""
    found = [(FAILED, float(failed))]
    if failed:
        return found  # whoever answered, if anyone did, was not the one that is judged
    if exchange.valid is not None:
        found.append((INVALID, float(not exchange.valid)))
    if exchange.refused is not None:
        found.append((REFUSED, float(exchange.refused)))
    return found


def of_feedback(rating: float | None, corrected: bool) -> list[tuple[str, float]]:
    """What a person's word says: a correction is whole harm, a rating from -1 (1) to 1 (0)."""
    if corrected:
        return [(DISLIKED, 1.0)]
    return [] if rating is None else [(DISLIKED, (1.0 - rating) / 2.0)]
