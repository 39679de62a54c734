"""What a worker wants of a training process, and the clock that its phases are told by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from train.spec import TrainingSpec

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Task:
    """What the worker wants done. Paths are relative to the job's folder."""

    tenant: str
    adapter: str
    base: str
    base_name: str
    spec: dict[str, Any]
    answers: dict[str, Any]
    training: str
    validation: str | None
    parent: str | None
    device: str
    threads: int | None
    nice: int
    evaluation_rows: int
    few_shot: int
    probes: int
    resume: str | None = None
    """The state to go on from."""
    checkpoint_s: float = 60.0
    """The most seconds of training between two states."""
    engine_url: str | None = None
    """An engine that serves the base, to compare its tokens with ours."""
    general: str | None = None
    """The file of the general set; None means made-up rows."""
    general_rows: int = 0
    """The most rows of it that measure what was forgotten; 0 means that nothing does."""

    @property
    def checkpoints(self) -> int:
        """How many epochs' adapters to make besides the final one: none of what is compiled."""
        spec = TrainingSpec.parse(self.spec)
        return spec.checkpoints if spec.method == "lora" else 0


class Clock:
    """Seconds spent in each phase, told as it goes."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._began = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Everything inside counts as `name`."""
        self._report({"kind": "progress", "phase": name})
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)

    def total(self) -> dict[str, float]:
        """All phases and their sum as the job saw it."""
        return {**self.seconds, "total": round(time.monotonic() - self._began, 2)}
