"""`switchyard up` in a folder of its own, on free ports, for as long as a block of code runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli import ports
from cli.home import Home

PORTS = (
    "ROUTER_PORT",
    "ENGINE_PORT",
    "ROUTER_METRICS_PORT",
    "WORKER_METRICS_PORT",
    "CONTROLLER_METRICS_PORT",
)
START_S = 240


@dataclass(frozen=True)
class Running:
    """`environ` is what commands need to find this platform; `url` ends with the router's port."""

    home: Home
    url: str
    environ: dict[str, str]

    def switchyard(self, *words: str, timeout: float = 300) -> str:
        """What a command prints. Fails with all it said when it doesn't exit with 0."""
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert ended.returncode == 0, f"{words}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended.stdout


def environment(folder: Path) -> dict[str, str]:
    """Variables for a home in `folder` whose processes have ports of their own."""
    numbers = ports.pick_free(len(PORTS))
    own = {f"SWITCHYARD_{name}": str(n) for name, n in zip(PORTS, numbers, strict=True)}
    kept = {name: v for name, v in os.environ.items() if not name.startswith("SWITCHYARD_")}
    return {**kept, **own, "SWITCHYARD_HOME": str(folder), "NO_COLOR": "1", "COLUMNS": "160"}


@contextmanager
def platform(folder: Path, **settings: str) -> Iterator[Running]:
    """Everything is ready when the block begins, and drained after it."""
    environ = {**environment(folder), **settings}
    url = f"http://127.0.0.1:{environ['SWITCHYARD_ROUTER_PORT']}"
    log = folder / "up.log"
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up"], env=environ, stdout=said, stderr=said
        )
    try:
        wait_ready(process, url, log)
        yield Running(Home(folder, environ), url, environ)
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return when the router says that it is ready: an engine is, too."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/ready", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(
        f"the platform did not come up:\n{log.read_text(errors='replace')[-4000:]}"
    )
