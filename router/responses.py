"""`/v1/responses`: an engine's response object, and its stream of named events. Pure.

The object names the model and itself; in a stream it comes nested in `response.created`,
`response.in_progress` and the event that ends it. All other events carry neither name and pass as
they are. There is no `[DONE]`: a stream ended well when it said `response.completed` (or
`.incomplete`: that is what it calls an answer cut short).

Nothing is kept: vLLM would hold responses in one engine's memory, unbounded, for whoever knows an
id. So there is no background mode and nothing to get, continue or cancel by id.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import re

import msgspec

from router.answer import BROKEN, Names, Outcome, decode, rename
from router.errors import ApiError, EngineFailed
from router.sse import Events, StreamBroken, events, payload

_NESTED = b'"response":'
_ERROR = (b'"error":', b'"type":"error"', b'"type": "error"')
_DELTA = re.compile(rb'"type": ?"response\.[a-z_.]+\.delta"')
_SEQUENCE = re.compile(rb'"sequence_number": ?(\d+)')
_GOOD_ENDS = ("response.completed", "response.incomplete")
_BAD_ENDS = ("response.failed", "response.cancelled")
_FAILED = (b'"failed"', b'"cancelled"')
_encode = msgspec.json.encode
_string = msgspec.json.Decoder(str)


class _Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


_usage = msgspec.json.Decoder(_Usage | None)


def whole(data: bytes, names: Names) -> tuple[bytes, Outcome]:
    """A response object for the client. Raises EngineFailed."""
    outcome = Outcome()
    try:
        fields = decode(data)
        renamed = rename(fields, names)
        _take(fields, outcome)
    except BROKEN:
        raise EngineFailed("The engine's answer was not a response object.") from None
    return renamed, outcome


def _take(response: dict[str, msgspec.Raw], outcome: Outcome) -> None:
    """Note usage and status. Raises EngineFailed, or one of BROKEN."""
    raw = response.get("usage")
    if raw is not None:
        usage = _usage.decode(raw)
        if usage is not None:
            outcome.tell(usage.input_tokens, usage.output_tokens)
    raw = response.get("status")
    if raw is not None:
        if bytes(raw) in _FAILED:
            raise EngineFailed("The engine stopped before the answer was complete.")
        status = _string.decode(raw)
        outcome.finish_reason = {"completed": "stop", "incomplete": "length"}.get(status)


class Relay:
    """One stream, as `router.sse.Relay` is for chunks."""

    def __init__(self, names: Names, show_usage: bool, tokens_a_chunk: int = 1) -> None:
        del show_usage  # it is part of the object, always
        self.outcome = Outcome()
        self.done = False
        self.broken: EngineFailed | None = None
        self._names = names
        self._tokens = tokens_a_chunk
        self._events = Events()
        self._checked = False
        """Whether an event named the model; nothing is passed on before."""
        self._latest = b""

    def feed(self, data: bytes) -> bytes:
        """Whole events, renamed, as far as the bytes go, or until the stream is done or broken."""
        if self.done or self.broken is not None:
            return b""
        out: list[bytes] = []
        try:
            block = self._events.feed(data)
            if not block:
                return b""
            plain = self._checked and _NESTED not in block
            if plain and not any(word in block for word in _ERROR):
                self._latest = block
                self.outcome.count(len(_DELTA.findall(block)) * self._tokens)
                return block
            for event in events(block):
                out.append(self._event(event))
                if self.done:
                    break
        except EngineFailed as error:
            self.broken = error
        return b"".join(out)

    def last(self, error: ApiError) -> bytes:
        """This API's error event, with the usage so far; the top-level `error` makes the SDK
        raise."""
        numbers = _SEQUENCE.findall(self._latest)
        outcome = self.outcome
        usage = {
            "input_tokens": outcome.prompt_tokens,
            "output_tokens": outcome.completion_tokens,
            "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
            "estimated": not outcome.told,
        }
        detail = error.detail()
        body = {
            "type": "error",
            "code": detail["code"],
            "message": detail["message"],
            "param": detail["param"],
            "sequence_number": int(numbers[-1]) + 1 if numbers else 0,
            "error": detail | {"usage": usage},
            "usage": usage,
        }
        return b"event: error\ndata: " + _encode(body) + b"\n\n"

    def _event(self, event: bytes) -> bytes:
        data = payload(event)
        if data is None:
            return event + b"\n\n"
        try:
            fields = decode(data)
            kind = _string.decode(fields["type"])
            if kind in ("error", *_BAD_ENDS) or "error" in fields:
                raise EngineFailed("The engine failed while it wrote the answer.")
            nested = fields.get("response")
            if nested is None:
                if not self._checked:
                    raise StreamBroken("The engine did not say which model answers.")
                self.outcome.count((kind.endswith(".delta")) * self._tokens)
            else:
                response = decode(bytes(nested))
                fields["response"] = msgspec.Raw(rename(response, self._names))
                self._checked = True
                if kind in _GOOD_ENDS:
                    _take(response, self.outcome)
                    self.done = True
        except (*BROKEN, KeyError):
            raise StreamBroken("The engine sent an event that is not of a response.") from None
        self._latest = data
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), _encode(fields))
