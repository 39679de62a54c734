"""The page's pictures of things side by side, as SVG to stand in it. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.report.plots import BLUE, GREY, RED, drawn, plain


def quality(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """(name, quality) from above down: the share called good, with its interval."""
    axes = plain(1.0 + 0.34 * len(rows))
    for place, (_, found) in enumerate(rows):
        low, high = found["interval"]
        axes.plot([low, high], [place, place], color=BLUE, linewidth=1.6)
        axes.plot([found["share"]], [place], "o", color=BLUE)
    axes.set(xlim=(0, 1), xlabel="share called good, 95 % interval")
    _named(axes, [f"{name} ({found['judged']})" for name, found in rows])
    return drawn(axes, "Quality")


def drift(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """(name, evidence): how near each drift test is to its threshold, which is the line at 1."""
    axes = plain(1.0 + 0.34 * len(rows))
    for place, (_, found) in enumerate(rows):
        share = max(0.0, found["statistic"] / found["threshold"])
        axes.barh(place, share, color=RED if share >= 1 else BLUE, height=0.6)
    axes.axvline(1.0, color="#1b1b1f", linewidth=1.2)
    axes.set(xlabel="evidence that prompts have changed, of the threshold")
    axes.set_xlim(left=0)
    _named(axes, [name for name, _ in rows])
    return drawn(axes, "Drift")


def gains(rows: Sequence[tuple[str, float, float | None]]) -> str:
    """(retraining, expected at most, realised or None while that is open), in points."""
    axes = plain(1.2 + 0.4 * len(rows))
    for place, (_, expected, realised) in enumerate(rows):
        axes.barh(place - 0.18, 100 * expected, height=0.3, color=GREY,
                  label="expected at most" if place == 0 else None)  # fmt: skip
        if realised is not None:
            axes.barh(place + 0.18, 100 * realised, height=0.3,
                      color=BLUE if realised > 0 else RED)  # fmt: skip
    for label, colour in (("realised", BLUE), ("realised, and nothing gained", RED)):
        axes.barh(0, 0, color=colour, label=label)
    axes.axvline(0.0, color="#1b1b1f", linewidth=1)
    axes.set(xlabel="points of exact answers")
    _named(axes, [name for name, _, _ in rows])
    return drawn(axes, "Gains")


def _named(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name[:40] for name in names], parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
