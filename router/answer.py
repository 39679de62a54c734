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


class _Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None


class _Choice(msgspec.Struct):
    finish_reason: str | None = None
    delta: _Delta | None = None

    def generated(self) -> bool:
        """Whether a chunk's choice brings a token: each does (one may be half a character, and the
        last one the stop token), but the one that only says who speaks."""
        return self.delta is None or self.delta.role is None or bool(self.delta.content)


class _EngineError(msgspec.Struct):
    message: str = ""
    param: str | None = None


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_usage = msgspec.json.Decoder(_Usage | None)
_choices = msgspec.json.Decoder(list[_Choice])
_string = msgspec.json.Decoder(str)
_error = msgspec.json.Decoder(_EngineError)
_MOST = 2**31 - 1
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


GIVEN_UP = ("abort", "error")
"""Finish reasons of vLLM's that mean: not finished. The engine was stopped, or it failed."""


@dataclass(slots=True)
class Outcome:
    """What an answer said of itself, or (a stream that broke or was left) what came of it."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish_reason: str | None = None
    told: bool = False
    """Whether the engine gave the numbers. Until then completion tokens are those relayed."""

    def take(self, fields: Mapping[str, msgspec.Raw]) -> int:
        """Note usage and finish reason, where the fields have them; how many choices bring a token.

        Raises EngineFailed when the engine gave up, or one of BROKEN.
        """
        raw = fields.get("usage")
        if raw is not None:
            usage = _usage.decode(raw)
            if usage is not None:
                self.tell(usage.prompt_tokens, usage.completion_tokens or 0)
        raw = fields.get("choices")
        generated = 0
        if raw is not None:
            for choice in _choices.decode(raw):
                generated += choice.generated()
                self.finish_reason = choice.finish_reason or self.finish_reason
                if choice.finish_reason in GIVEN_UP:
                    raise EngineFailed("The engine stopped before the answer was complete.")
        return generated

    def tell(self, prompt_tokens: int, completion_tokens: int) -> None:
        """The engine's own numbers, as far as they can be true: one below 0 would be a gift to the
        limits and an error to counters, one beyond 31 bits no number for the registry."""
        self.prompt_tokens = min(_MOST, max(0, prompt_tokens))
        self.completion_tokens = min(_MOST, max(0, completion_tokens))
        self.told = True

    def count(self, tokens: int) -> None:
        """So many tokens were relayed."""
        if not self.told:
            self.completion_tokens += tokens

    def settle(self, prompt_tokens: int) -> None:
        """It is over: the prompt's tokens, as they were estimated, if the engine never said."""
        if not self.told:
            self.prompt_tokens = prompt_tokens


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
    """A whole (not streamed) answer for the client, vectors included. Raises EngineFailed."""
    outcome = Outcome()
    try:
        fields = decode(data)
        renamed = rename(fields, names)
        outcome.take(fields)
    except BROKEN:
        raise EngineFailed("The engine's answer is not what was asked for.") from None
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
