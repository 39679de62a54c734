"""What an adapter forgot, in one sentence and as rows of a table. Knows figures as versions keep
them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from train.forgetting import rise

COLUMNS = ("system", "perplexity", "chrF")


def forgot(evaluation: Mapping[str, Any]) -> str:
    """One line on the general set; empty where nothing was measured there."""
    found = evaluation.get("general")
    if not found:
        return ""
    low, high = map(rise, found["interval"])
    allowed = found.get("max_forgetting")
    bound = "any rise is allowed" if allowed is None else f"{rise(allowed)} is allowed"
    return (
        f"general set ({found['n']} rows, {found['source']}): perplexity "
        f"{found['adapter']['perplexity']:.3g}, the base's {found['base']['perplexity']:.3g}: "
        f"{rise(found['change'])} ({low} to {high}); {bound}"
    )


def table(evaluation: Mapping[str, Any]) -> list[list[Any]]:
    """A row of COLUMNS for each system that was measured on the general set."""
    found = evaluation.get("general") or {}
    return [
        [system, found[system]["perplexity"], found[system].get("chrf")]
        for system in ("base", "parent", "adapter")
        if found.get(system)
    ]
