"""A streamed chat, read event by event: its text, its tokens, and when they came.

Knows server-sent events as OpenAI's API has them; nothing about addresses, keys or retries.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_SPOKEN = ("content", "reasoning", "reasoning_content")
"""Parts of a delta that are tokens; a model that thinks first has begun by then."""


class BrokenStream(Exception):
    """A stream that ended before its answer did, or that is none."""


@dataclass(frozen=True)
class Streamed:
    """One answer. Times are milliseconds since the request: `ttft_ms` to the first token, `end_ms`
    to the event that says why it ended, which comes with the last token, `latency_ms` to the last
    byte. Tokens are 0 where the server counts none."""

    model: Any
    text: str
    prompt_tokens: int
    completion_tokens: int
    ttft_ms: float
    end_ms: float
    latency_ms: float

    @property
    def inter_token_ms(self) -> float | None:
        """The mean time from one token to the next: an event may hold several tokens, so that the
        time between events would not be it. None for fewer than two tokens."""
        steps = self.completion_tokens - 1
        return (self.end_ms - self.ttft_ms) / steps if steps > 0 else None


def read(lines: Iterable[bytes], started: float) -> Streamed:
    """The one choice of a stream; `started` is time.perf_counter() when it was asked for.

    Raises BrokenStream for an error event, a stream without its end or without the reason why the
    answer ended, and for an engine that gave the answer up ("abort"): a part of an answer must not
    be scored as one. ValueError for an event that is no JSON.
    """
    text: list[str] = []
    usage: dict[str, Any] = {}
    model = finish = None
    first = end = 0.0
    for line in lines:
        name, _, data = line.strip().partition(b":")
        if name != b"data":
            continue
        now = 1000 * (time.perf_counter() - started)
        if data.strip() == b"[DONE]":
            if finish in (None, "abort"):
                raise BrokenStream("the answer was given up: the stream says not why it ended")
            prompt, completion = (
                int(usage.get(f"{what}_tokens") or 0) for what in ("prompt", "completion")
            )
            return Streamed(
                model, "".join(text), prompt, completion, first or end, end, latency_ms=now
            )
        event = json.loads(data)
        if not isinstance(event, dict) or event.get("error"):
            raise BrokenStream(f"the stream broke off: {data.decode('utf-8', 'replace')[:2000]}")
        model = event.get("model", model)
        usage = event.get("usage") or usage
        for choice in event.get("choices") or ():
            if not isinstance(choice, dict):
                raise BrokenStream("the stream holds a choice that is none")
            delta = choice.get("delta") or {}
            if not first and any(delta.get(part) for part in _SPOKEN):
                first = now
            text.append(delta.get("content") or "")
            if choice.get("finish_reason"):
                finish, end = choice["finish_reason"], now
    raise BrokenStream("the stream broke off before its end")
