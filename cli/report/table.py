"""Tables and figures of the page, and numbers as people read them. Every text is escaped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Without columns, one without a head."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"


def cell(value: Any) -> str:
    """Numbers to the right, what is not known empty."""
    if value is None:
        return "<td></td>"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape(str(value))}</td>"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f'<td class="number">{text}</td>'


def figure(picture: str, text: str) -> str:
    """A picture (an SVG element, as it is) over what it shows."""
    return f"<figure>{picture}<figcaption>{escape(text)}</figcaption></figure>"


def moment(at: float) -> str:
    """Seconds since the epoch, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def length(seconds: float) -> str:
    """A slot of so many seconds."""
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"slots of {seconds / size:g} {unit}"
    return f"slots of {seconds:g} seconds"


def counted(counts: Mapping[str, int]) -> str:
    """How many of each kind, most first."""
    found = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{count} {kind}" for kind, count in found if count)


def judged(quality: Mapping[str, Any]) -> str | None:
    """The share called good with its interval; None where nobody spoke."""
    if quality["share"] is None:
        return None
    low, high = quality["interval"]
    return f"{quality['share']:.0%} of {quality['judged']}, in truth {low:.0%} to {high:.0%}"


def left(budget: Mapping[str, Any]) -> str | None:
    """The error budget left, and over which time; None without a request."""
    if budget["left"] is None:
        return None
    days = datetime.fromtimestamp(budget["since"], UTC).strftime("%Y-%m-%d")
    return (
        f"{budget['left']:.0%}: {budget['failed']} of {budget['requests']} failed since {days}; "
        f"{100 * (1 - budget['objective']):.3g} % may"
    )
