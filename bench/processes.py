"""Child processes of a benchmark: started with a log, waited for, measured, ended by pid."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MIB = 1 << 20
ROOT = Path(__file__).parent.parent


class BenchError(Exception):
    """A benchmark can't be run or went wrong; the message says what to do."""


@dataclass
class Child:
    """One command, in a process group of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
        core: int | None = None,
        cwd: Path | None = None,
    ) -> Child:
        """Start it, bound to one core if `core` says so; it dies with this process."""
        log.parent.mkdir(parents=True, exist_ok=True)
        guard = str(ROOT / "serve" / "child.py")
        words = [sys.executable, guard, str(os.getpid()), *_whole(command)]
        if core is not None:
            words = [*_whole(["taskset", "-c", str(core)]), *words]
        with log.open("wb") as file:
            process = subprocess.Popen(
                words,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=cwd,
                start_new_session=True,
            )
        return cls(name, process, log)

    def wait_for(self, url: str, seconds: float) -> None:
        """Until `url` answers 200. Raises BenchError with the log's end."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            if _answers(url):
                return
            time.sleep(0.1)
        ended = self.process.poll()
        why = f"ended with {ended}" if ended is not None else f"did not answer within {seconds:g} s"
        raise BenchError(f"{self.name} {why} ({url}); its log ends:\n{self.tail()}")

    def tail(self) -> str:
        """The last of what it wrote."""
        return self.log.read_text(errors="replace")[-3000:]

    def rss_mib(self) -> float:
        """Resident memory of it and all its children."""
        with contextlib.suppress(psutil.NoSuchProcess):
            top = psutil.Process(self.process.pid)
            every = [top, *top.children(recursive=True)]
            return sum(each.memory_info().rss for each in every) / MIB
        return 0.0

    def stop(self, seconds: float = 20.0) -> None:
        """SIGTERM, and SIGKILL to its group when that is not enough."""
        if self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def own_environ(**values: str) -> dict[str, str]:
    """For a process of ours: this source, none of the caller's own settings, and `values`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SWITCHYARD_")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # or each start compiles all of vLLM
    path = os.pathsep.join(filter(None, [str(ROOT), kept.get("PYTHONPATH", "")]))
    return {**kept, "PYTHONPATH": path, **values}


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:  # URLError is one
        return False


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _whole(command: Sequence[str]) -> list[str]:
    """The command with its program's whole path: serve.child searches none."""
    from shutil import which

    program = which(command[0])
    if program is None:
        raise BenchError(f"{command[0]} is not installed here")
    return [program, *command[1:]]
