"""What a benchmark prints: tables of figures and ratios, and the same as JSON for a script."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Report:
    """Collected while a benchmark runs; `show` prints it. `verdicts` are (what, held)."""

    title: str
    where: str
    """What ran on which cores."""
    columns: tuple[str, ...]
    lines: list[tuple[str, ...]] = field(default_factory=list)
    verdicts: list[tuple[str, bool]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    def add(self, *cells: str) -> None:
        """A line of the table."""
        self.lines.append(cells)

    def judge(self, what: str, held: bool) -> None:
        """Something that was to hold."""
        self.verdicts.append((what, held))

    def show(self, *, as_json: bool) -> None:
        """On stdout."""
        if as_json:
            verdicts = [{"what": what, "held": held} for what, held in self.verdicts]
            said = {"title": self.title, "where": self.where, "machine": machine()}
            print(json.dumps({**said, "figures": self.figures, "verdicts": verdicts}, indent=2))
            return
        from rich import box
        from rich.console import Console
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left")
        for line in self.lines:
            table.add_row(*line)
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 170)
        console.print(self.title)
        console.print(table)
        console.print(f"{self.where}; {machine()}")
        for what, held in self.verdicts:
            console.print(f"{'held    ' if held else 'NOT HELD'}  {what}")


def machine() -> str:
    """Cores, Python and the commit that was measured."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, Python {platform.python_version()}, {commit()}"


def commit() -> str:
    """The source's commit, with a mark where the tree differs from it."""
    here = Path(__file__).parent
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "no commit known"
    return f"commit {said.stdout.strip()}"


def middle(values: Sequence[float]) -> float:
    """The median; NaN of nothing."""
    return statistics.median(values) if values else float("nan")
