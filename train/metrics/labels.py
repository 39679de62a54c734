"""Answers that are one of a few labels: precision, recall and F1 of each, and what was taken for
what. Knows nothing about models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sklearn.metrics import precision_recall_fscore_support

OTHER = "(no label)"
"""Stands in the confusion matrix for every answer that is none of the labels."""


def classification(
    given: Sequence[str], expected: Sequence[str], labels: Sequence[str] = ()
) -> dict[str, Any]:
    """Accuracy, macro-F1, and by label precision, recall, F1 and support, all 0 to 1; `confusion`
    maps expected → given → count and leaves zeros out (64 labels would have 4,096 of them).

    Labels that are expected count, said beforehand or not; macro-F1 is the plain mean over those
    that were expected at least once or given. A label never given has precision 0, as scikit-learn
    says with zero_division=0. Space around an answer doesn't count.
    """
    truth = [answer.strip() for answer in expected]
    known = list(dict.fromkeys([*labels, *sorted(set(truth))]))
    said = [answer.strip() if answer.strip() in known else OTHER for answer in given]
    seen = [label for label in known if label in truth or label in said]
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, said, labels=seen, average=None, zero_division=0.0
    )
    confusion: dict[str, dict[str, int]] = {}
    for (wanted, got), count in sorted(Counter(zip(truth, said, strict=True)).items()):
        confusion.setdefault(wanted, {})[got] = count
    return {
        "accuracy": _round(sum(a == b for a, b in zip(said, truth, strict=True)) / len(truth)),
        "macro_f1": _round(sum(f1) / len(seen)),
        "labels": {
            label: {
                "precision": _round(precision[i]),
                "recall": _round(recall[i]),
                "f1": _round(f1[i]),
                "support": int(support[i]),
            }
            for i, label in enumerate(seen)
        },
        "confusion": confusion,
    }


def _round(value: Any) -> float:
    return round(float(value), 6)
