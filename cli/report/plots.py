"""The page's pictures, as SVG to stand in it. Needs matplotlib. Moments are seconds since the
epoch and drawn in UTC."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

GREY, BLUE, RED, AMBER = "#8a8f98", "#3b6ea5", "#b3261e", "#b36b00"
Slots = Sequence[Mapping[str, Any]]
Marks = Sequence[tuple[float, str]]
"""(moment, what went live then)."""


def traffic(slots: Slots, step: float, marks: Marks) -> str:
    """Requests in each slot; those that failed and those that another version answered."""
    axes = _timed(slots, step, marks, "requests")
    width = step / 86_400 * 0.9
    at = _moments(slots)
    fallbacks = [sum(slot["fallbacks"].values()) for slot in slots]
    axes.bar(at, [slot["requests"] for slot in slots], width, align="edge", color=BLUE,
             label="requests")  # fmt: skip
    axes.bar(at, fallbacks, width, align="edge", color=AMBER, label="by a fallback")
    axes.bar(at, [slot["errors"] for slot in slots], width, align="edge", color=RED,
             label="errors")  # fmt: skip
    return _drawn(axes, "Traffic")


def latency(slots: Slots, step: float, marks: Marks) -> str:
    """Milliseconds to the first token and to the last."""
    axes = _timed(slots, step, marks, "ms")
    for name, share, colour, style, label in (
        ("latency_ms", "p95", BLUE, "-", "whole request, 19 of 20"),
        ("latency_ms", "p50", BLUE, ":", "whole request, half"),
        ("first_token_ms", "p95", GREY, "-", "first token, 19 of 20"),
        ("first_token_ms", "p50", GREY, ":", "first token, half"),
    ):
        found = [slot for slot in slots if slot[name] is not None]
        values = [slot[name][share] for slot in found]
        axes.plot(_moments(found, step / 2), values, style, marker=".", color=colour, label=label)
    axes.set_ylim(bottom=0)
    return _drawn(axes, "Latency")


def tokens(slots: Slots, step: float, marks: Marks) -> str:
    """Tokens read and written in each slot."""
    axes = _timed(slots, step, marks, "tokens")
    width = step / 86_400 * 0.9
    at, read = _moments(slots), [slot["tokens"]["prompt"] for slot in slots]
    written = [slot["tokens"]["completion"] for slot in slots]
    axes.bar(at, read, width, align="edge", color=GREY, label="read")
    axes.bar(at, written, width, bottom=read, align="edge", color=BLUE, label="written")
    return _drawn(axes, "Tokens")


def quality(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """(name, quality) from above down: the share called good, with its interval."""
    axes = _axes(1.0 + 0.34 * len(rows))
    for place, (_, found) in enumerate(rows):
        low, high = found["interval"]
        axes.plot([low, high], [place, place], color=BLUE, linewidth=1.6)
        axes.plot([found["share"]], [place], "o", color=BLUE)
    axes.set(xlim=(0, 1), xlabel="share called good, 95 % interval")
    _named(axes, [f"{name} ({found['judged']})" for name, found in rows])
    return _drawn(axes, "Quality")


def drift(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """(name, evidence): how near each drift test is to its threshold, which is the line at 1."""
    axes = _axes(1.0 + 0.34 * len(rows))
    for place, (_, found) in enumerate(rows):
        share = max(0.0, found["statistic"] / found["threshold"])
        axes.barh(place, share, color=RED if share >= 1 else BLUE, height=0.6)
    axes.axvline(1.0, color="#1b1b1f", linewidth=1.2)
    axes.set(xlabel="evidence that prompts have changed, of the threshold")
    axes.set_xlim(left=0)
    _named(axes, [name for name, _ in rows])
    return _drawn(axes, "Drift")


def _axes(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), layout="constrained").add_subplot()


def _timed(slots: Slots, step: float, marks: Marks, unit: str) -> Any:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axes = _axes(2.6)
    axes.set_ylabel(unit)
    places = AutoDateLocator()
    axes.xaxis.set_major_locator(places)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(places, tz=UTC))
    axes.set_xlim(_moment(slots[0]["at"]), _moment(slots[-1]["at"] + step))
    for at, name in marks:
        axes.axvline(_moment(at), color="#2e7d32", linewidth=1.2, linestyle="--")
        axes.annotate(
            name, (_moment(at), 1), xycoords=("data", "axes fraction"), rotation=90,
            fontsize="x-small", va="top", ha="right", parse_math=False, annotation_clip=True,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip
    return axes


def _moments(slots: Slots, later: float = 0.0) -> list[datetime]:
    return [_moment(slot["at"] + later) for slot in slots]


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _named(axes: Any, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [name[:40] for name in names], parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _drawn(axes: Any, title: str) -> str:
    import matplotlib

    if axes.get_legend_handles_labels()[1]:
        axes.figure.legend(loc="outside upper left", ncols=4, fontsize="small", frameon=False)
    out = io.StringIO()
    # Texts stay texts and element ids don't change from run to run.
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"report {title}"}),
        warnings.catch_warnings(),
    ):
        # Only widths come from this font: the reader's own has the glyphs.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        axes.figure.savefig(
            out, format="svg", metadata={"Date": None, "Creator": None, "Title": title}
        )
    text = out.getvalue()
    return text[text.index("<svg") :]  # without the XML declaration and document type
