"""Several ways of adapting one base, side by side: the figures of their evaluations → rows of one
table. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COLUMNS = ("system", "score", "exact", "valid", "perplexity", "n", "error")
SYSTEMS = ("base_zero_shot", "base_few_shot", "parent", "adapter")
"""Who may be measured on the same rows, in the order of a table."""
_BASELINES = {"base_zero_shot": "base", "base_few_shot": "base, few-shot"}


def compare(evaluations: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`evaluations` maps a method's name to its version's evaluation. The base's own rows come
    first, taken from the first evaluation that has them; then each method in the order given.

    Every row has COLUMNS; what a system was not measured by is None. `error` is what compiling left
    out (`compiled.error` in the evaluation), `perplexity` is on the held-out answers. Rows of
    evaluations on different numbers of held-out rows stand side by side, and `n` says so.
    """
    table: list[dict[str, Any]] = []
    for key, title in _BASELINES.items():
        found = next((e for e in evaluations.values() if e.get(key)), None)
        if found is not None:
            measured = "base" if key == "base_zero_shot" else None
            table.append(_row(title, found[key], _perplexity(found, measured)))
    for name, evaluation in evaluations.items():
        if evaluation.get("adapter"):
            error = (evaluation.get("compiled") or {}).get("error")
            fit = _perplexity(evaluation, "adapter")
            table.append(_row(name, evaluation["adapter"], fit, error))
    return table


def by_field(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An evaluation of JSON answers, field by field, the adapter's worst first: `field`, `n` (how
    many answers should have it) and each system's {"exact", "f1"}, by the system's name. Empty for
    answers of another kind; figures of older versions have no "exact" and no "n"."""
    systems = {
        name: found
        for name in SYSTEMS
        if isinstance(found := _metrics(evaluation, name).get("fields"), Mapping)
    }
    table = []
    for path, ours in systems.get("adapter", {}).items():
        row: dict[str, Any] = {"field": path, "n": ours.get("n")}
        for name, fields in systems.items():
            figures = fields.get(path) or {}
            row[name] = {"exact": figures.get("exact"), "f1": figures.get("f1")}
        table.append((ours["f1"], -ours["support"], path, row))
    return [row for *_, row in sorted(table, key=lambda item: item[:3])]


def _metrics(evaluation: Mapping[str, Any], system: str) -> Mapping[str, Any]:
    return (evaluation.get(system) or {}).get("metrics") or {}


def _row(
    system: str, figures: Mapping[str, Any], fit: float | None, error: float | None = None
) -> dict[str, Any]:
    return {
        "system": system,
        **{name: figures.get(name) for name in ("score", "exact", "valid")},
        "perplexity": fit,
        "n": figures.get("n"),
        "error": error,
    }


def _perplexity(evaluation: Mapping[str, Any], system: str | None) -> float | None:
    measured = (evaluation.get("perplexity") or {}).get(system) if system else None
    return measured["perplexity"] if measured else None
