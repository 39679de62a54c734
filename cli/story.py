"""A version's lineage as lines for people: from the files it learned from to what it serves.

Gets what `cli.lineage` gathered; prints nothing itself.
"""

from __future__ import annotations

from typing import Any

from cli import lineage, render

Line = tuple[str, str]


def of_version(version: dict[str, Any]) -> list[Line]:
    """(what, how it was) in the order in which it happened."""
    step = "" if version["step"] is None else f", checkpoint at step {version['step']}"
    lines = [("version", f"{version['version']}  {version['state']}{step}")]
    lines += [("file", _file(file)) for file in version["files"]]
    if version["dataset_sha256"]:
        lines.append(("data", f"sha256 {version['dataset_sha256'][:12]}…"))
    if version["job"]:
        lines.append(("job", _job(version["job"])))
    if version["training"]:
        lines.append(("options", _options(version["training"])))
    if version["search"]:
        trials = version["search"]["trials"]
        losses = [t["validation_loss"] for t in trials if t["validation_loss"] is not None]
        best = f", validation loss {min(losses):.4f} at best" if losses else ""
        lines.append(("search", f"{len(trials)} trials{best}"))
    if version["parents"]:
        lines.append(("parents", " ← ".join(map(_short, version["parents"]))))
    if version["evaluation"]:
        lines.append(("evaluation", _evaluation(version["evaluation"])))
    lines.append(("verdict", f"{version['verdict']}: {lineage.summary(version['reasons'])}"))
    for engine, figures in (version["certificate"].get("engines") or {}).items():
        shown = ", ".join(f"{name} {render.cell(value)}" for name, value in figures.items())
        lines.append(("certificate", f"{engine}: {shown}"))
    for decision in version.get("decisions", []):
        what = f"{decision['kind']} by {decision['by']}, {render.ago(decision['at'])}"
        lines.append(("decision", f"{what}: {decision['rule']}"))
    named = [f"{found['as']} of {found['alias']}" for found in version.get("aliases", [])]
    if named:
        lines.append(("aliases", ", ".join(named)))
    lines += traffic(version.get("traffic", {}))
    return lines


def traffic(windows: dict[str, dict[str, Any]]) -> list[Line]:
    """A line for each window in which there was any."""
    return [(f"last {window}", _served(figures)) for window, figures in windows.items()]


def _file(file: dict[str, Any]) -> str:
    if file["digest"] is None:
        return f"{file['id']} for {file['for']}, deleted since"
    rows = "" if file["rows"] is None else f", {file['rows']} rows"
    return f"{file['name']} ({file['id']}) for {file['for']}{rows}, sha256 {file['digest'][:12]}…"


def _job(job: dict[str, Any]) -> str:
    took = f", {job['seconds']} s" if job["seconds"] else ""
    tries = f", attempt {job['attempts']}" if job["attempts"] > 1 else ""
    return f"{job['id']} asked by {job['trigger']}{took}{tries}"


def _options(training: dict[str, Any]) -> str:
    names = ("objective", "method", "preset", "rank", "learning_rate", "epochs", "dropout", "seed")
    return ", ".join(
        f"{name} {render.cell(training[name])}" for name in names if name in training
    ).replace("_", " ")


def _evaluation(evaluation: dict[str, Any]) -> str:
    parts = [
        f"{label} {value:.1%}"
        for label, who in (
            ("adapter", "adapter"),
            ("base", "base_zero_shot"),
            ("few-shot", "base_few_shot"),
            ("parent", "parent"),
        )
        if (value := lineage.exact(evaluation, who)) is not None
    ]
    return f"exact on {evaluation.get('n')} rows: {', '.join(parts)}"


def _served(figures: dict[str, Any]) -> str:
    parts = [f"{figures['requests']} requests ({figures['share']:.0%} of the adapter's)"]
    if figures["latency_ms"] is not None:
        parts.append(f"{figures['latency_ms']:.0f} ms")
    for name in ("errors", "fallbacks", "shadows"):
        if figures[name]:
            parts.append(f"{figures[name]} {name}")
    if figures["ratings"]:
        parts.append(f"rated {figures['rating']:+.2f} by {figures['ratings']}")
    return ", ".join(parts)


def _short(name: str) -> str:
    return f"{name[:12]}…, gone" if len(name) == 64 else name
