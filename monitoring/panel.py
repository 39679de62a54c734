"""A panel: a title, words for people, and queries. Knows nothing of Grafana."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Panel:
    """One panel: `queries` are (PromQL, legend); `kind` is "lines", "number" or "table"."""

    title: str
    text: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    kind: str = "lines"
    width: int = 8


Rows = tuple[tuple[str, tuple[Panel, ...]], ...]
"""(name of a row, its panels)."""


@dataclass(frozen=True)
class Board:
    """A dashboard. `per_tenant`: a variable picks the tenant, a box asks for the tokens' price."""

    name: str
    rows: Rows
    per_tenant: bool = False
    deploys: str = ""
    """PromQL: moments (milliseconds since the epoch) at which a version went live, to be marked."""
