"""What commands print: tables for people, JSON for scripts. Knows nothing of what the rows mean."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Row = Mapping[str, Any]


def console(*, stderr: bool = False) -> Console:
    """A rich console on the stream that is current now (tests and pipes exchange them)."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=not sys.stdout.isatty())


def emit(value: Any) -> None:
    """One JSON value on stdout."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def rows(
    values: Iterable[Row], columns: Sequence[str], *, as_json: bool, empty: str = "nothing yet"
) -> None:
    """A list of rows: JSON has all fields, the table the named columns."""
    values = list(values)
    if as_json:
        emit(values)
        return
    if not values:
        print(empty)
        return
    table(columns, [[cell(value.get(column)) for column in columns] for value in values])


def table(
    columns: Sequence[str],
    lines: Iterable[Sequence[str]],
    title: str | None = None,
    screen: Console | None = None,
) -> None:
    """A table on stdout, or on another screen."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(*columns, box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for line in lines:
        drawn.add_row(*(escape(text) for text in line))
    (screen or console()).print(drawn)


def record(value: Row, *, as_json: bool) -> None:
    """One thing with all its fields."""
    if as_json:
        emit(value)
        return
    width = max(len(name) for name in value)
    for name, found in value.items():
        print(f"{name.replace('_', ' '):{width}}  {cell(found)}")


def cell(value: Any) -> str:
    """A value as people read it."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def ago(at: float | None, now: float | None = None) -> str:
    """A time (seconds since the epoch) as a distance from now."""
    if at is None:
        return "–"
    seconds = max(0.0, (time.time() if now is None else now) - at)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def fields(entity: Any, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """A registry row's columns as a dictionary."""
    return {
        name: getattr(entity, name)
        for name in entity.__table__.columns.keys()  # noqa: SIM118 (not a dictionary)
        if name not in without
    }
