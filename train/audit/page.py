"""The report as one HTML page that asks for nothing else. Every text in it is escaped."""

from __future__ import annotations

from html import escape
from string import Template
from typing import Any

from train.audit import classes
from train.audit.audit import Report, masked_text
from train.audit.base import verdict
from train.audit.codes import CODES, SEVERITIES
from train.audit.corpus import Corpus
from train.audit.finding import SHOWN_ROWS, Finding

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Audit: $title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1f; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
article { border-left: 4px solid #888; padding: .2rem 1rem; margin: 1rem 0; background: #f6f6f8; }
.error { border-color: #b3261e; }
.warning { border-color: #b36b00; }
.info { border-color: #3b6ea5; }
code { font-size: .9em; } svg { max-width: 100%; height: auto; }
td, th { padding: .1rem .8rem .1rem 0; text-align: left; vertical-align: top; }
</style>
</head>
<body>
<h1>Audit of $title</h1>
<p><strong>Fine-tune? $verdict</strong>: $because.</p>
<p>$summary</p>
$findings
<h2>Figures</h2>
<table>$figures</table>
$plots
</body>
</html>
""")
_FINDING = Template("""<article class="$severity">
<h3><code>$code</code> $title</h3>
<p>$advice</p>
$rows
<table>$figures</table>
</article>
""")


def page(report: Report, corpus: Corpus, title: str) -> str:
    """The whole page."""
    sections = []
    for severity in SEVERITIES:
        found = report.of(severity)
        if found:
            sections.append(f"<h2>{escape(severity.capitalize())} ({len(found)})</h2>")
            sections += map(_finding, found)
    answer, because = verdict(report)
    return _PAGE.substitute(
        title=escape(masked_text(title)),
        verdict=escape(answer.capitalize()),
        because=escape(because),
        summary=escape(report.summary),
        findings="\n".join(sections),
        figures=_table(report.figures),
        plots="\n".join(f"<figure>{svg}</figure>" for svg in _plots(report, corpus)),
    )


def rows_text(finding: Finding) -> str:
    """`file: 3, 9, 12 …`, the first SHOWN_ROWS rows."""
    lines: dict[str, list[str]] = {}
    for file, line in finding.places[:SHOWN_ROWS]:
        lines.setdefault(file, []).append(str(line))
    text = "; ".join(f"{masked_text(file)}: {', '.join(found)}" for file, found in lines.items())
    return f"{text} …" if finding.count > SHOWN_ROWS else text


def _finding(finding: Finding) -> str:
    kind = CODES[finding.code]
    count = f"{finding.count} row{'s' if finding.count != 1 else ''}: "
    return _FINDING.substitute(
        severity=escape(finding.severity),
        code=escape(finding.code),
        title=escape(kind.title),
        advice=escape(kind.advice),
        rows=f"<p>{escape(count + rows_text(finding))}</p>" if finding.places else "",
        figures=_table(finding.figures),
    )


def _table(figures: Any) -> str:
    return "".join(
        f"<tr><th>{escape(str(name).replace('_', ' '))}</th><td>{escape(_cell(value))}</td></tr>"
        for name, value in figures.items()
    )


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_cell(item)}" for name, item in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return str(value)


def _plots(report: Report, corpus: Corpus) -> list[str]:
    from train.audit.plots import bars, histogram

    drawn = []
    totals = [length.total for length in corpus.lengths[: len(corpus.train)]]
    if totals:
        drawn.append(histogram(totals, corpus.max_length, title="Tokens a row", label="tokens"))
    if found := classes.counts(corpus):
        shown = {masked_text(label): n for label, n in found.most_common()}
        drawn.append(bars(shown, title="Rows by class", label="rows"))
    sizes: dict[str, int] = {}
    for finding in report.findings:
        for size, count in finding.figures.get("cluster_sizes", {}).items():
            sizes[size] = sizes.get(size, 0) + count
    if sizes:
        ordered = {f"{size} rows": sizes[size] for size in sorted(sizes, key=int)}
        drawn.append(bars(ordered, title="Duplicates by size of cluster", label="clusters"))
    return drawn
