"""A scribe: one thread that does, one after another, what blocks on the registry.

A thread of its own, because a database that hangs holds whoever asks it: the event loop's usual
threads also look up engines' addresses and read snapshots. And a daemon, because a process must be
able to end while its database does not answer. What is given up (cancelled) before its turn is not
done; what has begun can't be stopped, and is finished with nobody waiting.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

_T = TypeVar("_T")
_MOST = 128


class Busy(Exception):
    """Too many tasks wait: what they ask for hangs."""


class Scribe:
    """`do` from an event loop. The thread starts with the first task and ends with the process, or
    with `close`, once it is through. At most 128 tasks wait, given up ones among them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread: threading.Thread | None = None

    async def do(self, task: Callable[[], _T]) -> _T:
        """What the task returns, or raises. Raises Busy."""
        if self._tasks.qsize() >= _MOST:
            raise Busy
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[_T] = Future()
        self._tasks.put((future, task))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Nothing more will come. Doesn't wait."""
        self._tasks.put(None)

    def _run(self) -> None:
        while (given := self._tasks.get()) is not None:
            future, task = given
            del given
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(task())
            except BaseException as error:
                future.set_exception(error)
            del future, task  # what they hold is not kept until the next one comes
