"""How long rows are, in tokens: what truncation would cut, and what is far from the others.

Outliers by both of two robust rules on the logarithm: further than Z median absolute deviations
from the median (Iglewicz and Hoaglin 1993), and outside of the quartiles by REACH times their
distance (Tukey's outer fences).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows

Z = 5.0
REACH = 3.0
FEWEST = 20
_NARROWEST = 0.25  # of a deviation, as a logarithm: where all are alike, 2 tokens more are no news


def truncated(corpus: Corpus) -> list[Finding]:
    """Rows that max_length cuts; those of which it leaves no answer apart."""
    pairs = list(zip(corpus.samples, corpus.lengths, strict=False))
    lost = [s.place for s, n in pairs if n.first_answer >= corpus.max_length]
    cut = [
        s.place
        for s, n in pairs
        if n.first_answer < corpus.max_length and n.total - 1 > corpus.max_length
    ]
    longest = max((n.total for _, n in pairs), default=0)
    figures = {"max_length": corpus.max_length, "longest": longest}
    return of_rows("answer-truncated", lost, figures) + of_rows("truncated", cut, figures)


def outliers(corpus: Corpus) -> list[Finding]:
    """Prompts and answers of unusual length. Labels have none: their lengths mean nothing."""
    lengths = corpus.lengths[: len(corpus.train)]
    found = _outliers(corpus, "prompt-length-outlier", [n.prompt for n in lengths])
    if corpus.kind != "label":
        found += _outliers(corpus, "answer-length-outlier", [n.answer for n in lengths])
    return found


def summary(corpus: Corpus) -> dict[str, Any]:
    """Tokens a row: quantiles for the report; empty without a tokenizer."""
    totals = [n.total for n in corpus.lengths[: len(corpus.train)]]
    if not totals:
        return {}
    low, median, high = (int(q) for q in np.quantile(totals, [0.05, 0.5, 0.95]))
    return {
        "rows": len(totals),
        "tokens": sum(totals),
        "p5": low,
        "median": median,
        "p95": high,
        "longest": max(totals),
    }


def far(values: Sequence[int]) -> list[int]:
    """Indices of the outliers."""
    if len(values) < FEWEST:
        return []
    logs = np.log([max(1, value) for value in values])
    middle = float(np.median(logs))
    spread = max(_NARROWEST, 1.4826 * float(np.median(np.abs(logs - middle))))
    low, high = (float(q) for q in np.quantile(logs, [0.25, 0.75]))
    reach = REACH * max(high - low, _NARROWEST)
    return [
        index
        for index, value in enumerate(logs.tolist())
        if abs(value - middle) > Z * spread and not low - reach <= value <= high + reach
    ]


def _outliers(corpus: Corpus, code: str, values: list[int]) -> list[Finding]:
    indices = far(values)
    if not indices:
        return []
    median = math.ceil(float(np.median(values)))
    figures = {
        "median_tokens": median,
        "shortest": min(values[i] for i in indices),
        "longest": max(values[i] for i in indices),
    }
    return of_rows(code, [corpus.train[i].place for i in indices], figures)
