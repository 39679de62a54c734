"""Rows that two or more people labelled: do they agree? Cohen's kappa (1960), by scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows

ENOUGH = 0.6
FEWEST = 10


def agreement(corpus: Corpus) -> list[Finding]:
    """The mean kappa over pairs of annotators, where it is under ENOUGH; the rows in dispute."""
    labelled = [(s, found) for s in corpus.train if (found := _labels(s.row.metadata))]
    annotators = max((len(found) for _, found in labelled), default=0)
    kappas = []
    for a, b in combinations(range(annotators), 2):
        pairs = [(f[a], f[b]) for _, f in labelled if len(f) > b]
        if len(pairs) >= FEWEST:
            kappas.append(_kappa([a for a, _ in pairs], [b for _, b in pairs]))
    if not kappas or (mean := sum(kappas) / len(kappas)) >= ENOUGH:
        return []
    disputed = [sample.place for sample, found in labelled if len(set(found)) > 1]
    figures = {"kappa": round(mean, 3), "rows": len(labelled), "annotators": annotators}
    return of_rows("low-agreement", disputed, figures)


def _kappa(left: list[str], right: list[str]) -> float:
    if left == right:
        return 1.0  # also where there is one label only, for which kappa is not defined
    from sklearn.metrics import cohen_kappa_score

    return float(cohen_kappa_score(left, right))


def _labels(metadata: Mapping[str, Any]) -> list[str]:
    both = [metadata.get("label_a"), metadata.get("label_b")]
    several = metadata.get("labels")
    found = several if isinstance(several, list) else both
    simple = [str(label) for label in found if isinstance(label, str | int | float)]
    return simple if len(simple) == len(found) >= 2 else []
