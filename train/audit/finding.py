"""One finding: what, how bad, where, with which figures. Knows nothing of how it was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from train.audit.codes import CODES

SHOWN_ROWS = 20

Place = tuple[str, int]
"""A file's name and a line of it, from 1."""


@dataclass(frozen=True)
class Finding:
    """`places` are the rows that it is about, none when it is about the whole."""

    code: str
    places: tuple[Place, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    severity: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "severity", self.severity or CODES[self.code].severity)

    @property
    def count(self) -> int:
        """How many rows it is about."""
        return len(self.places)

    def json(self) -> dict[str, Any]:
        """For scripts; the first SHOWN_ROWS rows."""
        kind = CODES[self.code]
        return {
            "code": self.code,
            "severity": self.severity,
            "title": kind.title,
            "count": self.count,
            "rows": [{"file": file, "line": line} for file, line in self.places[:SHOWN_ROWS]],
            "figures": dict(self.figures),
            "advice": kind.advice,
        }


def of_rows(
    code: str, places: Iterable[Place], figures: Mapping[str, Any] | None = None, severity: str = ""
) -> list[Finding]:
    """The finding about these rows, in the order of the files; none when there are none."""
    found = tuple(dict.fromkeys(places))
    return [Finding(code, found, figures or {}, severity)] if found else []
