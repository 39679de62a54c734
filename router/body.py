"""Request bodies: reading what routing needs, and writing what the engine gets. Pure.

Only the top level is taken apart; every value stays the bytes that the client sent, so that each
field that the engine knows passes through and nothing is lost in translation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from router.errors import InvalidRequest

_T = TypeVar("_T")

STRIPPED: dict[str, str] = {
    "cache_salt": "separates tenants' prefix caches; the router sets the tenant's own",
    "priority": "would jump the engine's queue past other tenants",
    "request_id": "names the request inside the engine; ids are the router's to give",
    "session_id": "ties requests together inside the engine, across tenants",
    "kv_transfer_params": "makes the engine fetch caches from hosts that the client names",
    "ec_transfer_params": "the same, for encoder caches",
    "vllm_xargs": "arguments for engine plugins, which trust whoever sends them",
    "lora_request": "would name an adapter past the router's choice",
    "mm_payload": "hands preprocessed tensors to the engine unchecked",
    "media_io_kwargs": "options of the engine's media loaders, memory included",
    "mm_processor_kwargs": "options of the engine's image processors, memory included",
}
"""Fields that steer the engine's insides, and why no client may set them. Dropped silently: SDKs of
other platforms send some of them by habit."""

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str | None)
_flag = msgspec.json.Decoder(bool | None)
_nullable_fields = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_encode = msgspec.json.encode
_USAGE_ON = msgspec.Raw(b'{"include_usage":true}')


@dataclass(slots=True)
class Request:
    """A chat or text completion request. `model` is None when the client named none."""

    fields: dict[str, msgspec.Raw]
    model: str | None
    stream: bool
    wants_usage: bool
    """Whether a stream's client asked for the usage chunk."""

    @property
    def messages(self) -> bytes:
        """The conversation as sent, JSON; empty for a text completion."""
        raw = self.fields.get("messages")
        return b"" if raw is None else bytes(raw)


def parse(raw: bytes, prompt_field: str = "messages") -> Request:
    """Read a body. `prompt_field` is the field that holds the prompt. Raises InvalidRequest."""
    try:
        if not raw.isascii():
            raw.decode()  # values that stay bytes are not checked by the decoder
        fields = _fields.decode(raw)
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
    if prompt_field == "messages":
        _require_messages(fields.get("messages"))
    elif prompt_field not in fields:
        raise InvalidRequest(
            f"Missing required parameter: '{prompt_field}'.",
            param=prompt_field,
            code="missing_required_parameter",
        )
    raw_stream = fields.get("stream")
    stream = raw_stream is not None and bool(_typed(_flag, raw_stream, "stream", "a boolean"))
    raw_model = fields.get("model")
    model = None if raw_model is None else _typed(_string, raw_model, "model", "a string")
    options = fields.get("stream_options")
    return Request(
        fields=fields,
        model=model or None,
        stream=stream,
        wants_usage=stream and options is not None and _asks_for_usage(options),
    )


def for_engine(request: Request, model: str, cache_salt: str) -> bytes:
    """The body that an engine gets: its own name for the model, the tenant's salt, and usage always
    accounted, so that a stream's tokens are known even when its client didn't ask."""
    fields = {k: v for k, v in request.fields.items() if k not in STRIPPED}
    fields["model"] = msgspec.Raw(_encode(model))
    fields["cache_salt"] = msgspec.Raw(_encode(cache_salt))
    if request.stream:
        fields["stream_options"] = _with_usage(fields.get("stream_options"))
    return _encode(fields)


def _require_messages(raw: msgspec.Raw | None) -> None:
    if raw is None:
        raise InvalidRequest(
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    if not _typed(_items, raw, "messages", "an array of messages"):
        raise InvalidRequest(
            "Invalid 'messages': empty array. Expected an array with at least one message.",
            param="messages",
            code="empty_array",
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


def _with_usage(options: msgspec.Raw | None) -> msgspec.Raw:
    if options is None:
        return _USAGE_ON
    fields = _options(options)
    if not fields:
        return _USAGE_ON
    fields["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(_encode(fields))


def _options(raw: msgspec.Raw) -> dict[str, msgspec.Raw]:
    return _typed(_nullable_fields, raw, "stream_options", "an object") or {}
