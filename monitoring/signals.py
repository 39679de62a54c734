"""Signals: what can be said of an answer without keeping its text, and without a right answer.

Pure: text in, figures out; nothing of the text is in them. All of them are hints for a mean over
many answers, none is a judgement of one; `refused` least of all (monitoring/refusals.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
from jsonschema import validators
from referencing import Registry
from referencing.exceptions import Unresolvable

from monitoring.refusals import refuses

LOOKED_AT = 2048
"""Characters at an answer's end that repetition is looked for in: a loop, once begun, stays."""
_WORDS, _SIGNS, _STEP = 4, 8, 3
_FEWEST = 8
"""Fewer pieces than this repeat nothing."""


@dataclass(frozen=True)
class Signals:
    """Of one answer. `valid` is None where the adapter asks for no format, or none was seen whole;
    `chars` is None for an answer that was not seen whole."""

    chars: int | None
    valid: bool | None
    refused: bool
    repetition: float
    """Share of its pieces (four words, or eight signs where words are not parted) that were there
    before, 0…1."""


class Format:
    """What an adapter's answers must look like; `of` gives None where any text will do."""

    def __init__(self, labels: frozenset[str] | None, schema: Mapping[str, Any] | None) -> None:
        self._labels = labels
        self._validator = None if schema is None else _validator(schema)

    @classmethod
    def of(cls, answers: Mapping[str, Any], kind: str = "") -> Format | None:
        """From `registry.adapters.Adapter.answers`; `kind` is that of the version's evaluation, for
        an adapter that doesn't say. A schema that is none is left out: whoever trains is told."""
        kind = str(answers.get("kind") or kind)
        labels, schema = answers.get("labels"), answers.get("schema")
        if kind in ("label", "") and isinstance(labels, list) and labels:
            return cls(frozenset(map(str, labels)), None)
        if kind == "json" or (kind == "" and isinstance(schema, Mapping) and schema):
            return cls(None, schema if isinstance(schema, Mapping) and schema else None)
        return None

    def valid(self, text: str) -> bool | None:
        """Whether an answer has this format; None for a schema that can't be applied."""
        if self._labels is not None:
            return text.strip() in self._labels
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if self._validator is None:
            return True
        try:
            return bool(self._validator.is_valid(value))
        except (Unresolvable, RecursionError, OverflowError):
            return None


def observe(text: str, answers: Format | None = None, *, whole: bool = True) -> Signals:
    """The signals of an answer's text, or of its beginning where it was not seen `whole`."""
    valid = answers.valid(text) if answers is not None and whole else None
    return Signals(
        chars=len(text) if whole else None,
        valid=valid,
        # What has the format that was asked for is an answer, whatever it says.
        refused=not valid and refuses(text),
        repetition=repetition(text),
    )


def repetition(text: str) -> float:
    """Share of an answer's pieces that were there before, at its end (`LOOKED_AT` characters)."""
    text = text[-LOOKED_AT:]
    words = text.split()
    if len(words) * 16 >= len(text):
        count = len(words) - _WORDS + 1
        distinct = len({*zip(*(words[n:] for n in range(_WORDS)), strict=False)})
    else:  # no blanks between words: Chinese, Japanese, Thai, or no language at all
        starts = range(0, len(text) - _SIGNS + 1, _STEP)
        count, distinct = len(starts), len({text[n : n + _SIGNS] for n in starts})
    return 1.0 - distinct / count if count >= _FEWEST else 0.0


def _validator(schema: Mapping[str, Any]) -> Any:
    """What checks a schema, in time that its size bounds: regular expressions, which may take for
    ever, are not applied, and nothing is fetched. None for what is no schema."""
    cls = validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        cls.check_schema(dict(schema))
    except (jsonschema.SchemaError, RecursionError):
        return None
    also = cls.VALIDATORS.get("additionalProperties")
    unevaluated = cls.VALIDATORS.get("unevaluatedProperties")

    def nothing(*_: Any) -> tuple[()]:
        return ()

    def unless_patterns(check: Any) -> Any:
        def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
            return (
                () if "patternProperties" in schema else check(validator, value, instance, schema)
            )

        return checked

    own: dict[str, Any] = {"pattern": nothing, "patternProperties": nothing}
    if also is not None:
        own["additionalProperties"] = unless_patterns(also)
    if unevaluated is not None:
        own["unevaluatedProperties"] = unless_patterns(unevaluated)
    bounded = validators.extend(cls, own)  # type: ignore[no-untyped-call]
    return bounded(_of_one_dialect(schema), registry=Registry())


def _of_one_dialect(schema: Any) -> Any:
    """Without `$schema`: where a part has one, jsonschema would go on by its own rules."""
    if isinstance(schema, Mapping):
        return {
            key: _of_one_dialect(value)
            for key, value in schema.items()
            if key != "$schema" or not isinstance(value, str)
        }
    return [_of_one_dialect(part) for part in schema] if isinstance(schema, list) else schema
