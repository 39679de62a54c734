"""What a good answer is, and how good one is: a label, a JSON object or a text.

Pure: knows nothing about models. A score is a number from 0 to 1; `exact` is 0 or 1.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jsonschema

from train.errors import InvalidSpec

KINDS = ("label", "json", "text")
_MOST_LABELS = 64


@dataclass(frozen=True)
class Score:
    """One answer, judged. `value` is what the paired test compares: exact for labels and JSON, chrF
    for texts. `fields` is the share of a JSON answer's expected fields that are right."""

    exact: bool
    value: float
    valid: bool
    fields: float | None = None


@dataclass(frozen=True)
class Answers:
    """The kind of answer, the labels that are possible, the schema that JSON must match."""

    kind: str
    labels: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, answers: Mapping[str, Any], examples: Sequence[str]) -> Answers:
        """As the adapter says; what it doesn't say is inferred from example answers.

        Answers are JSON if every example is a JSON object; labels if there are few different ones
        and each comes back often; texts otherwise. Raises InvalidSpec for a schema that is none.
        """
        kind = answers.get("kind")
        found = Counter(example.strip() for example in examples)
        if kind not in KINDS:
            objects = all(isinstance(_json(example), dict) for example in found)
            few = len(found) <= min(_MOST_LABELS, len(examples) / 5)
            kind = "json" if found and objects else "label" if few else "text"
        labels = tuple(answers.get("labels") or sorted(found)) if kind == "label" else ()
        schema = (answers.get("schema") or None) if kind == "json" else None
        if schema is not None:
            try:
                jsonschema.validators.validator_for(schema).check_schema(schema)
            except jsonschema.SchemaError as error:
                raise InvalidSpec(
                    f"The adapter's answers.schema is not a JSON Schema: {error.message}", "schema"
                ) from error
        return cls(kind, labels, schema)

    def score(self, given: str, expected: str) -> Score:
        """Judge a model's answer against the reference answer."""
        if self.kind == "json":
            return self._json(given, expected)
        same = given.strip() == expected.strip()
        if self.kind == "label":
            return Score(same, float(same), given.strip() in self.labels)
        return Score(same, chrf(given, expected), bool(given.strip()))

    def _json(self, given: str, expected: str) -> Score:
        value, reference = _json(given), _json(expected)
        if value is _BROKEN:
            return Score(False, 0.0, False, 0.0)
        valid = self._validator is None or self._validator.is_valid(value)
        if not isinstance(reference, dict):
            exact = value == reference
            return Score(exact, float(exact), valid, float(exact))
        exact = _same(value, reference)
        right = (
            sum(key in value and _same(value[key], item) for key, item in reference.items())
            if isinstance(value, dict)
            else 0
        )
        return Score(exact, float(exact), valid, right / len(reference) if reference else 1.0)

    @cached_property
    def _validator(self) -> Any:
        if self.schema is None:
            return None
        return jsonschema.validators.validator_for(self.schema)(self.schema)


def summarise(scores: Sequence[Score], lines: Sequence[int]) -> dict[str, Any]:
    """Means over answers, and the lines of the file that came out wrong (the first 20)."""
    count = len(scores)
    wrong = [line for score, line in zip(scores, lines, strict=True) if not score.exact]
    figures: dict[str, Any] = {
        "n": count,
        "exact": _mean([float(score.exact) for score in scores]),
        "score": _mean([score.value for score in scores]),
        "valid": _mean([float(score.valid) for score in scores]),
        "wrong": wrong[:20],
        "wrong_count": len(wrong),
    }
    parts = [score.fields for score in scores if score.fields is not None]
    if parts:
        figures["fields"] = _mean(parts)
    return figures


def chrf(given: str, expected: str, longest: int = 6, beta: float = 2.0) -> float:
    """Character n-gram F-score, 0 to 1 (Popović 2015): n = 1…6, recall counted twice, no spaces."""
    left, right = "".join(given.split()), "".join(expected.split())
    if not left or not right:
        return float(left == right)
    scores = []
    for n in range(1, longest + 1):
        ours = Counter(left[i : i + n] for i in range(len(left) - n + 1))
        theirs = Counter(right[i : i + n] for i in range(len(right) - n + 1))
        if not ours or not theirs:
            continue
        common = sum((ours & theirs).values())
        precision, recall = common / ours.total(), common / theirs.total()
        weighted = beta**2 * precision + recall
        scores.append((1 + beta**2) * precision * recall / weighted if weighted else 0.0)
    return _mean(scores)


_BROKEN = object()


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _BROKEN


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON: 1 and true are not the same, although Python says so."""
    return json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 6) if values else 0.0
