"""Evaluations side by side as one HTML page that asks for nothing else. Every text is escaped.

Knows figures as versions keep them; nothing of models, engines or the registry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from string import Template
from typing import Any

from monitoring.interval import wilson
from train.comparison import COLUMNS, SYSTEMS, by_field, compare
from train.report import forgot

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Evaluation: $title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1f; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
article { border-left: 4px solid #888; padding: .2rem 1rem; margin: 1rem 0; background: #f6f6f8; }
.promote { border-color: #2e7d32; }
.reject { border-color: #b3261e; }
.insufficient { border-color: #b36b00; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
tr + tr { border-top: 1px solid #e3e3e8; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$note</p>
$table
$plot
$versions
</body>
</html>
""")
_VERSION = Template("""<article class="$verdict">
<h2>$name</h2>
<p><strong>$verdict</strong>: $summary</p>
$details
</article>
""")


@dataclass(frozen=True)
class Judged:
    """One version's evaluation and what followed from it, as the registry keeps them."""

    evaluation: Mapping[str, Any]
    verdict: str = ""
    reasons: Mapping[str, Any] = field(default_factory=dict)


def page(versions: Mapping[str, Judged], title: str) -> str:
    """The whole page: base, base with examples and each version side by side, then each alone."""
    from train.report.plots import scores

    rows = side_by_side(versions)
    shown = [row for row in rows if row["score"] is not None]
    return _PAGE.substitute(
        title=escape(title),
        note=escape(_note(rows)),
        table=_table([*COLUMNS, "95 %"], [[*_cells(row), _range(row)] for row in rows]),
        plot=f"<figure>{scores(shown)}</figure>" if shown else "",
        versions="\n".join(_version(name, judged) for name, judged in versions.items()),
    )


def side_by_side(versions: Mapping[str, Judged]) -> list[dict[str, Any]]:
    """`compare`'s rows, each with `interval`: where the share of exact answers lies at 95 %
    (Wilson 1927); None where answers are not right or wrong."""
    rows = compare({name: judged.evaluation for name, judged in versions.items()})
    kinds = {judged.evaluation.get("kind") for judged in versions.values()}
    counted = kinds <= {"label", "json", "preference"}
    for row in rows:
        row["interval"] = wilson(row["exact"], row["n"]) if counted else None
    return rows


def _note(rows: Sequence[Mapping[str, Any]]) -> str:
    counts = sorted({row["n"] for row in rows if row["n"]})
    if not counts:
        return "Nothing was measured: there were no held-out rows."
    if len(counts) == 1:
        return f"Measured on {counts[0]} held-out rows."
    return (
        f"Measured on {counts[0]} to {counts[-1]} held-out rows: versions that were measured on "
        "other rows are not strictly comparable."
    )


def _version(name: str, judged: Judged) -> str:
    evaluation = judged.evaluation
    metrics = (evaluation.get("adapter") or {}).get("metrics") or {}
    details = []
    if labels := metrics.get("labels"):
        columns = ["label", "precision", "recall", "f1", "support"]
        rows = [[label, *(figures[c] for c in columns[1:])] for label, figures in labels.items()]
        details += ["<h3>By label</h3>", _table(columns, rows)]
    if confusion := metrics.get("confusion"):
        given = sorted({got for row in confusion.values() for got in row})
        cells = [[want, *(row.get(got, "") for got in given)] for want, row in confusion.items()]
        details += ["<h3>Expected (rows) and given</h3>", _table(["", *given], cells)]
    details += _fields(evaluation)
    plain = [[key, value] for key, value in metrics.items() if not isinstance(value, dict | list)]
    if plain:
        details += ["<h3>Figures</h3>", _table(["", ""], plain)]
    if wrong := (evaluation.get("adapter") or {}).get("wrong"):
        lines = ", ".join(map(str, wrong))
        details.append(f"<p>Wrong on lines {escape(lines)} of the file (the first 20).</p>")
    details += _judge(evaluation.get("judge"))
    details += _spent(evaluation)
    details += _against(judged.reasons)
    if line := forgot.forgot(evaluation):
        details += ["<h3>What it forgot</h3>", f"<p>{escape(line)}.</p>"]
        details.append(_table(forgot.COLUMNS, forgot.table(evaluation)))
    return _VERSION.substitute(
        name=escape(name),
        verdict=escape(judged.verdict or "not judged"),
        summary=escape(str(judged.reasons.get("summary") or "no reason was recorded")),
        details="\n".join(details),
    )


