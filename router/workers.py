"""Workers: the parent of several router processes that share one port. It serves nothing itself.

Each worker has a listening socket of its own at the same port (SO_REUSEPORT): the kernel deals
connections out by a hash of their addresses. One socket inherited by all would be simpler, but
whoever wakes first takes what is there: of 64 connections over 4 workers, some got 0 and others up
to 55, where dealing gave each 12 to 23 (measured; clients here keep their connections, so that is
how the load stays). The parent makes the sockets and keeps them open: connections that wait for a
worker that was killed are answered by the next one in its seat.

A worker that ends is started again, at once the first time, later and later if it keeps ending; the
others go on. Its counters stay (monitoring.slate), and so does what it let tenants take of their
limits, except for places at once (router/shared_limits.py). A worker whose event loop has not
turned for `stall_s` is killed: busy is not stuck, and another process must say which it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType

import structlog

from monitoring import exposition
from monitoring.gathering import Gathered
from monitoring.metrics import Metrics
from monitoring.slate import Slate
from router.listener import bind, require_free
from router.seat import Seat
from router.settings import RouterSettings
from router.shared_limits import SharedBooks

_log = structlog.get_logger("router.workers")

FAILED_STARTS = 3
"""So many ends of a worker that never served, while none serves, end the parent."""
STEADY_S = 60.0
"""Having served so long, a worker's end is the first again."""
FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
_PAUSE_S = 0.05
_AFTER_DRAIN_S = 10.0
"""What a worker may take beyond its drain: cutting off what is left, and writing its records."""


class WorkersFailed(Exception):
    """No worker can be kept running."""


@dataclass
class Post:
    """A seat's place and who sits in it. Times are monotonic seconds."""

    index: int
    slate: Slate
    listener: socket.socket | None
    process: subprocess.Popen[bytes] | None = None
    report: int | None = None
    ready_at: float | None = None
    heard_at: float = 0.0
    failures: int = 0
    """Ends in a row without a steady time between them."""
    start_at: float = 0.0

    @property
    def pid(self) -> int | None:
        """Of the worker; None while there is none."""
        return None if self.process is None else self.process.pid


