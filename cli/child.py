"""One supervised process: start it, see how it does, end it with everything that it started.

Knows processes and signals; nothing about what runs in them. Linux: a child gets SIGTERM when its
parent dies (prctl(2), PR_SET_PDEATHSIG), so that a killed `up` leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
_LIBC = "libc.so.6"


@dataclass(frozen=True)
class Spec:
    """What to run. `ready` says, whenever it is asked, whether the process does its work;
    `drain_s` is how long it may take to finish what it began after SIGTERM."""

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    drain_s: float = 10.0
    environ: Mapping[str, str] | None = None


class Child:
    """A process group of a spec, started again and again; `log` takes what it prints."""

    def __init__(self, spec: Spec, log: Path) -> None:
        self.spec = spec
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self._libc: ctypes.CDLL | None = None

    @property
    def name(self) -> str:
        """The spec's name."""
        return self.spec.name

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self.process.pid if self.process is not None and self.alive() else None

    def start(self) -> None:
        """Start it in a session of its own: Ctrl-C reaches only the supervisor."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # Loaded here, before the fork: between fork and exec nothing may allocate or lock.
        self._libc = ctypes.CDLL(_LIBC, use_errno=True)
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.spec.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=self._die_with_parent,
                env=None if self.spec.environ is None else dict(self.spec.environ),
            )

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Of the process that ended last; negative for a signal."""
        return None if self.process is None else self.process.poll()

    def ask_to_end(self) -> None:
        """SIGTERM: finish what you began."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL for the process and everything below it."""
        if self.process is None:
            return
        victims: list[psutil.Process] = []
        try:
            parent = psutil.Process(self.process.pid)
            victims = [*parent.children(recursive=True), parent]
        except psutil.NoSuchProcess:
            pass  # its group may still have members
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        self.process.wait()

    def ending(self) -> str:
        """How the process ended, for a person."""
        code = self.exit_code
        if code is None:
            return "did not end"
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def last_words(self, lines: int = 3) -> str:
        """The end of its log."""
        try:
            with self.log.open("rb") as file:
                file.seek(max(0, self.log.stat().st_size - 8192))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])

    def _die_with_parent(self) -> None:
        if self._libc is not None:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
