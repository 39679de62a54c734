"""Pictures for the report, as SVG to stand in a page. The only file here that needs matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

_COLOUR = "#3b6ea5"
_MOST_BARS = 30


def histogram(values: Sequence[int], limit: int, *, title: str, label: str) -> str:
    """How many rows have how many; a line at the limit if any row comes near it."""
    with _figure() as (figure, axes):
        axes.hist(values, bins=min(40, max(5, len(set(values)))), color=_COLOUR)
        if values and max(values) > limit / 2:
            axes.axvline(limit, color="#b3261e", linestyle="--")
        axes.set(title=title, xlabel=label, ylabel="rows")
        return _svg(figure, title)


def bars(counts: Mapping[str, int], *, title: str, label: str) -> str:
    """A bar for each name, at most _MOST_BARS of them."""
    shown = list(counts.items())[:_MOST_BARS]
    with _figure(height=1.2 + 0.25 * len(shown)) as (figure, axes):
        # Positions, not names: equal or numeric names are bars of their own.
        axes.barh(range(len(shown)), [count for _, count in shown], color=_COLOUR)
        axes.set_yticks(range(len(shown)), [_plain(name) for name, _ in shown], parse_math=False)
        axes.invert_yaxis()
        axes.set(title=title, xlabel=label)
        return _svg(figure, title)


class _figure:
    """A figure of our own: pyplot would keep it, and pick a screen."""

    def __init__(self, height: float = 2.6) -> None:
        self.height = height

    def __enter__(self) -> tuple[Any, Any]:
        import matplotlib
        from matplotlib.figure import Figure

        # Texts stay texts and element ids don't change from run to run.
        self.settings = matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "audit"})
        self.settings.__enter__()
        figure = Figure(figsize=(7, self.height), layout="constrained")
        return figure, figure.add_subplot()

    def __exit__(self, *error: object) -> None:
        self.settings.__exit__(None, None, None)


def _svg(figure: Any, title: str) -> str:
    out = io.StringIO()
    with warnings.catch_warnings():
        # Only widths come from this font: the reader's own has the glyphs.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = out.getvalue()
    return text[text.index("<svg") :]  # without the XML declaration and document type


def _plain(name: str) -> str:
    """At most 30 characters."""
    return name if len(name) <= 30 else f"{name[:29]}…"
