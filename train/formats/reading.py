"""Any source → rows, and rows → the JSON Lines that a job takes.

Rows come and go one at a time: what is held is one row, or one batch of a Parquet file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from train.formats.containers import Count, records, unit_of
from train.rows import Row, RowError, canonical, rows_of


def iter_rows(source: str | Path, count: Count = lambda _: None) -> Iterator[Row | RowError]:
    """The rows of a file or dataset, in its order, with the errors between them. `count` is told
    the bytes read so far. Raises OSError, Unreadable."""
    name = str(source)
    yield from rows_of(records(name, count), unit_of(name))


def line_of(row: Row, source: str = "", weight: float = 1.0) -> bytes:
    """The row as one line of canonical JSON; with `source`, its fields `source` and `weight` say
    where it is from and how often it counts."""
    value = canonical(row)
    if source:
        value |= {"source": source, "weight": weight}
    return json.dumps(value, ensure_ascii=False, default=str).encode() + b"\n"


def plain(source: str | Path) -> bool:
    """Is it JSON Lines of any known shape, which a job takes as it is?"""
    return Path(source).suffix.lower() in (".jsonl", ".ndjson")
