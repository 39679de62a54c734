"""Request bodies: reading what routing needs, and writing what the engine gets. Pure.

Only the top level is taken apart; every value stays the bytes that the client sent, so that each
field that the engine knows passes through and nothing is lost in translation.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from router.errors import InvalidRequest
from router.fields import LONG, REFUSED
from router.kinds import CHAT, EMBEDDINGS, RESPONSES, Kind
from router.settings import RouterSettings

_T = TypeVar("_T")

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str | None)
_flag = msgspec.json.Decoder(bool | None)
_whole = msgspec.json.Decoder(int | None)
_nullable_fields = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.encode
_USAGE_ON = msgspec.Raw(b'{"include_usage":true}')
_FALSE = msgspec.Raw(b"false")
_ENCODINGS = (b"null", b'"float"', b'"base64"')
"""vLLM has two more, whose answers are not JSON: their model and usage could not be read."""
_NOTHING = (b"null", b"false")
_REFUSED = frozenset(REFUSED)
_INTEGERS = frozenset(("top_k", "stream_interval", "repetition_detection"))
"""vLLM 0.32 answers 500 to those that 64 bits don't hold; it checks all others."""
_TOO_LONG = re.compile(rb"\d{19}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


@dataclass(slots=True)
class Request:
    """A request that an engine answers. `model` is None when the client named none."""

    kind: Kind
    fields: dict[str, msgspec.Raw]
    model: str | None
    stream: bool
    wants_usage: bool
    """Whether a stream's client asked for the usage chunk."""

    @property
    def messages(self) -> bytes:
        """The conversation as JSON, an array of messages; empty for what is none."""
        if self.kind is CHAT:
            return bytes(self.fields["messages"])
        if self.kind is RESPONSES:
            given = bytes(self.fields["input"])
            return given if given.startswith(b"[") else b'[{"role":"user","content":%s}]' % given
        return b""

    @property
    def prompt(self) -> bytes:
        """What the engine reads, as JSON: for estimates of its tokens."""
        return bytes(self.fields.get(self.kind.prompt_field, b""))

    @property
    def tokens_a_chunk(self) -> int:
        """How many tokens an event of the stream may bring."""
        raw = self.fields.get("stream_interval")
        return (
            1 if raw is None else max(1, _typed(_whole, raw, "stream_interval", "an integer") or 1)
        )


def parse(raw: bytes, kind: Kind, settings: RouterSettings) -> Request:
    """Read a body. Raises InvalidRequest."""
    fields = _read(raw)
    if not _REFUSED.isdisjoint(fields):
        _refuse(fields)
    if len(raw) > settings.max_field_bytes:
        _bound(fields, settings.max_field_bytes)
    if not _INTEGERS.isdisjoint(fields):
        _range(fields)
    _require(fields, kind)
    _check_sequences(fields, kind, settings.max_sequences)
    raw_stream = fields.get("stream")
    stream = raw_stream is not None and bool(_typed(_flag, raw_stream, "stream", "a boolean"))
    if kind is EMBEDDINGS:
        _check_embeddings(fields, stream)
    raw_model = fields.get("model")
    model = None if raw_model is None else _typed(_string, raw_model, "model", "a string")
    options = fields.get("stream_options")
    return Request(
        kind=kind,
        fields=fields,
        model=model or None,
        stream=stream,
        wants_usage=stream and options is not None and _asks_for_usage(options),
    )


def for_engine(request: Request, model: str, cache_salt: str) -> bytes:
    """The body that an engine gets: its own name for the model, the tenant's salt, and usage always
    accounted, so that a stream's tokens are known even when its client didn't ask."""
    kind = request.kind
    passed = kind.passed
    fields = {k: v for k, v in request.fields.items() if k in passed}
    fields["model"] = msgspec.Raw(_encode(model))
    fields["cache_salt"] = msgspec.Raw(_encode(cache_salt))
    if kind is RESPONSES:
        fields["store"] = _FALSE
    elif request.stream:
        options = fields.get("stream_options")
        fields["stream_options"] = _with_usage(options, request.wants_usage)
    return _encode(fields)


def _read(raw: bytes) -> dict[str, msgspec.Raw]:
    try:
        if not raw.isascii():
            raw.decode()  # values that stay bytes are not checked by the decoder
        fields = _fields.decode(raw)
        if b"\\u" in raw and _SURROGATE.search(raw):
            msgspec.json.decode(raw)  # half of a pair is no character; tokenizers fail on it
    except UnicodeDecodeError:
        raise InvalidRequest("The request body is not valid UTF-8.", code="invalid_json") from None
    except RecursionError:
        raise InvalidRequest(
            "The request body is nested too deeply.", code="invalid_json"
        ) from None
    except msgspec.ValidationError:
        raise InvalidRequest(
            "The request body is not a JSON object: expected {…} with the request's fields.",
            code="invalid_json",
        ) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(
            f"We could not parse the JSON body of your request: {error}.", code="invalid_json"
        ) from None
    return fields


def _refuse(fields: dict[str, msgspec.Raw]) -> None:
    for name in _REFUSED & fields.keys():
        if bytes(fields[name]) not in _NOTHING:
            raise InvalidRequest(
                f"'{name}' is not supported: {REFUSED[name]}.",
                param=name,
                code="unsupported_parameter",
            )


def _range(fields: dict[str, msgspec.Raw]) -> None:
    for name in _INTEGERS & fields.keys():
        if _TOO_LONG.search(bytes(fields[name])):
            raise InvalidRequest(
                f"Invalid '{name}': expected integers of at most 18 digits.",
                param=name,
                code="invalid_value",
            )


def _bound(fields: dict[str, msgspec.Raw], most: int) -> None:
    for name, value in fields.items():
        if name not in LONG and len(bytes(value)) > most:
            raise InvalidRequest(
                f"'{name[:100]}' is too long: {len(bytes(value))} bytes of JSON, at most {most}.",
                param=name[:100],
                code="field_too_long",
            )


def _require(fields: dict[str, msgspec.Raw], kind: Kind) -> None:
    name = kind.prompt_field
    raw = fields.get(name)
    if raw is None:
        if kind is EMBEDDINGS and "messages" in fields:
            return
        raise InvalidRequest(
            f"Missing required parameter: '{name}'.",
            param=name,
            code="missing_required_parameter",
        )
    text = bytes(raw)
    if kind is CHAT and not text.startswith(b"["):
        raise InvalidRequest(
            f"Invalid type for '{name}': expected an array of messages.",
            param=name,
            code="invalid_type",
        )
    if text.startswith(b"[") and not text[1:-1].strip():
        raise InvalidRequest(
            f"Invalid '{name}': empty array. Expected an array with at least one message.",
            param=name,
            code="empty_array",
        )


def _check_sequences(fields: dict[str, msgspec.Raw], kind: Kind, most: int) -> None:
    """Answers wanted, over all prompts: each is a place in the engine's batch, so one request must
    not take them all. vLLM's own bounds are 16,384 and 1,024 prompts."""
    raw = fields.get("n")
    wanted = 1 if raw is None else (_typed(_whole, raw, "n", "an integer") or 1)
    param = "n"
    prompt = fields.get("prompt") if kind.prompt_field == "prompt" else None
    if prompt is not None:
        text = bytes(prompt)
        if text[1:].lstrip()[:1] in (b'"', b"[") and text.startswith(b"["):
            prompts = len(_typed(_items, prompt, "prompt", "a string or an array"))
            wanted, param = wanted * prompts, "n" if wanted > most else "prompt"
    if wanted > most:
        raise InvalidRequest(
            f"Too many answers from one request: 'n' times the number of prompts is {wanted}, "
            f"at most {most}.",
            param=param,
            code="too_many_choices",
        )


def _check_embeddings(fields: dict[str, msgspec.Raw], stream: bool) -> None:
    if stream:
        raise InvalidRequest(
            "Embeddings do not stream.", param="stream", code="unsupported_parameter"
        )
    if bytes(fields.get("encoding_format", b"null")) not in _ENCODINGS:
        raise InvalidRequest(
            "Invalid 'encoding_format': expected 'float' or 'base64'.",
            param="encoding_format",
            code="invalid_value",
        )


def _typed(decoder: msgspec.json.Decoder[_T], raw: msgspec.Raw, param: str, expected: str) -> _T:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            f"Invalid type for '{param}': expected {expected}.", param=param, code="invalid_type"
        ) from None


def _asks_for_usage(options: msgspec.Raw) -> bool:
    fields = _options(options)
    return "include_usage" in fields and bool(
        _typed(_flag, fields["include_usage"], "stream_options.include_usage", "a boolean")
    )


def _with_usage(options: msgspec.Raw | None, shown: bool) -> msgspec.Raw:
    if options is None:
        return _USAGE_ON
    fields = _options(options)
    if not shown:  # usage in each chunk is for those who see it
        fields.pop("continuous_usage_stats", None)
    fields["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(_encode(fields))


def _options(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    return _typed(_nullable_fields, raw, "stream_options", "an object") or {}
