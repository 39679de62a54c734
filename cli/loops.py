"""Running loops of three verbs until a signal comes: the edge at which a failing tick is logged.

Knows signals, pacing and logs; nothing about what a loop does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import structlog

_log = structlog.get_logger()

LONGEST_PAUSE_S = 30.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_event() -> Iterator[asyncio.Event]:
    """An event that SIGINT or SIGTERM sets; from here on they don't end the process themselves."""
    stop = asyncio.Event()
    current = asyncio.get_running_loop()
    for number in _SIGNALS:
        current.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in _SIGNALS:
            current.remove_signal_handler(number)


async def until(stop: asyncio.Event, *loops: Awaitable[None]) -> None:
    """Run loops side by side until the event is set, or until one raises; then cancel them."""
    tasks = [asyncio.ensure_future(loop) for loop in loops]
    waiting = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()  # a loop that ended by itself did so with an error
    finally:
        for task in (*tasks, waiting):
            task.cancel()
        await asyncio.gather(*tasks, waiting, return_exceptions=True)


async def repeat(
    name: str,
    tick: Callable[[], Awaitable[object]],
    interval_s: float,
    fatal: tuple[type[Exception], ...] = (),
) -> None:
    """Tick for ever. An error of `fatal` is raised; any other is logged and the loop goes on, more
    and more slowly while it keeps failing."""
    failures = 0
    while True:
        try:
            await tick()
        except fatal:
            raise
        except Exception:
            failures += 1
            _log.exception("tick_failed", loop=name, failures=failures)
        else:
            failures = 0
        await asyncio.sleep(pause(interval_s, failures))


class Signals:
    """SIGINT and SIGTERM for a loop that is not async: `with Signals() as signals` on the main
    thread; `signals.came` says whether there was one."""

    def __init__(self) -> None:
        self.came = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.came = True


def repeat_blocking(
    name: str, tick: Callable[[], object], interval_s: float, signals: Signals
) -> None:
    """As `repeat`, for a loop that is not async, until a signal came."""
    failures = 0
    while not signals.came:
        try:
            tick()
        except Exception:
            failures += 1
            _log.exception("tick_failed", loop=name, failures=failures)
        else:
            failures = 0
        until = time.monotonic() + pause(interval_s, failures)
        while not signals.came and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, 0.2))  # a signal does not cut a sleep short


def pause(interval_s: float, failures: int) -> float:
    """Seconds until the next tick: doubled with each failure in a row, up to LONGEST_PAUSE_S."""
    if not failures:
        return interval_s
    return min(LONGEST_PAUSE_S, max(interval_s, 0.1) * 2.0 ** min(failures, 20))
