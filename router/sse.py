"""Server-sent events, on their way from an engine to a client. Pure: bytes in, bytes out.

The bytes may be cut anywhere; what comes out is always whole events. Each chunk of one answer
begins with the same bytes up to its choices (`data: {"id":…,"object":…,"created":…,"model":"…",`),
so once one chunk was taken apart and its model checked, that beginning is swapped in those that
follow and the rest is not looked into. An event that begins otherwise, or says something that must
be known (usage, why it finished, an error, who speaks), is taken apart again.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from router.answer import BROKEN, Names, Outcome, decode, rename
from router.errors import ApiError, EngineFailed

_END = b"\n\n"
_BOM = b"\xef\xbb\xbf"
_DONE = b"[DONE]"
_TELLING = (b'"usage":', b'"finish_reason":"', b'"error":', b'"role":"')
_HEAD = re.compile(rb'data: \{(?:"(?:id|object|created|model)":(?:"[^"\\]*"|\d+),)+')
LONGEST_EVENT = 16 << 20


class StreamBroken(EngineFailed):
    """The stream stopped before its end was said, or what came is not a stream of completions."""

    code = "stream_interrupted"


class Events:
    """Bytes, cut anywhere, made into blocks of whole events whose lines end in line feeds."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._held = 0
        self._tail = b""
        self._begun = False
        self._returned = False
        """Whether the last byte was a carriage return: a line feed next to it is part of it."""

    def feed(self, data: bytes) -> bytes:
        """The events that are whole now, b"" for none. Raises StreamBroken."""
        if not self._begun:
            data = b"".join((*self._rest, data))
            self._rest = []
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._rest = [data]
                return b""
            data = data.removeprefix(_BOM)
            self._begun = True
        if self._returned:
            self._returned = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._returned = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        at = data.rfind(_END)
        if at >= 0:
            end = at + 2
        elif self._tail == b"\n" and data.startswith(b"\n"):
            end = 1
        else:
            self._hold(data)
            return b""
        block = b"".join((*self._rest, data[:end])) if self._rest else data[:end]
        self._rest, self._held, self._tail = [], 0, b""
        if end < len(data):
            self._hold(data[end:])
        return block

    def _hold(self, data: bytes) -> None:
        if data:
            self._rest.append(data)
            self._held += len(data)
            self._tail = data[-1:]
            if self._held > LONGEST_EVENT:
                raise StreamBroken("The engine sent an event without an end.")


def events(block: bytes) -> Iterator[bytes]:
    """The events of a block, without what ends them."""
    for event in block.split(_END):
        event = event.strip(b"\n")
        if event:
            yield event


def payload(event: bytes) -> bytes | None:
    """An event's data: its lines joined; None when it has none (a comment, such as a ping)."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [
        line[5:].removeprefix(b" ")
        for line in event.split(b"\n")
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(lines) if lines else None


class Relay:
    """One stream. `feed` the engine's bytes and send on what it returns.

    `outcome` fills as events say so. `done` is True from `[DONE]` on: only such a stream ended
    well. `broken` is set when it can't go on; `last` of it is then what the client gets last.
    """

    def __init__(self, names: Names, show_usage: bool, tokens_a_chunk: int = 1) -> None:
        self.outcome = Outcome()
        self.done = False
        self.broken: EngineFailed | None = None
        self._names = names
        self._show_usage = show_usage
        self._tokens = tokens_a_chunk
        self._events = Events()
        self._checked = False
        """Whether an event named the model."""
        self._head = b""
        self._ours = b""

    def feed(self, data: bytes) -> bytes:
        """Whole events, renamed, as far as the bytes go, or until the stream is done or broken."""
        if self.done or self.broken is not None:
            return b""
        out: list[bytes] = []
        try:
            block = self._events.feed(data)
            if not block:
                return b""
            chunks = self._plain(block)
            if chunks:
                self.outcome.count(chunks * self._tokens)
                return block.replace(self._head, self._ours)
            for event in events(block):
                out.append(self._event(event))
                if self.done:
                    break
        except EngineFailed as error:
            self.broken = error
        return b"".join(out)

    def last(self, error: ApiError) -> bytes:
        """The SDK raises APIError on an event with a top-level `error`; usage is the one so far."""
        outcome = self.outcome
        usage = {
            "prompt_tokens": outcome.prompt_tokens,
            "completion_tokens": outcome.completion_tokens,
            "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
            "estimated": not outcome.told,
        }
        body = {"error": error.detail() | {"usage": usage}, "usage": usage}
        return b"data: " + msgspec.json.encode(body) + _END

    def _plain(self, block: bytes) -> int:
        """How many events there are, if each begins as the checked one did and none says anything
        to take note of; else 0.

        Neither quotes nor line feeds can be raw inside a JSON string, so no text that a model
        writes looks like a beginning, an end or a field.
        """
        head = self._head
        if not head or not block.startswith(head):
            return 0
        found = block.count(head)
        if found != block.count(_END) or any(word in block for word in _TELLING):
            return 0
        return found

    def _event(self, event: bytes) -> bytes:
        data = payload(event)
        if data is None:
            return event + _END
        if data.strip() == _DONE:
            if not self._checked:
                raise StreamBroken("The engine's stream ended before it began.")
            self.done = True
            return b"data: [DONE]\n\n"
        try:
            fields = decode(data)
            if says(fields, "error"):
                raise EngineFailed("The engine failed while it wrote the answer.")
            renamed = rename(fields, self._names)
            self._checked = True
            self.outcome.count(self.outcome.take(fields) * self._tokens)
        except BROKEN:
            raise StreamBroken("The engine sent an event that is not a completion chunk.") from None
        if not self._head:
            self._learn(event, b"data: " + renamed)
        if not self._show_usage and says(fields, "usage"):
            if not says(fields, "choices"):
                return b""
            del fields["usage"]
            renamed = msgspec.json.encode(fields)
        return b"data: " + renamed + _END

    def _learn(self, event: bytes, out: bytes) -> None:
        theirs, ours = _HEAD.match(event), _HEAD.match(out)
        if theirs and ours and all(k in theirs[0] for k in (b'"id":"', b'"model":"')):
            self._head, self._ours = theirs[0], ours[0]


def says(fields: dict[str, msgspec.Raw], name: str) -> bool:
    """Whether a field is there and holds something."""
    raw = fields.get(name)
    return raw is not None and bytes(raw) not in (b"null", b"[]")
