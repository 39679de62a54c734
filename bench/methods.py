"""Every method on one file, side by side: the example tickets on switchyard-tiny, at one rank.

Each job is the worker's own (`train.run.run`), in this process. Some minutes on two cores.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from bench.report import Report
from train.comparison import COLUMNS, compare
from train.pipeline import run
from train.settings import SHIPPED_BASE
from train.task import Task

METHODS: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora": {"quantize": "nf4"},
    "rslora": {"method": "rslora"},
    "dora": {"method": "dora"},
    "full": {"method": "full"},
}
RANK = 16
_TICKETS = Path(__file__).parents[1] / "examples" / "acme"


def main(quick: bool = False) -> list[Report]:
    """Train and compare; `quick` for one epoch and half the held-out rows."""
    short: dict[str, Any] = {"epochs": 1} if quick else {}
    evaluations: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, options in METHODS.items():
            folder = Path(scratch) / name
            folder.mkdir()
            for file in ("train.jsonl", "heldout.jsonl"):
                shutil.copy(_TICKETS / file, folder)
            task = Task(
                tenant="acme",
                adapter="tickets",
                base=str(SHIPPED_BASE),
                base_name="switchyard-tiny",
                spec={"rank": RANK, "keep_good_rows": True, **short, **options},
                answers={"kind": "label"},
                training="train.jsonl",
                validation="heldout.jsonl",
                parent=None,
                device="cpu",
                threads=None,
                nice=0,
                evaluation_rows=100 if quick else 200,
                few_shot=8,
                probes=16,
            )
            with redirect_stdout(sys.stderr):  # the trainer prints its figures; ours is the table
                evaluations[name] = run(folder, task, lambda _: None)["evaluation"]
    table = compare(evaluations)
    report = Report(
        f"Methods on the example tickets, rank {RANK}" + (", one epoch" if quick else ""),
        "switchyard-tiny, trained on CPU",
        COLUMNS,
    )
    for row in table:
        report.add(*("" if row[name] is None else _shown(row[name]) for name in COLUMNS))
    report.figures = {"table": table, "seconds": {n: e["seconds"] for n, e in evaluations.items()}}
    return [report]


def _shown(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
