"""Server-sent events, on their way from an engine to a client. Pure: bytes in, bytes out.

The bytes may be cut anywhere; what comes out is always whole events. Each chunk of one answer
begins with the same bytes up to its choices (`data: {"id":…,"object":…,"created":…,"model":"…",`),
so once one chunk was taken apart and its model checked, that beginning is swapped in those that
follow and the rest is not looked into. An event that begins otherwise, or says something that must
be known (usage, why it finished, an error), is taken apart again.
"""

from __future__ import annotations

import re

import msgspec

from router.answer import BROKEN, Names, Outcome, decode, rename
from router.errors import EngineFailed

_END = b"\n\n"
_DONE = b"[DONE]"
_TELLING = (b'"usage":', b'"finish_reason":"', b'"error":')
_HEAD = re.compile(rb'data: \{(?:"(?:id|object|created|model)":(?:"[^"\\]*"|\d+),)+')
LONGEST_EVENT = 16 << 20


class StreamBroken(EngineFailed):
    """The stream stopped before `[DONE]`, or what came is not a stream of completions."""

    code = "stream_interrupted"


class Relay:
    """One stream. `feed` the engine's bytes and send on what it returns.

    `outcome` fills as events say so. `done` is True from `[DONE]` on: only such a stream ended
    well. `feed` raises EngineFailed; its `event()` is then what the client gets last.
    """

    def __init__(self, names: Names, *, show_usage: bool) -> None:
        self.outcome = Outcome()
        self.done = False
        self._names = names
        self._show_usage = show_usage
        self._rest = b""
        self._head = b""
        self._ours = b""

    def feed(self, data: bytes) -> bytes:
        """Whole events, renamed, as far as the bytes go."""
        if b"\r" in data or self._rest.endswith(b"\r"):
            data, self._rest = self._rest + data, b""
            held = b"\r" if data.endswith(b"\r") else b""  # its line feed may come next
            data = data.removesuffix(b"\r").replace(b"\r\n", b"\n") + held
        elif self._rest:
            data, self._rest = self._rest + data, b""
        end = data.rfind(_END) + 2
        if end < 2:
            if len(data) > LONGEST_EVENT:
                raise StreamBroken("The engine sent an event without an end.")
            self._rest = data
            return b""
        self._rest = data[end:]
        block = data[:end]
        if self._plain(block):
            return block.replace(self._head, self._ours)
        return b"".join([self._event(event) for event in block.split(_END) if event])

    def _plain(self, block: bytes) -> bool:
        """Whether every event begins as the checked one did and says nothing to take note of.

        Neither quotes nor line feeds can be raw inside a JSON string, so no text that a model
        writes looks like a beginning, an end or a field.
        """
        head = self._head
        return (
            bool(head)
            and block.startswith(head)
            and block.count(head) == block.count(_END)
            and not any(word in block for word in _TELLING)
            and not self.done
        )

    def _event(self, event: bytes) -> bytes:
        if self.done:
            return b""
        lines = event.split(b"\n")
        data = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
        if not data:
            return event + _END  # a comment, such as a keep-alive
        payload = b"\n".join(data)
        if payload.strip() == _DONE:
            self.done = True
            return b"data: [DONE]\n\n"
        try:
            fields = decode(payload)
            if _says(fields, "error"):
                raise EngineFailed("The engine failed while it wrote the answer.")
            renamed = rename(fields, self._names)
            self.outcome.take(fields)
        except BROKEN:
            raise StreamBroken("The engine sent an event that is not a completion chunk.") from None
        out = b"data: " + renamed + _END
        if not self._head:
            self._learn(event, out)
        if not self._show_usage and _says(fields, "usage") and not _says(fields, "choices"):
            return b""
        return out

    def _learn(self, event: bytes, out: bytes) -> None:
        theirs, ours = _HEAD.match(event), _HEAD.match(out)
        if theirs and ours and all(k in theirs[0] for k in (b'"id":"', b'"model":"')):
            self._head, self._ours = theirs[0], ours[0]


def _says(fields: dict[str, msgspec.Raw], name: str) -> bool:
    """Whether a field is there and holds something."""
    raw = fields.get(name)
    return raw is not None and bytes(raw) not in (b"null", b"[]")
