"""Reception: clients' connections, before there is a request and while nobody works on one.

What uvicorn's protocol leaves open. Bytes that are no HTTP are refused in OpenAI's shape. A head is
bounded in size. A wish to change protocols is not granted, and the request served all the same:
some clients send one with every first request, and its body must not get lost. Fields behind a body
are not taken for the head's. And patience ends: `sweep` finds clients that don't finish a head or a
body, or don't read their answer, without a timer for each request.

Knows uvicorn's connections; nothing about tenants or models.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from router.errors import ApiError, HeadTooLarge, InvalidHttp
from router.http import JSON, LATE, new_id
from router.settings import RouterSettings

LONGEST_HEAD = 64 << 10
"""Bytes. The parser takes a value apart from as many pieces as it came in, at the square of their
number: without a bound, one slow header would take all of a core, and many all of the memory."""
_UPGRADE = (b"upgrade", b"connection", b"http2-settings")
_HEAD, _BODY, _REST, _ANSWER, _CLOSING = range(5)

_LINGER_S = 1.0
"""How long what a refused client still sends is read and thrown away."""
Refused = Callable[[str, ApiError], None]
"""Called with the id of a request that was refused before it was one."""


class Reception(HttpToolsProtocol):
    """A connection. Give `refused` by functools.partial: uvicorn makes these."""

    def __init__(self, *args: Any, refused: Refused, **named: Any) -> None:
        super().__init__(*args, **named)
        self.waits_for: tuple[int, object] | None = None
        """What it waited for when it was last looked at, and in which request."""
        self.waits_since = 0.0
        """Since when, on the loop's clock."""
        self._refused = refused
        self._head = 0
        self._lingers = False

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._lingers:
            return
        self._unset_keepalive_if_required()
        before = self.scope
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._stay(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.refuse(InvalidHttp())
            return
        if self.scope is not before or (self.cycle is not None and self.cycle.scope is before):
            self._head = 0  # another head than the one in the last piece, or none
        else:
            self._head += len(data)
            if self._head > LONGEST_HEAD:
                self.refuse(HeadTooLarge(LONGEST_HEAD))

    def on_headers_complete(self) -> None:
        """A request begins, unless it asks for another protocol first."""
        if self.parser.should_upgrade():
            return
        super().on_headers_complete()
        self.headers = []  # where fields behind the body go

    def on_message_complete(self) -> None:
        """The body is complete."""
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def refuse(self, error: ApiError) -> None:
        """Answer what is no request, and close. In the middle of another answer: only close."""
        if self.transport.is_closing() or self._lingers:
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            request_id = new_id()
            self._refused(request_id, error)
            body = error.body()
            lines = [b"HTTP/1.1 %d %s" % (error.status, _PHRASES[error.status])]
            lines += [b"%s: %s" % each for each in (*self.server_state.default_headers, JSON)]
            lines += [b"x-request-id: req_" + request_id.encode()]
            lines += [b"content-length: %d" % len(body), b"connection: close", b"", body]
            self.transport.write(b"\r\n".join(lines))
            if self.transport.can_write_eof():
                # Closing now, with bytes unread, would reset the connection, and the answer would
                # be lost on a client that is still sending (RFC 9112, 9.6).
                self.transport.write_eof()
                self._lingers = True
                if self.cycle is not None and not self.cycle.response_complete:
                    self.cycle.disconnected = True  # nothing more can be said here
                    self.cycle.message_event.set()
                self.loop.call_later(_LINGER_S, self.transport.abort)
                return
        self.transport.close()

    def _stay(self, rest: bytes) -> None:
        """Serve the request that asked for another protocol in this one (RFC 9110, 7.8)."""
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.refuse(InvalidHttp())
            return
        lines = [b"%s %s HTTP/1.1" % (method, self.url)]
        lines += [b"%s: %s" % each for each in self.headers if each[0] not in _UPGRADE]
        if any(n == b"connection" and b"close" in v.lower() for n, v in self.headers):
            lines.append(b"connection: close")
        self.parser = httptools.HttpRequestParser(self)
        with contextlib.suppress(AttributeError):  # as uvicorn does it
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join([*lines, b"", rest]))


_PHRASES = {InvalidHttp.status: b"Bad Request", HeadTooLarge.status: b"Header Fields Too Large"}


def sweep(connections: Iterable[Any], settings: RouterSettings, now: float) -> None:
    """Now and then: end what waits for a client for too long. `now` is on the loop's clock."""
    limits = {
        _HEAD: settings.head_timeout_s,
        _BODY: settings.body_timeout_s,
        _REST: settings.body_timeout_s,
        _ANSWER: settings.answer_timeout_s,
        _CLOSING: settings.answer_timeout_s,
    }
    for connection in list(connections):
        if not isinstance(connection, Reception):
            continue
        waits_for = _waits_for(connection)
        if waits_for != connection.waits_for:
            connection.waits_for, connection.waits_since = waits_for, now
        elif waits_for is not None and now - connection.waits_since >= limits[waits_for[0]]:
            if waits_for[0] == _BODY:
                _say_late(connection.cycle)
            else:
                connection.transport.abort()


def _waits_for(connection: Reception) -> tuple[int, object] | None:
    cycle = connection.cycle
    if connection.transport.is_closing():
        return _CLOSING, cycle
    if cycle is None:
        return _HEAD, None
    if not cycle.response_complete:
        if connection.flow.write_paused:
            return _ANSWER, _progress(connection)
        return (_BODY, cycle) if cycle.more_body else None
    if connection.timeout_keep_alive_task is not None:
        return None
    return (_REST, cycle) if cycle.more_body else (_HEAD, cycle)


def _progress(connection: Reception) -> tuple[object, int]:
    """An answer that is being read, slowly, is not one that nobody reads."""
    return connection.cycle, connection.transport.get_write_buffer_size()


def _say_late(cycle: RequestResponseCycle) -> None:
    """Whoever reads the body finds out, and answers (router.http.read_body)."""
    cycle.scope[LATE] = True  # type: ignore[literal-required]
    cycle.message_event.set()
