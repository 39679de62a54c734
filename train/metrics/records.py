"""Answers that are JSON: do they parse, match the schema, equal the reference, field by field?
Knows nothing about models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema

_MOST_FIELDS = 64  # paths with figures of their own; a record keyed by ids would have thousands
_BROKEN = object()


def records(
    given: Sequence[str], expected: Sequence[str], schema: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Shares that parse, that match `schema` (None without one) and that equal the reference as
    JSON; precision, recall and F1 over fields, all 0 to 1, together and by field.

    A field is a leaf's path (`party.name`, `items[].price`) with its value: precision is the share
    of given fields that are right, recall the share of expected ones that were given. Items of a
    list count in any order here; `exact` minds it. An answer that doesn't parse has no field.
    By field, `n` answers should have it, and in a share of `exact` of them its values are all that
    was expected and no other; `support` counts the values.
    """
    checker = jsonschema.validators.validator_for(schema)(schema) if schema else None
    parses = valid = exact = 0
    said: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    right: Counter[str] = Counter()
    holders: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for answer, reference in zip(given, expected, strict=True):
        value, truth = _read(answer), _read(reference)
        parses += value is not _BROKEN
        valid += value is not _BROKEN and checker is not None and checker.is_valid(value)
        exact += value is not _BROKEN and truth is not _BROKEN and _spelt(value) == _spelt(truth)
        ours, theirs = Counter(_leaves(value)), Counter(_leaves(truth))
        for counts, leaves in ((said, ours), (wanted, theirs), (right, ours & theirs)):
            for (path, _), count in leaves.items():
                counts[path] += count
        mine, his = _by_path(ours), _by_path(theirs)
        holders.update(his.keys())
        whole.update(path for path, values in his.items() if mine.get(path) == values)
    n = len(given)
    common = sorted(wanted, key=lambda path: (-wanted[path], path))[:_MOST_FIELDS]
    return {
        "parses": round(parses / n, 6),
        "valid": round(valid / n, 6) if checker is not None else None,
        "exact": round(exact / n, 6),
        **_rates(right.total(), said.total(), wanted.total()),
        "fields": {
            path: {
                "exact": round(whole[path] / holders[path], 6),
                "n": holders[path],
                **_rates(right[path], said[path], wanted[path]),
                "support": wanted[path],
            }
            for path in common
        },
    }


def _rates(right: int, said: int, wanted: int) -> dict[str, float]:
    return {
        "precision": round(right / said, 6) if said else 0.0,
        "recall": round(right / wanted, 6) if wanted else 0.0,
        "f1": round(2 * right / (said + wanted), 6) if said + wanted else 0.0,
    }


def _by_path(leaves: Counter[tuple[str, str]]) -> dict[str, Counter[str]]:
    """path → the values there, each as often as it stands there."""
    found: dict[str, Counter[str]] = {}
    for (path, value), count in leaves.items():
        found.setdefault(path, Counter())[value] += count
    return found


def _leaves(value: Any) -> Iterator[tuple[str, str]]:
    """(path, value as JSON) of each leaf; an empty object or list is one."""
    rest = [] if value is _BROKEN else [("", value)]
    while rest:  # a stack of our own: a model that repeats itself may nest by the hundred
        path, item = rest.pop()
        if isinstance(item, dict) and item:
            rest += [(f"{path}.{key}" if path else key, inner) for key, inner in item.items()]
        elif isinstance(item, list) and item:
            rest += [(f"{path}[]", inner) for inner in item]
        else:
            yield path, _spelt(item)


def _spelt(value: Any) -> str:
    """The same for equal JSON and no other: 1 and true differ, although Python says otherwise."""
    return json.dumps(value, sort_keys=True)


def _read(text: str) -> Any:
    try:
        value = json.loads(text)
        _spelt(value)  # what can't be spelt again is too deep to be compared
        return value
    except (ValueError, RecursionError):
        return _BROKEN
