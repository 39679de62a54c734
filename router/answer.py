"""Answers: what an engine sent, made into what the client gets. Pure.

`model` becomes the name that the client asked for and `id` the router's; every other value stays
the engine's bytes. An answer whose `model` is not the one asked of the engine is no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from router.errors import EngineFailed

_encode = msgspec.json.encode


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _EngineError(msgspec.Struct):
    message: str = ""
    param: str | None = None


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_usage = msgspec.json.Decoder(_Usage | None)
_choices = msgspec.json.Decoder(list[_Choice])
_string = msgspec.json.Decoder(str)
_error = msgspec.json.Decoder(_EngineError)
BROKEN = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Names:
    """Both sides of one request: what the engine must call itself, and what the client sees."""

    served: str
    """The model that was asked of the engine."""
    asked: str
    """The model that the client asked for."""
    id: str
    """The completion's id as the client sees it."""


@dataclass(slots=True)
class Outcome:
    """What an answer said of itself."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None

    def take(self, fields: Mapping[str, msgspec.Raw]) -> None:
        """Note usage and finish reason, where the fields have them. Raises one of BROKEN."""
        raw = fields.get("usage")
        if raw is not None:
            usage = _usage.decode(raw)
            if usage is not None:
                self.prompt_tokens = usage.prompt_tokens
                self.completion_tokens = usage.completion_tokens or 0
        raw = fields.get("choices")
        if raw is not None:
            for choice in _choices.decode(raw):
                self.finish_reason = choice.finish_reason or self.finish_reason


class ServedByAnother(EngineFailed):
    """The engine says that another model answered than the one it was asked for."""

    code = "served_by_another_model"

    def __init__(self) -> None:
        super().__init__("The engine answered with another model than the one asked for.")


def decode(data: bytes) -> dict[str, msgspec.Raw]:
    """A JSON object's fields, values as bytes. Raises one of BROKEN."""
    return _fields.decode(data)


def rename(fields: dict[str, msgspec.Raw], names: Names) -> bytes:
    """The object with the client's names in it. Raises ServedByAnother, or one of BROKEN."""
    model = fields.get("model")
    if model is None or _string.decode(model) != names.served:
        raise ServedByAnother
    fields["model"] = msgspec.Raw(_encode(names.asked))
    fields["id"] = msgspec.Raw(_encode(names.id))
    return _encode(fields)


def completion(data: bytes, names: Names) -> tuple[bytes, Outcome]:
    """A whole (not streamed) answer for the client. Raises EngineFailed."""
    outcome = Outcome()
    try:
        fields = decode(data)
        renamed = rename(fields, names)
        outcome.take(fields)
    except BROKEN:
        raise EngineFailed("The engine's answer was not a completion.") from None
    return renamed, outcome


def engine_error(data: bytes, names: Names) -> tuple[str, str | None]:
    """(message, param) of an engine's error body, with the client's name for the model in it.

    vLLM 0.32 puts names that it knows after "Valid aliases": those are nobody's business.
    """
    try:
        error = _error.decode(decode(data)["error"])
    except (*BROKEN, KeyError):
        return "", None
    message = error.message.replace(names.served, names.asked).partition(" Valid aliases:")[0]
    param = error.param.removeprefix("body.") if error.param else None
    return message, param
