"""How good a system's answers are as a whole, by the kind of answer.

What one answer is worth is train.answers' business; whether a difference is chance, train.paired's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from train.answers import Answers


def measure(answers: Answers, given: Sequence[str], expected: Sequence[str]) -> dict[str, Any]:
    """The figures for this kind, as JSON; `given[i]` answers what `expected[i]` answers.

    Raises ValueError where they don't pair, or there are none.
    """
    if len(given) != len(expected) or not given:
        raise ValueError(
            f"{len(given)} answers for {len(expected)} references: expected a pair each"
        )
    # Only the process that trains gets here: scikit-learn and sacrebleu take a second to import.
    if answers.kind == "label":
        from train.metrics.labels import classification

        return classification(given, expected, answers.labels)
    if answers.kind == "json":
        from train.metrics.records import records

        return records(given, expected, answers.schema)
    from train.metrics.texts import texts

    return texts(given, expected)
