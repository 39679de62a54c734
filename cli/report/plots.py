"""The page's pictures of a time, as SVG to stand in it. Needs matplotlib. Moments are seconds
since the epoch and drawn in UTC."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

GREY, BLUE, RED, AMBER = "#8a8f98", "#3b6ea5", "#b3261e", "#b36b00"
Slots = Sequence[Mapping[str, Any]]
Marks = Sequence[tuple[float, str]]
"""(moment, what went live then)."""
Span = tuple[float, float]
"""From one moment to another."""
SHADES = (BLUE, "#7aa6d1", "#1f3f66", "#5b8c5a")
"""Of versions, the one with the most answers first."""


def traffic(slots: Slots, step: float, marks: Marks) -> str:
    """Requests in each slot by what answered them: versions, the base, nobody (an error)."""
    axes = _timed(slots, step, marks, "requests")
    counts = Counter[str]()
    for slot in slots:
        counts.update(slot["by"])
    versions = [name for name, _ in counts.most_common() if name != "base"]
    kinds = [(name, SHADES[n]) for n, name in enumerate(versions[: len(SHADES)])]
    series = [(name, colour, [slot["by"].get(name, 0) for slot in slots]) for name, colour in kinds]
    if others := versions[len(SHADES) :]:
        values = [sum(slot["by"].get(name, 0) for name in others) for slot in slots]
        series.append(("other versions", "#c9d6e4", values))
    series.append(("the base", GREY, [slot["by"].get("base", 0) for slot in slots]))
    errors = [slot["errors"] for slot in slots]
    refused = [
        slot["requests"] - failed - sum(slot["by"].values())
        for slot, failed in zip(slots, errors, strict=True)
    ]
    series += [("refused (4xx)", "#d8b4dd", refused), ("errors (5xx)", RED, errors)]
    _stacked(axes, slots, step, series)
    fallbacks = [sum(slot["fallbacks"].values()) for slot in slots]
    if any(fallbacks):
        axes.plot(_moments(slots, step / 2), fallbacks, ":", marker="D", markersize=4, color=AMBER,
                  label="of them by a fallback")  # fmt: skip
    return drawn(axes, "Traffic")


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
    return drawn(axes, "Latency")


def stages(slots: Slots, step: float, marks: Marks) -> str:
    """Where the time of the mean stream goes, milliseconds."""
    axes = _timed(slots, step, marks, "ms")
    found = [slot for slot in slots if slot["stages_ms"] is not None]
    parts = (("queue", AMBER, "waiting for an engine"), ("prefill", GREY, "to the first token"),
             ("decode", BLUE, "from there to the last"))  # fmt: skip
    _stacked(axes, found, step, [
        (label, colour, [slot["stages_ms"][name] for slot in found])
        for name, colour, label in parts
    ])  # fmt: skip
    return drawn(axes, "Mean request, by stage")


def tokens(slots: Slots, step: float, marks: Marks) -> str:
    """Tokens read and written in each slot."""
    axes = _timed(slots, step, marks, "tokens")
    _stacked(axes, slots, step, [
        ("read", GREY, [slot["tokens"]["prompt"] for slot in slots]),
        ("written", BLUE, [slot["tokens"]["completion"] for slot in slots]),
    ])  # fmt: skip
    return drawn(axes, "Tokens")


def answers(slots: Slots, step: float, marks: Marks) -> str:
    """The shares of answers in each slot that are out of form, and that refuse."""
    axes = _timed(slots, step, marks, "share of answers")
    for name, colour, label in (("out_of_form", RED, "out of form"), ("refused", AMBER, "refuse")):
        found = [slot for slot in slots if slot[name] is not None]
        values = [slot[name] for slot in found]
        axes.plot(_moments(found, step / 2), values, marker=".", color=colour, label=label)
    _shares(axes, 0.0, 1.0)
    return drawn(axes, "Answers")


def called_good(points: Slots, span: Span, marks: Marks) -> str:
    """The share of judged answers that were called good in the 7 days before, with its interval."""
    axes = timed(span, marks, "called good")
    at = _moments(points)
    low, high = zip(*(point["interval"] for point in points), strict=True)
    axes.fill_between(at, low, high, color=BLUE, alpha=0.2, linewidth=0, label="95 % interval")
    share = [point["share"] for point in points]
    axes.plot(at, share, marker=".", color=BLUE, label="share, 7 days")
    _shares(axes, 0.0, 1.0)
    return drawn(axes, "Answers called good")


def budget(lines: Sequence[tuple[str, Slots]], span: Span, marks: Marks) -> str:
    """(name, days) of the error budget left, 1 and below, drawn from -1 on; the first in bold."""
    axes = timed(span, marks, "error budget left")
    axes.axhline(0.0, color=RED, linewidth=1)
    for number, (name, days) in enumerate(lines):
        values = [max(-1.0, day["left"]) for day in days]
        axes.plot(_moments(days), values, marker=".", label=name[:40],
                  color="#1b1b1f" if number == 0 else f"C{number - 1}",
                  linewidth=2 if number == 0 else 1)  # fmt: skip
    _shares(axes, min(0.0, *(max(-1.0, day["left"]) for _, days in lines for day in days)), 1.0)
    return drawn(axes, "Error budget left")


def by_tenant(lines: Sequence[tuple[str, Mapping[float, float]]], span: Span, unit: str,
              title: str) -> str:  # fmt: skip
    """(tenant, {moment: value}), a line for each."""
    axes = timed(span, (), unit)
    for number, (name, values) in enumerate(lines):
        at = [_moment(moment) for moment in values]
        axes.plot(at, [*values.values()], marker=".", color=f"C{number}", label=name[:40])
    axes.set_ylim(bottom=0)
    return drawn(axes, title)


def evidence(lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], span: Span,
             marks: Marks) -> str:  # fmt: skip
    """(adapter, (moment, evidence of drift over its threshold)): the alarm goes at 1."""
    axes = timed(span, marks, "of the threshold")
    axes.axhline(1.0, color=RED, linewidth=1, label="threshold")
    for number, (name, points) in enumerate(lines):
        axes.plot([_moment(at) for at, _ in points], [share for _, share in points], ":",
                  marker="o", color=f"C{number}", label=name[:40])  # fmt: skip
    axes.set_ylim(bottom=0)
    return drawn(axes, "Evidence of drift")


def intervals(
    lines: Sequence[tuple[str, Sequence[tuple[float, float, float, float]]]],
    span: Span,
    marks: Marks,
    unit: str,
    lowest: float,
) -> str:
    """(name, (moment, share, low, high)) of shares from `lowest` to 1."""
    axes = timed(span, marks, unit)
    axes.axhline(0.0, color="#1b1b1f", linewidth=0.8)
    for number, (name, points) in enumerate(lines):
        at, share, low, high = zip(*points, strict=True)
        below = [max(0.0, s - b) for s, b in zip(share, low, strict=True)]
        above = [max(0.0, t - s) for s, t in zip(share, high, strict=True)]
        axes.errorbar([_moment(moment) for moment in at], share, yerr=[below, above], fmt="o",
                      capsize=3, color=f"C{number}", label=name[:40])  # fmt: skip
    _shares(axes, lowest, 1.0)
    return drawn(axes, unit)


def plain(height: float) -> Any:
    """Axes without a meaning yet, 8 inches wide."""
    from matplotlib.figure import Figure

    return Figure(figsize=(8, height), layout="constrained").add_subplot()


def timed(span: Span, marks: Marks, unit: str) -> Any:
    """Axes of a time, with a line where a version went live in it."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    axes = plain(2.6)
    axes.set_ylabel(unit)
    places = AutoDateLocator()
    axes.xaxis.set_major_locator(places)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(places, tz=UTC))
    begin, end = span
    margin = max(end - begin, 60.0) / 50
    axes.set_xlim(_moment(begin - margin), _moment(end + margin))
    for at, name in marks:
        if not begin - margin <= at <= end + margin:
            continue
        axes.axvline(_moment(at), color="#2e7d32", linewidth=1.2, linestyle="--")
        axes.annotate(
            name, (_moment(at), 1), xycoords=("data", "axes fraction"), rotation=90,
            fontsize="x-small", va="top", ha="right", parse_math=False, annotation_clip=True,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )  # fmt: skip
    return axes


def _timed(slots: Slots, step: float, marks: Marks, unit: str) -> Any:
    return timed((slots[0]["at"], slots[-1]["at"] + step), marks, unit)


def _stacked(
    axes: Any, slots: Slots, step: float, series: Sequence[tuple[str, str, Sequence[float]]]
) -> None:
    """(label, colour, values) one on another; what is 0 throughout is left out."""
    below = [0.0] * len(slots)
    for label, colour, values in series:
        if any(values):
            axes.bar(_moments(slots), values, step / 86_400 * 0.9, bottom=below, align="edge",
                     color=colour, label=label)  # fmt: skip
            below = [low + value for low, value in zip(below, values, strict=True)]


def _shares(axes: Any, low: float, high: float) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    margin = (high - low) / 25
    axes.set_ylim(low - margin, high + margin)


def _moments(slots: Slots, later: float = 0.0) -> list[datetime]:
    return [_moment(slot["at"] + later) for slot in slots]


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def drawn(axes: Any, title: str) -> str:
    """The figure of these axes, as an SVG element."""
    import matplotlib

    if axes.get_legend_handles_labels()[1]:
        legend = axes.figure.legend(
            loc="outside upper left", ncols=4, fontsize="small", frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
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
