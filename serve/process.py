"""One vLLM process and all that it spawns: start, watch, stop. Knows nothing about the registry."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_TAIL_BYTES = 64 * 1024


class PortInUse(Exception):
    """Something else listens where the engine should."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(
            f"{host}:{port} is in use: the engine can't listen there; stop what does "
            f"(`ss -ltnp 'sport = :{port}'` names it) or set SWITCHYARD_ENGINE_PORT"
        )


def require_free_port(host: str, port: int) -> None:
    """Raises PortInUse."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as vLLM does
        try:
            probe.bind((host, port))
        except OSError:
            raise PortInUse(host, port) from None


class EngineProcess:
    """A command in a process group of its own, its output in a log file.

    Start it on a thread that lives as long as this process (see serve/child.py).
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], log_file: Path) -> None:
        self._command = [sys.executable, "-m", "serve.child", str(os.getpid()), *command]
        self._environ = dict(environ)
        self._log_file = log_file
        self._log_start = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the API server; None before the start."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """None while it runs (or before it started)."""
        return self._process.returncode if self._process else None

    async def start(self) -> None:
        """Spawn. Raises OSError when the log file can't be written."""
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log:
            self._log_start = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )

    async def exited(self, timeout_s: float) -> bool:
        """Wait for its end for up to `timeout_s` seconds: whether it has ended."""
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), timeout_s)
        return self._process.returncode is not None

    async def stop(self, timeout_s: float) -> None:
        """SIGTERM to the API server, which ends its own; after `timeout_s` SIGKILL to all."""
        if self._process is None:
            return
        if self._process.returncode is None and timeout_s > 0:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
            await self.exited(timeout_s)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL to whatever is left of the process group, the engine core included."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()

    def tail(self, lines: int = 20) -> str:
        """The last lines that this process wrote; empty if it wrote none."""
        try:
            with self._log_file.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, end - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])
