"""Moments and durations as people type them: `2027-01-31T18:00+01:00`, `90d`. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_DURATION = re.compile(r"(\d{1,9})\s*([smhdw])")


def seconds(text: str) -> float:
    """A duration in seconds. Raises ValueError."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: expected a number with s, m, h, d or w")
    return int(match[1]) * float(_UNITS[match[2]])


def end(text: str, now: float) -> float:
    """When something ends, seconds since the epoch: a duration from now on, or a date (its first
    moment), with or without a time, UTC unless it says otherwise. Raises ValueError."""
    if _DURATION.fullmatch(text.strip()):
        return now + seconds(text)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r} is no end: expected a duration such as 90d, or a date such as 2027-01-31"
        ) from None
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if at <= now:
        raise ValueError(f"{text} is past")
    return at
