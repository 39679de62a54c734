"""Drain: how a router process ends, on top of uvicorn's server.

A signal first only makes `/ready` refuse and answers carry `Connection: close`, for
`drain_grace_s`: load balancers notice, and what they still send is served. Then nobody new is let
in, and requests under way get `drain_s`. Those that still run are cut off, and their clients told:
`cut_off` says in their task that this is why it was cancelled. A second signal cuts off at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Generator
from types import FrameType

import structlog
import uvicorn

from router.health import Health
from router.http import CUT_OFF
from router.reception import sweep
from router.settings import RouterSettings

_log = structlog.get_logger("router.drain")
_STEP_S = 0.02
_ON_ITS_WAY_S = 0.5
"""A client that sends just as its idle connection is closed can't know what became of it. One that
goes on asking is told by an answer's `Connection: close` within this time."""
_LAST_WORDS_S = 1.0
"""For the errors of requests that are cut off to reach their clients."""


class DrainingServer(uvicorn.Server):
    """uvicorn's server with an end of our own."""

    def __init__(self, config: uvicorn.Config, health: Health, settings: RouterSettings) -> None:
        super().__init__(config)
        self._health = health
        self._settings = settings

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks for a drain, the second for the end."""
        self.force_exit = self.should_exit
        self.ask_to_end()

    def ask_to_end(self) -> None:
        """Begin to drain; callable from any thread."""
        self._health.draining = True
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; every tenth time, look for clients that keep us waiting."""
        if counter % 10 == 0:
            now = asyncio.get_running_loop().time()
            sweep(self.server_state.connections, self._settings, now)
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """uvicorn would raise the signals again afterwards, and the process would die of them
        before whoever composed it could close what it opened and exit with 0."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()

    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Drain, then end."""
        state = self.server_state
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        for connection in list(state.connections):
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_started:
                cycle.keep_alive = False  # and its head says so
        if self._settings.drain_grace_s > 0:
            await self._wait(self._settings.drain_grace_s, lambda: False)
        for server in self.servers:
            server.close()
        if not await self._wait(self._settings.drain_s, self._closing_idle()):
            await self._cut_off()
        if self.force_exit:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self.lifespan.shutdown()
        else:
            await self.lifespan.shutdown()

    def _closing_idle(self) -> Callable[[], bool]:
        """Closes what has been idle for a while, each time it is asked; whether nothing is left."""
        idle: dict[object, tuple[object, float]] = {}

        def over() -> bool:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                cycle = getattr(connection, "cycle", None)
                if cycle is not None and not cycle.response_complete:
                    continue
                after, since = idle.setdefault(connection, (cycle, now))
                if after is not cycle:
                    idle[connection] = cycle, now
                elif now - since >= _ON_ITS_WAY_S:
                    connection.shutdown()
            return self._idle()

        return over

    def _idle(self) -> bool:
        return not self.server_state.connections and not self.server_state.tasks

    async def _wait(self, seconds: float, over: Callable[[], bool]) -> bool:
        """Whether it was over within this time."""
        deadline = time.monotonic() + seconds
        while not over():
            if self.force_exit or time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_STEP_S)
        return True

    async def _cut_off(self) -> None:
        tasks = list(self.server_state.tasks)
        _log.warning("requests cut off: they outlasted the drain", count=len(tasks))
        for task in tasks:
            task.cancel(CUT_OFF)
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_WORDS_S)
        for task in list(self.server_state.tasks):  # its client reads nothing: no last words
            task.cancel()
        for connection in list(self.server_state.connections):
            connection.transport.close()
        await asyncio.sleep(0)
