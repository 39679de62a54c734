"""A worker's seat: what its parent gave it, and what it gives back.

A worker is the same command as its parent, with `--seat`: which one of how many it is, the socket
that it answers at, the slate that its metrics go to, the books of what tenants took of their
limits, and a pipe in which it says that it lives. Knows nothing about requests. Linux: a worker
gets SIGTERM when its parent dies (prctl(2)), so a killed parent's workers finish what they began
and end.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
from dataclasses import asdict, dataclass

from monitoring.slate import Slate
from router.book import Books
from router.shared_limits import SharedBooks

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Seat:
    """`listener`, `values`, `names`, `limits` and `report` are descriptors that the worker
    inherits; `parent` is a process id. Take it before metrics are made."""

    index: int
    count: int
    listener: int
    values: int
    names: int
    limits: int
    report: int
    parent: int

    @property
    def files(self) -> tuple[int, ...]:
        """What the worker must inherit."""
        return self.listener, self.values, self.names, self.limits, self.report

    def encode(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def decode(cls, text: str) -> Seat:
        """Raises ValueError for what no parent gives."""
        try:
            seat = cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(f"not a seat: {error}") from error
        return seat

    def take(self) -> None:
        """Begin to live as this worker: on the main thread, before anything else."""
        with contextlib.suppress(OSError, AttributeError):  # not Linux
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != self.parent:
            raise SystemExit(1)
        for descriptor in self.files:
            os.set_inheritable(descriptor, False)
        os.set_blocking(self.report, False)
        Slate(self.values, self.names).take_over()

    def socket(self) -> socket.socket:
        """Where this worker answers."""
        return socket.socket(fileno=self.listener)

    def books(self) -> Books:
        """Where this worker and the others write down what tenants took of their limits."""
        return SharedBooks(self.limits, self.count).at(self.index)

    def report_alive(self) -> None:
        """Said by the event loop, so that a parent knows one that is stuck from one that works."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self.report, b".")
