"""The page's picture, as SVG to stand in it. Needs matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

_BASE, _ADAPTER = "#8a8f98", "#3b6ea5"


def scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """A bar for each system's score, with the interval where there is one."""
    import matplotlib
    from matplotlib.figure import Figure

    # Texts stay texts and element ids don't change from run to run.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "evaluation"}):
        figure = Figure(figsize=(8, 1.0 + 0.34 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            colour = _BASE if row["system"].startswith("base") else _ADAPTER
            axes.barh(place, row["score"], color=colour, height=0.7)
            if row.get("interval"):
                low, high = row["interval"]
                axes.plot([low, high], [place, place], color="#1b1b1f", linewidth=1.2)
        names = [str(row["system"])[:40] for row in rows]
        axes.set_yticks(range(len(rows)), names, parse_math=False)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), xlabel="score on held-out rows")
        out = io.StringIO()
        with warnings.catch_warnings():
            # Only widths come from this font: the reader's own has the glyphs.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(
                out, format="svg", metadata={"Date": None, "Creator": None, "Title": "Scores"}
            )
    text = out.getvalue()
    return text[text.index("<svg") :]  # without the XML declaration and document type
