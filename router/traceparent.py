"""W3C trace context: the `traceparent` header, read and written. Pure.

    00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01

https://www.w3.org/TR/trace-context/#traceparent-header. `tracestate` is not carried on.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED = 0x01
_LOW = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a request's two spans belong: `span` is the router's own, `asked` the one of its
    request to the engine; `parent` is the client's span, 0 where it named none."""

    trace: int
    parent: int
    span: int
    asked: int
    sampled: bool

    def line(self) -> bytes:
        """The header line for the engine, whose spans are then children of ours."""
        flags = _SAMPLED if self.sampled else 0
        return b"traceparent: 00-%032x-%016x-%02x\r\n" % (self.trace, self.asked, flags)


def begin(header: bytes | None, ratio: float) -> Trace:
    """The trace of a request with this header (None: it has none). One that is not valid counts as
    none, as the specification demands.

    A client that says it does not record its trace is followed. Of the others `ratio` (0…1) are
    recorded, chosen by the trace's id as OpenTelemetry's TraceIdRatioBased does, so that every
    service with this ratio chooses the same ones; a client can't make the router record more.
    """
    trace, parent, wanted = _parse(header) or (int.from_bytes(os.urandom(16)), 0, True)
    ids = os.urandom(16)
    return Trace(
        trace=trace,
        parent=parent,
        span=int.from_bytes(ids[:8]) or 1,
        asked=int.from_bytes(ids[8:]) or 1,
        sampled=wanted and (trace & _LOW) < round(ratio * (_LOW + 1)),
    )


def _parse(header: bytes | None) -> tuple[int, int, bool] | None:
    found = None if header is None else _FORM.fullmatch(header)
    if found is None:
        return None
    version, trace, parent, flags = (int(part, 16) for part in found.groups()[:4])
    if version == 0xFF or (version == 0 and found[5]) or not trace or not parent:
        return None
    return trace, parent, bool(flags & _SAMPLED)
