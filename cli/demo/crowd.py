"""A crowd: clients that ask without pause, each on behalf of a tenant, and what they saw.

Closed loop: a client asks again as soon as it has its answer. Told to wait by Retry-After, it does,
but no longer than `PATIENCE_S`, so that the way back is seen to the half second.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cli.demo.client import Message, Reply, ask, connect

PATIENCE_S = 0.5


@dataclass(frozen=True)
class Part:
    """One client: whom it speaks for, what it asks."""

    tenant: str
    key: str
    model: str
    prompts: Sequence[Sequence[Message]]
    max_tokens: int


@dataclass
class Crowd:
    """Runs in a thread of its own between `start` and `stop`; `replies` grows meanwhile."""

    url: str
    parts: Sequence[Part]
    timeout: float = 60.0
    replies: list[Reply] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _failure: BaseException | None = None

    def start(self) -> None:
        """Begin asking."""
        self._thread = threading.Thread(target=self._run, name="crowd", daemon=True)
        self._thread.start()

    def stop(self) -> list[Reply]:
        """Let every client have its last answer; all replies in the order in which they ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise self._failure
        return sorted(self.replies, key=lambda reply: reply.ended)

    def wait_for(self, count: int, timeout: float = 30.0) -> None:
        """Until so many answers more have come, or the time is over."""
        goal, deadline = len(self.replies) + count, time.monotonic() + timeout
        while len(self.replies) < goal and time.monotonic() < deadline and self._failure is None:
            time.sleep(0.02)

    def _run(self) -> None:
        try:
            asyncio.run(self._all())
        except BaseException as error:
            self._failure = error  # raised again by `stop`, on the caller's thread

    async def _all(self) -> None:
        await asyncio.gather(*(self._one(n, part) for n, part in enumerate(self.parts)))

    async def _one(self, number: int, part: Part) -> None:
        start = (number * 7) % max(1, len(part.prompts))
        prompts = itertools.cycle([*part.prompts[start:], *part.prompts[:start]])
        async with connect(self.url, part.key, timeout=self.timeout) as client:
            while not self._stop.is_set():
                reply = await ask(
                    client, part.tenant, part.model, next(prompts), max_tokens=part.max_tokens
                )
                self.replies.append(reply)
                if not reply.good:
                    await asyncio.sleep(min(PATIENCE_S, reply.retry_after or PATIENCE_S))


def longest_gap(replies: Sequence[Reply]) -> float:
    """The longest time, in seconds, in which no client at all got an answer."""
    ends = sorted(reply.ended for reply in replies if reply.good)
    return max((b - a for a, b in itertools.pairwise(ends)), default=0.0)


def slowest(replies: Sequence[Reply]) -> float:
    """The longest that one client waited for one answer, in seconds."""
    return max((reply.seconds for reply in replies), default=0.0)
