"""Health: whether the process lives, and whether it should get requests. Two different questions.

It lives as long as its event loop turns and its loops in the background have not ended: a restart
would mend nothing else. Much to do, a database that is away, engines that are away: no reason to
kill a router, which would only move its load and lose what is under way. It is ready while it can
answer: not before it knows the registry, not without an engine, not once it was told to end.

Knows clocks, tasks and a view; nothing about requests.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from monitoring.metrics import Metrics
from router.errors import ApiError, EngineUnavailable, RegistryUnavailable, ShuttingDown
from router.view import View

_TICK_S = 0.1
_WINDOW_S = 15.0
"""A stall is shown for at least so long, that no scrape may miss it."""
_REPORT_S = 1.0


class Health:
    """`trouble` may be asked from any thread. `on_turn` is called about once a second by the event
    loop. `clock` is monotonic seconds."""

    def __init__(
        self,
        metrics: Metrics,
        stall_s: float,
        *,
        on_turn: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.draining = False
        self.lag_s = 0.0
        """The longest stall of the event loop in the last 15 to 30 seconds."""
        self._stall_s = stall_s
        self._on_turn = on_turn
        self._clock = clock
        self._turned_at: float | None = None
        self._loops: dict[str, asyncio.Task[None]] = {}
        self._worst = [0.0, 0.0]  # this window's and the last one's
        self._window_at = 0.0
        self._reported_at = 0.0
        self._gauge = metrics.event_loop_lag_seconds

    def watch(self, name: str, loop: asyncio.Task[None]) -> None:
        """From now on this loop's end is the end of a healthy process."""
        self._loops[name] = loop

    def trouble(self) -> str | None:
        """What a restart would mend, or None."""
        for name, loop in self._loops.items():
            if loop.done() and not self.draining:
                return f"the {name} loop ended"
        if self._turned_at is not None:
            silent = self._clock() - self._turned_at
            if silent > self._stall_s:
                return f"the event loop has not turned for {silent:.0f} s"
        return None

    def not_ready(self, view: View, retry_after_s: float) -> ApiError | None:
        """Why no request should come here now, or None."""
        if self.draining:
            return ShuttingDown(retry_after_s=retry_after_s)
        if not view.loaded:
            return RegistryUnavailable(
                "The registry was never read: the router does not know its tenants yet.",
                retry_after_s=retry_after_s,
            )
        if not view.ready:
            return EngineUnavailable("No engine is ready.", retry_after_s=retry_after_s)
        return None

    async def run(self) -> None:
        """Turn for ever, and measure how late each turn comes."""
        try:
            due = self._clock()
            while True:
                self.turn(self._clock() - due)
                due = self._clock() + _TICK_S
                await asyncio.sleep(_TICK_S)
        finally:
            self._turned_at = None

    def turn(self, late_s: float) -> None:
        """One turn of the event loop, so many seconds later than it was due."""
        now = self._turned_at = self._clock()
        if now - self._window_at > _WINDOW_S:
            self._window_at = now
            self._worst = [0.0, self._worst[0]]
        self._worst[0] = max(self._worst[0], late_s)
        self.lag_s = max(self._worst)
        self._gauge.set(self.lag_s)
        if self._on_turn is not None and now - self._reported_at >= _REPORT_S:
            self._reported_at = now
            self._on_turn()
