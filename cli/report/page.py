"""The account as one HTML page that asks for nothing else. Every text is escaped.

Knows the account's fields (monitoring/account.py); nothing of the registry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from string import Template
from typing import Any

from train.report.page import cell

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem;
  color: #1b1b1f; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
article { border-left: 4px solid #3b6ea5; padding: .2rem 1rem; margin: 1rem 0; }
figure { margin: 1rem 0; } figcaption { color: #55555c; }
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
$tenants
</body>
</html>
""")


def page(told: Mapping[str, Any]) -> str:
    """The whole page, a part for each tenant. Needs matplotlib."""
    names = [found["tenant"] for found in told["tenants"]]
    title = f"Report: {names[0]}" if len(names) == 1 else f"Report: {len(names)} tenants"
    note = f"From {_moment(told['since'])} to {_moment(told['until'])}, UTC. "
    note += "Traffic is what reached an engine; errors are answers with a 5xx status."
    if not told["complete"]:
        note += " There were more requests than a report looks at: traffic is that of the newest."
    return _PAGE.substitute(
        title=escape(title),
        note=escape(note),
        tenants="\n".join(_tenant(found, told["step_s"]) for found in told["tenants"]),
    )


def _tenant(found: Mapping[str, Any], step: float) -> str:
    parts = [f"<article>\n<h2>{escape(found['tenant'])}</h2>", _summary(found)]
    parts += _traffic(found, step)
    parts += _quality(found)
    parts += _drift(found["adapters"])
    parts += _versions(found["adapters"])
    parts += _decisions(found["decisions"])
    parts += _jobs(found["jobs"])
    return "\n".join([*parts, "</article>"])


def _summary(found: Mapping[str, Any]) -> str:
    requests, judged = found["requests"], found["quality"]
    rows: list[list[Any]] = [["requests", requests]]
    if requests:
        rows.append(["errors", f"{found['errors']} ({found['errors'] / requests:.2%})"])
    for reason, count in found["fallbacks"].items():
        rows.append([f"answered by a fallback: {reason}", f"{count} ({count / requests:.2%})"])
    for name, label in (
        ("latency_ms", "whole request"),
        ("first_token_ms", "first token"),
        ("queue_ms", "waiting for an engine"),
    ):
        if times := found[name]:
            shown = f"{times['p50']:.0f} / {times['p95']:.0f} / {times['p99']:.0f} ms"
            rows.append([f"{label}: half, 19 of 20, 99 of 100 within", shown])
    tokens = found["tokens"]
    rows.append(["tokens read, written", f"{tokens['prompt']}, {tokens['completion']}"])
    if found["cost"] is not None:
        rows.append(["cost", f"{found['cost']:.4g}"])
    if judged["share"] is not None:
        low, high = judged["interval"]
        text = f"{judged['share']:.0%} of {judged['judged']}, in truth {low:.0%} to {high:.0%}"
        rows.append(["answers called good", text])
    return _table([], rows)


def _traffic(found: Mapping[str, Any], step: float) -> list[str]:
    slots = found["over_time"]
    if not slots:
        return ["<p>No traffic reached an engine.</p>"]
    from cli.report import plots

    marks = [
        (decision["at"], decision["version"] or decision["adapter"])
        for decision in found["decisions"]
        if decision["kind"] in ("promote", "rollback")
    ]
    of = _length(step)
    return [
        "<h3>Traffic</h3>",
        _figure(plots.traffic(slots, step, marks),
                f"Requests in {of}. Dashed lines: a version went live."),
        _figure(plots.latency(slots, step, marks), f"Latency of the answers in {of}."),
        _figure(plots.tokens(slots, step, marks), f"Tokens in {of}."),
    ]  # fmt: skip


def _quality(found: Mapping[str, Any]) -> list[str]:
    if not found["quality"]["judged"]:
        return []
    from cli.report import plots

    rows = [("all answers", found["quality"])]
    rows += [
        (version["version"], version["quality"])
        for adapter in found["adapters"]
        for version in adapter["versions"]
        if version["quality"]["judged"]
    ]
    text = "Of the answers that people judged (how many), the share called good."
    return ["<h3>What people say</h3>", _figure(plots.quality(rows), text)]


def _drift(adapters: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        (adapter["adapter"], adapter["drift"])
        for adapter in adapters
        if adapter.get("drift") and adapter["drift"]["phase"] != "reference"
    ]
    if not rows:
        return []
    from cli.report import plots

    text = "Now: beyond the line, prompts have changed since the live version's promotion."
    return ["<h3>Drift</h3>", _figure(plots.drift(rows), text)]


def _versions(adapters: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        [
            _moment(version["created_at"]),
            version["version"],
            version["state"] + (f" ({version['alias']})" if version["alias"] else ""),
            version["exact"],
            version["requests"],
            f"{version['verdict']}: {version['summary'] or 'no reason was recorded'}",
        ]
        for adapter in adapters
        for version in reversed(adapter["versions"])
    ]
    columns = ["made", "version", "state", "exact", "requests", "verdict"]
    return ["<h3>Versions</h3>", _table(columns, rows)] if rows else []


def _decisions(decisions: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        [_moment(found["at"]), found["adapter"], found["kind"], found["words"], found["by"]]
        for found in decisions
    ]
    columns = ["when", "adapter", "decision", "receipt", "by"]
    return ["<h3>Decisions</h3>", _table(columns, rows)] if rows else []


def _jobs(jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    rows = [
        [
            _moment(job["created_at"]),
            job["id"],
            job["adapter"],
            job["trigger"],
            job["state"],
            job["seconds"],
            job["version"],
            ": ".join(part for part in (job["verdict"], job["summary"]) if part),
        ]
        for job in jobs
    ]
    columns = ["when", "job", "adapter", "asked by", "state", "seconds", "version", "verdict"]
    return ["<h3>Jobs</h3>", _table(columns, rows)] if rows else []


def _figure(picture: str, text: str) -> str:
    return f"<figure>{picture}<figcaption>{escape(text)}</figcaption></figure>"


def _length(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= size:
            return f"slots of {seconds / size:g} {unit}"
    return f"slots of {seconds:g} seconds"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table>{f'<tr>{head}</tr>' if head else ''}{body}</table>"