def _fields(evaluation: Mapping[str, Any]) -> list[str]:
    """JSON answers field by field, the adapter's worst first."""
    rows = by_field(evaluation)
    systems = [name for name in SYSTEMS if rows and name in rows[0]]
    columns = ["field", "n", *(f"{name}, {what}" for name in systems for what in ("exact", "F1"))]
    cells = [
        [row["field"], row["n"], *(row[name][what] for name in systems for what in ("exact", "f1"))]
        for row in rows
    ]
    return ["<h3>By field, the worst first</h3>", _table(columns, cells)] if rows else []


def _judge(found: Mapping[str, Any] | None) -> list[str]:
    """What the judge of texts thinks of each system, or why it was not to be asked."""
    if not found:
        return []
    title = f"<h3>Judged by {escape(str(found['model']))}</h3>"
    if found["error"]:
        return [title, f"<p>No score: {escape(str(found['error']))}</p>"]
    rows = [
        [system.replace("_", " "), figures["score"], figures["n"], figures["unreadable"]]
        for system, figures in found["systems"].items()
    ]
    note = (
        f"{found['answers']} different answers on {found['rows']} rows; {found['unreadable']} "
        f"replies could not be read. {_agreement(found['agreement'])}"
    )
    table = _table(["system", "score", "rows", "unreadable"], rows)
    return [title, table, f"<p>{escape(note)}</p>"]


def _agreement(found: Mapping[str, Any]) -> str:
    if found["spearman"] is None:
        return "There are too few scores to hold against the automatic one."
    rank, n = found["spearman"], found["n"]
    return f"Rank correlation with the automatic score: {rank:.2f} on {n} answers (Spearman)."


def _spent(evaluation: Mapping[str, Any]) -> list[str]:
    """What each system took of an engine, if one was asked."""
    rows = []
    for system in SYSTEMS:
        figures = evaluation.get(system) or {}
        if latency := figures.get("latency_ms"):
            times = [latency[name] for name in ("mean", "p50", "p95")]
            first, between = figures.get("ttft_ms") or {}, figures.get("inter_token_ms") or {}
            times += [first.get("p50"), first.get("p95"), between.get("mean")]
            tokens = figures.get("tokens_per_request")
            rows.append([system.replace("_", " "), *times, tokens, figures.get("cost_per_request")])
    columns = ["system", "latency mean, ms", "latency p50, ms", "latency p95, ms"]
    columns += ["first token p50, ms", "first token p95, ms", "between tokens, ms"]
    columns += ["tokens a request", "cost a request"]
    return ["<h3>Time and tokens</h3>", _table(columns, rows)] if rows else []


def _against(reasons: Mapping[str, Any]) -> list[str]:
    """The paired comparisons: gain in points with its interval, and the chance of such a gain."""
    rows = []
    for name, found in reasons.items():
        if name.startswith("against_") and isinstance(found, Mapping):
            at = [f"{100 * bound:.1f}" for bound in found.get("interval") or ()]
            rows.append(
                [
                    name.removeprefix("against_").replace("_", " "),
                    f"{100 * found['gain']:.1f}",
                    " to ".join(at),
                    found["wins"],
                    found["losses"],
                    found.get("p_holm", found.get("p")),
                ]
            )
    columns = ["against", "gain, points", "95 %", "won", "lost", "p"]
    return ["<h3>Row by row</h3>", _table(columns, rows)] if rows else []


def _cells(row: Mapping[str, Any]) -> list[Any]:
    return [row[column] for column in COLUMNS]


def _range(row: Mapping[str, Any]) -> str:
    found = row["interval"]
    return "" if found is None else f"{found[0]:.3f} to {found[1]:.3f}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def cell(value: Any) -> str:
    """A table's cell: numbers to the right, what is not known empty."""
    if value is None:
        return "<td></td>"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape(str(value))}</td>"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return f'<td class="number">{text}</td>'