@dataclass
class Workers:
    """`command` makes a seat's command line. An exit code in `final` means that starting again
    changes nothing. Raises PortInUse and monitoring.exposition.PortInUse at `startup`."""

    settings: RouterSettings
    metrics: Metrics
    command: Callable[[Seat], Sequence[str]]
    final: frozenset[int] = frozenset()
    clock: Callable[[], float] = time.monotonic
    posts: list[Post] = field(default_factory=list, init=False)
    port: int = field(default=0, init=False)
    signals: int = field(default=0, init=False)
    _books: SharedBooks | None = field(default=None, init=False)
    _exposition: exposition.Server | None = field(default=None, init=False)
    _looked_at: float = field(default=0.0, init=False)

    @property
    def url(self) -> str:
        """Where clients reach the router."""
        return f"http://{self.settings.host}:{self.port}"

    @property
    def metrics_url(self) -> str:
        """Where Prometheus finds the metrics of all workers together."""
        assert self._exposition is not None, "the workers were not started"
        return self._exposition.url

    def startup(self) -> None:
        """Bind everything; workers come with the first tick."""
        settings = self.settings
        if settings.port:
            # Sockets that share a port let in every other process of this user that shares too.
            require_free(settings.host, settings.port)
        self.port = settings.port
        for index in range(settings.workers):
            listener = bind(settings.host, self.port, shared=True)
            self.port = listener.getsockname()[1]
            self.posts.append(Post(index, Slate.create(), listener))
        self._books = SharedBooks.create(settings.workers)
        gathered = Gathered(lambda: [(p.slate, p.pid) for p in self.posts], self.metrics)
        try:
            self._exposition = exposition.serve(
                gathered, settings.metrics_port, settings.metrics_host, health=self.trouble
            )
        except exposition.PortInUse:
            self._close()
            raise
        self._looked_at = self.clock()

    def run(self) -> None:
        """Keep the workers running until a signal comes, then drain them; a second signal ends
        them at once. On the main thread only. Raises WorkersFailed."""
        if not self.posts:
            self.startup()
        _log.info("router listens", url=self.url, metrics=self.metrics_url, workers=len(self.posts))
        with self._signals():
            try:
                while not self.signals:
                    self.tick()
                    time.sleep(_PAUSE_S)
            finally:
                self.shutdown()

    def tick(self) -> None:
        """Look at every worker once. Raises WorkersFailed."""
        now = self._looked_at = self.clock()
        for post in self.posts:
            if post.process is None:
                if now >= post.start_at:
                    self._start(post)
            elif post.process.poll() is None:
                self._listen(post, now)
            else:
                self._ended(post, now)
        self.metrics.router_workers.set(sum(post.ready_at is not None for post in self.posts))

    def trouble(self) -> str | None:
        """What the parent itself suffers from: it mends its workers, so they don't count."""
        silent = self.clock() - self._looked_at
        if silent > self.settings.stall_s:
            return f"the workers have not been looked after for {silent:.0f} s"
        return None

    def shutdown(self) -> None:
        """End the workers: SIGTERM, and SIGKILL for those that overstay."""
        settings, began = self.settings, self.clock()
        running = [post for post in self.posts if post.process is not None]
        for post in running:
            _signal(post, signal.SIGTERM)
        hurried = self.signals > 1
        deadline = began + settings.drain_grace_s + settings.drain_s + _AFTER_DRAIN_S
        while any(post.process and post.process.poll() is None for post in running):
            now = self._looked_at = self.clock()
            if now >= began + settings.drain_grace_s:
                self._stop_listening()
            if self.signals > 1 and not hurried:
                hurried, deadline = True, now + 2.0
                for post in running:
                    _signal(post, signal.SIGTERM)
            if now >= deadline:
                _log.warning("workers killed: they did not end in time")
                for post in running:
                    _signal(post, signal.SIGKILL)
            time.sleep(_PAUSE_S)
        self._close()

    def _start(self, post: Post) -> None:
        assert self._books is not None
        if post.listener is None:
            post.listener = bind(self.settings.host, self.port, shared=True)
        post.report, writing = os.pipe()
        os.set_blocking(post.report, False)
        seat = Seat(
            post.index, len(self.posts), post.listener.fileno(), *post.slate.files,
            self._books.file, writing, os.getpid(),
        )  # fmt: skip
        # A group of its own: Ctrl-C is the parent's to pass on, or a worker would see it twice.
        post.process = subprocess.Popen(
            self.command(seat), stdin=subprocess.DEVNULL, pass_fds=seat.files, process_group=0
        )
        os.close(writing)
        post.heard_at = self.clock()

    def _listen(self, post: Post, now: float) -> None:
        assert post.report is not None
        with contextlib.suppress(BlockingIOError):
            if os.read(post.report, 4096):
                post.heard_at = now
                if post.ready_at is None:
                    post.ready_at = now
                    _log.info("worker serves", worker=post.index, pid=post.pid)
        if post.ready_at is not None and now - post.ready_at >= STEADY_S:
            post.failures = 0
        if post.ready_at is not None and now - post.heard_at > self.settings.stall_s:
            _log.error("worker killed: its event loop is stuck", worker=post.index, pid=post.pid)
            _signal(post, signal.SIGKILL)
            post.heard_at = now

    def _ended(self, post: Post, now: float) -> None:
        assert post.process and post.report is not None and self._books is not None
        code = post.process.returncode
        self._books.clear(post.index)
        os.close(post.report)
        served = post.ready_at is not None
        post.process = post.report = post.ready_at = None
        post.failures += 1
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
        nobody = all(p.ready_at is None for p in self.posts)
        if nobody and not served and (code in self.final or post.failures >= FAILED_STARTS):
            raise WorkersFailed(
                f"router worker {post.index} {how}, {post.failures} time(s) without having served, "
                "and no other one serves: what it said is in the lines above"
            )
        delay = 0.0
        if post.failures > 1:
            delay = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** (post.failures - 2))
            # Nobody will sit here for a while: new connections are for the others.
            if post.listener is not None and not nobody:
                post.listener.close()
                post.listener = None
        post.start_at = now + delay
        self.metrics.router_worker_restarts_total.inc()
        _log.error("worker ended", worker=post.index, how=how, again_in_s=delay)

    def _stop_listening(self) -> None:
        for post in self.posts:
            if post.listener is not None:
                post.listener.close()
                post.listener = None

    def _close(self) -> None:
        self._stop_listening()
        if self._exposition is not None:
            self._exposition.close()
            self._exposition = None
        for post in self.posts:
            if post.report is not None:
                os.close(post.report)
            post.slate.close()
        if self._books is not None:
            self._books.close()
            self._books = None
        self.posts = []

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def note(_number: int, _frame: FrameType | None) -> None:
            self.signals += 1

        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _signal(post: Post, number: signal.Signals) -> None:
    if post.process is not None and post.process.poll() is None:
        post.process.send_signal(number)
