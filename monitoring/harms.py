"""Harms: what can be said against one exchange, without a right answer. Knows no statistics."""

from __future__ import annotations

import math
from typing import Protocol

FAILED, INVALID, REFUSED, DISLIKED = "failed", "invalid", "refused", "disliked"
CUT = "cut"
CHANNELS = (FAILED, INVALID, REFUSED, CUT, DISLIKED)
"""No answer (or none of its own in time); one out of form; one that refuses; one that was cut off
at its most tokens; one that people rated badly or corrected."""


LIVE_UNAVAILABLE = ("version-unavailable", "engine-error", "deadline")
"""`Exchange.fallback` where the live version could not answer: the one before it did, or the
base."""


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

    @property
    def finish_reason(self) -> str | None:
        """OpenAI's."""


class Read(Protocol):
    """What of an answer is known without judging it."""

    @property
    def valid(self) -> bool | None:
        """Whether it is in form."""

    @property
    def refused(self) -> bool | None:
        """Whether it refuses."""

    @property
    def repetition(self) -> float | None:
        """Share of it that was there before."""

    @property
    def mean_logprob(self) -> float | None:
        """Of its tokens."""

    @property
    def finish_reason(self) -> str | None:
        """OpenAI's."""


SIGNS = ("invalid", "refused", "repetition", "unsure", "cut")
"""What may go with a person's dislike. `unsure`: one less the tokens' typical probability."""


def signs(answer: Read) -> tuple[float, ...]:
    """As SIGNS, each from 0 to 1; what is not known is no sign."""
    logprob = answer.mean_logprob
    return (
        float(answer.valid is False),
        float(answer.refused is True),
        answer.repetition or 0.0,
        0.0 if logprob is None else 1.0 - math.exp(min(logprob, 0.0)),
        float(answer.finish_reason == "length"),
    )


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
    if exchange.finish_reason is not None:
        found.append((CUT, float(exchange.finish_reason == "length")))
    return found


def of_feedback(rating: float | None, corrected: bool | None) -> list[tuple[str, float]]:
    """What a person's word says: a correction is whole harm, a rating from -1 (1) to 1 (0), and the
    answer's own label none."""
    if corrected:
        return [(DISLIKED, 1.0)]
    if rating is None and corrected is False:
        return [(DISLIKED, 0.0)]
    return [] if rating is None else [(DISLIKED, (1.0 - rating) / 2.0)]
