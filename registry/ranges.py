"""What values the fields of tenants, keys and aliases may have. Pure; knows no database.

Held here, below both the command line and the admin API, so that neither can write a row that
routing would trip over: a weight of zero starves a tenant, NaN compares with nothing, and a
whole number beyond 32 bits doesn't fit PostgreSQL's INTEGER.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from registry.errors import InvalidValue

LARGEST = 2**31 - 1
"""The largest whole number of a column (PostgreSQL: INTEGER)."""
LONGEST_WAIT_MS = 600_000
LEAST_WEIGHT, LARGEST_WEIGHT = 0.01, 1000.0
LARGEST_CONTROL = 0.5
LATEST = 253_402_300_799
"""The end of the year 9999: milliseconds given as seconds lie beyond it."""
LONGEST_TEXT, LONGEST_REASON = 200, 1000

LIMITS = ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_concurrent")
ROLLOUTS = ("staged", "direct")
_SWITCHES = ("store_text", "auto_promote", "auto_retrain")


def check_tenant(fields: Mapping[str, object]) -> None:
    """A tenant's fields, as far as they are named. Raises InvalidValue."""
    for name in LIMITS:
        if fields.get(name) is not None:
            check_whole(name, fields[name], 1, LARGEST)
    if "weight" in fields:
        check_number("weight", fields["weight"], LEAST_WEIGHT, LARGEST_WEIGHT)
    if "control_share" in fields:
        check_number("control_share", fields["control_share"], 0.0, LARGEST_CONTROL)
    for name in _SWITCHES:
        if name in fields and not isinstance(fields[name], bool):
            raise InvalidValue(name, fields[name], "true or false")
    if "rollout" in fields:
        check_choice("rollout", fields["rollout"], ROLLOUTS)


def check_whole(field: str, value: object, low: int, high: int) -> None:
    """A whole number from `low` to `high`. Raises InvalidValue."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidValue(field, value, f"a whole number from {low} to {high}")


def check_number(field: str, value: object, low: float, high: float) -> None:
    """A finite number from `low` to `high`. Raises InvalidValue."""
    number = float("nan")
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    if not low <= number <= high:  # NaN is nowhere between
        raise InvalidValue(field, value, f"a number from {low:g} to {high:g}")


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    """One of some words. Raises InvalidValue."""
    if value not in choices:
        raise InvalidValue(field, value, f"one of {', '.join(choices)}")


def check_text(field: str, value: object, longest: int = LONGEST_TEXT) -> None:
    """A short text for people, without control characters or halves of a character.

    Raises InvalidValue.
    """
    if (
        not isinstance(value, str)
        or len(value) > longest
        or any(unicodedata.category(character) in ("Cc", "Cs") for character in value)
    ):
        raise InvalidValue(field, value, f"at most {longest} characters, no control characters")


def check_moment(field: str, value: object) -> None:
    """Seconds since the epoch, or None. Raises InvalidValue."""
    if value is not None:
        check_number(field, value, 0, LATEST)
