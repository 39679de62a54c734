"""The shapes of a record: which fields it has, what kind of example it is, its parts.

A shape is seen from the fields of the first records of a file, and holds for all of it: a record
that lacks a field of it is a fault, not another shape. Knows nothing of files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from registry.examples.messages import Fault, Message, answer, conversation, named, prompt, text

LOOKED_AT = 20
"""Records from whose fields the shape is seen."""


@dataclass(frozen=True)
class Parts:
    """What a record says. `fields` are those that were read; the others are metadata."""

    kind: str
    messages: list[Message]
    fields: frozenset[str]
    rejected: str = ""
    good: bool = True


@dataclass(frozen=True)
class Shape:
    """`needs` are the fields that tell it, in the order in which shapes are tried."""

    name: str
    kind: str
    needs: frozenset[str]
    parts: Callable[[Mapping[str, Any]], Parts | Fault]


def seen(records: Iterable[Any]) -> Shape:
    """The shape that most of the records have; `messages` where none has any."""
    counts = Counter(
        shape.name
        for record in records
        if isinstance(record, Mapping) and (shape := _of(record)) is not None
    )
    return SHAPES[counts.most_common(1)[0][0]] if counts else SHAPES["messages"]


def _of(record: Mapping[str, Any]) -> Shape | None:
    fields = {name for name, value in record.items() if value is not None}
    return next((shape for shape in SHAPES.values() if shape.needs <= fields), None)


def _messages(record: Mapping[str, Any]) -> Parts | Fault:
    found = conversation(_list(record.get("messages")), "messages")
    return found if isinstance(found, Fault) else Parts("chat", found, frozenset({"messages"}))


def _openai_preference(record: Mapping[str, Any]) -> Parts | Fault:
    given = _list(record.get("input"))
    if not isinstance(given, Mapping):
        return Fault("input", "an object with messages", named(given))
    return _pair(
        prompt(given.get("messages"), "input.messages"),
        answer(_list(record.get("preferred_output")), "preferred_output"),
        answer(_list(record.get("non_preferred_output")), "non_preferred_output"),
        frozenset({"input", "preferred_output", "non_preferred_output"}),
    )


def _preference(record: Mapping[str, Any]) -> Parts | Fault:
    return _pair(
        prompt(_list(record.get("prompt")), "prompt"),
        answer(_list(record.get("chosen")), "chosen"),
        answer(_list(record.get("rejected")), "rejected"),
        frozenset({"prompt", "chosen", "rejected"}),
    )


def _rated(record: Mapping[str, Any]) -> Parts | Fault:
    asked = prompt(_list(record.get("prompt")), "prompt")
    if isinstance(asked, Fault):
        return asked
    said = answer(_list(record.get("completion")), "completion")
    if isinstance(said, Fault):
        return said
    good = _truth(record.get("label"))
    if good is None:
        return Fault("label", "true or false", named(record.get("label")))
    fields = frozenset({"prompt", "completion", "label"})
    return Parts("rated", [*asked, _said(said)], fields, good=good)


def _completion(record: Mapping[str, Any]) -> Parts | Fault:
    asked = prompt(_list(record.get("prompt")), "prompt")
    if isinstance(asked, Fault):
        return asked
    said = answer(_list(record.get("completion")), "completion")
    if isinstance(said, Fault):
        return said
    return Parts("chat", [*asked, _said(said)], frozenset({"prompt", "completion"}))


def _alpaca(record: Mapping[str, Any]) -> Parts | Fault:
    asked = text(record.get("instruction"), "instruction")
    if isinstance(asked, Fault):
        return asked
    said = text(record.get("output"), "output")
    if isinstance(said, Fault):
        return said
    given = record.get("input")
    if given is not None and not isinstance(given, str):
        return Fault("input", "a text", named(given))
    if given and given.strip():
        asked = f"{asked}\n\n{given}"
    messages = [{"role": "user", "content": asked}, _said(said)]
    return Parts("chat", messages, frozenset({"instruction", "input", "output"}))


def _text(record: Mapping[str, Any]) -> Parts | Fault:
    found = text(record.get("text"), "text")
    if isinstance(found, Fault):
        return found
    return Parts("text", [_said(found)], frozenset({"text"}))


def _pair(
    asked: list[Message] | Fault, liked: str | Fault, other: str | Fault, fields: frozenset[str]
) -> Parts | Fault:
    if isinstance(asked, Fault):
        return asked
    if isinstance(liked, Fault):
        return liked
    if isinstance(other, Fault):
        return other
    return Parts("preference", [*asked, _said(liked)], fields, rejected=other)


def _said(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _list(value: Any) -> Any:
    """A cell of a table may hold its list as JSON."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            return value
        holds = found if isinstance(found, list) else [found]
        if holds and all(isinstance(i, dict) and {"role", "messages"} & set(i) for i in holds):
            return found
    return value


def _truth(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return {"true": True, "1": True, "false": False, "0": False}.get(value.strip().lower())
    return bool(value) if isinstance(value, int) and value in (0, 1) else None


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("messages", "chat", frozenset({"messages"}), _messages),
        Shape(
            "input/preferred_output/non_preferred_output",
            "preference",
            frozenset({"input", "preferred_output", "non_preferred_output"}),
            _openai_preference,
        ),
        Shape(
            "prompt/chosen/rejected",
            "preference",
            frozenset({"prompt", "chosen", "rejected"}),
            _preference,
        ),
        Shape(
            "prompt/completion/label", "rated", frozenset({"prompt", "completion", "label"}), _rated
        ),
        Shape("prompt/completion", "chat", frozenset({"prompt", "completion"}), _completion),
        Shape("instruction/input/output", "chat", frozenset({"instruction", "output"}), _alpaca),
        Shape("text", "text", frozenset({"text"}), _text),
    )
}
