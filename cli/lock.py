"""The lock on a home folder: one `switchyard up` in each, and a clear answer to the second.

The kernel drops the lock when its holder ends, however it ends, so no stale lock needs clearing.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cli.errors import AlreadyRunning


class HomeLock:
    """Holds `<home>/run/up.lock` from `acquire` to `release`; the file names the holder's pid."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.path = home / "run" / "up.lock"
        self._handle: int | None = None

    def acquire(self) -> None:
        """Raises AlreadyRunning with the holder's pid."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.read(handle, 32).decode().strip()
            os.close(handle)
            raise AlreadyRunning(self._home, int(text) if text.isdigit() else None) from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        self._handle = handle

    def release(self) -> None:
        """Let go; harmless when it is not held."""
        if self._handle is not None:
            os.ftruncate(self._handle, 0)
            os.close(self._handle)
            self._handle = None
