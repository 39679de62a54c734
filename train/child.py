"""The process in which one job trains. Starts it, hears its news, ends it.

Knows nothing about jobs in the registry. A process of its own gives memory back when it ends, can
be stopped within a step, and can't take the worker down with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from train.task import Task

_ROOT = Path(__file__).parent.parent
_LOG = "process.log"


class Child:
    """A running `python -m train.run FOLDER`, or another module's with a task file of its own."""

    def __init__(
        self,
        folder: Path,
        task: Task,
        module: str = "train.run",
        wanted: Mapping[str, Any] | None = None,
    ) -> None:
        text = json.dumps(asdict(task) if wanted is None else wanted)
        (folder / "task.json").write_text(text, encoding="utf-8")
        self.folder = folder
        self._news: deque[dict[str, Any]] = deque()
        with (folder / _LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(folder)],
                stdin=subprocess.PIPE,  # held open: its end is how the child learns of ours
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(task),
                start_new_session=True,  # Ctrl-C is for the worker, which then puts the job back
            )
        self._reader = threading.Thread(target=self._listen, name="training-news", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it. All news is in once there is one."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(timeout=10)
        return code

    def news(self) -> list[dict[str, Any]]:
        """Messages since the last call, oldest first."""
        return [self._news.popleft() for _ in range(len(self._news))]

    def outcome(self) -> dict[str, Any] | None:
        """What it left behind, if it came to an end."""
        path = self.folder / "outcome.json"
        if not path.is_file():
            return None
        outcome: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return outcome

    def log_tail(self, lines: int = 20) -> str:
        """The last lines that it wrote to its standard error."""
        text = (self.folder / _LOG).read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def pause(self) -> None:
        """Ask it to keep its state and end, with the exit code PAUSED_EXIT."""
        self.say("pause")

    def say(self, line: str) -> None:
        """Write a line to its standard input; nothing where it has ended already."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(f"{line}\n".encode())
            self._process.stdin.flush()

    def wait(self, timeout: float) -> bool:
        """Wait for its end; False if it outlasts `timeout` seconds."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, timeout: float = 5.0) -> None:
        """End it: kindly at first, by SIGKILL after `timeout` seconds."""
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.close()

    def close(self) -> None:
        """Give back pipes; only after its end."""
        self._reader.join(timeout=10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def clear(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._news.append(json.loads(line))


def _environment(task: Task) -> dict[str, str]:
    environment = dict(os.environ)
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{path}{os.pathsep}{_ROOT}" if path else str(_ROOT)
    # Threads that spin at a barrier while the engine has the core made a step 6 times as long here.
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    environment |= {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
        "PYTHONHASHSEED": "0",
    }
    if Path(task.base).is_dir():
        environment["HF_HUB_OFFLINE"] = "1"
    if task.threads is not None:
        environment["OMP_NUM_THREADS"] = str(task.threads)
    return environment
