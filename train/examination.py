"""The exam of a job's adapter through the engine, before its version is published.

What was trained is put into the store; any engine with our resolver then serves it by its name,
which nobody else knows yet. A process of its own asks (train.exam). Where there is no engine, or it
does not answer, what was measured in memory stands, and the figures say which it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import structlog

from registry import Registry
from registry.errors import NotFound, RegistryError
from registry.job import Job
from registry.names import served_name
from train.exam import KEY, exam_after
from train.judge import KEY as JUDGE_KEY
from train.settings import WorkerSettings

_log = structlog.get_logger()
_ROOT = Path(__file__).parent.parent
_KEPT = ("loss", "train_loss", "seconds", "selected_on_test", "compiled")
"""Figures that training knows and an engine does not."""


class Examination:
    """One job's exam; there may be none, and then it is over at once."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes] | None) -> None:
        self._folder = folder
        self._process = process

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return self._process is None or self._process.poll() is not None

    def stop(self) -> None:
        """End it now."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def merge(self, outcome: dict[str, Any]) -> tuple[dict[str, Any], str]:
        """The training's outcome with the engine's figures in place of those from memory, and why
        not, if an engine was asked in vain."""
        if self._process is None:
            return outcome, ""
        try:
            found = json.loads((self._folder / "exam-outcome.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return outcome, f"the exam's process ended with {self._process.returncode}"
        if "error" in found:
            return outcome, str(found["error"]["message"])
        memory = outcome["evaluation"]
        figures = {
            **{name: memory[name] for name in _KEPT if name in memory},
            "in_memory": _scores(memory),
            **found["evaluation"],
        }
        for name in ("perplexity", "general"):
            if figures.get(name) is None:
                figures[name] = memory.get(name)
        judged = found
        if found["evaluation"].get("general") is None:
            # A guard that the engine could not hold is not dropped.
            judged = outcome if outcome["reasons"].get("worse_on") == "general" else found
        return {
            **outcome,
            "evaluation": figures,
            "verdict": judged["verdict"],
            "reasons": judged["reasons"],
        }, ""


def begin(
    registry: Registry, settings: WorkerSettings, job: Job, folder: Path, outcome: dict[str, Any]
) -> Examination:
    """Start the exam of what lies in `folder`, if there is one to take and an engine to ask.

    Raises the store's errors, OSError.
    """
    none = Examination(folder, None)
    if settings.exam == "memory" or not (folder / "exam.json").is_file():
        return none
    base = outcome["manifest"]["base"]
    url = next((e.url for e in registry.engines.ready() if e.base == base), None)
    if url is None:
        return none
    digest = registry.store.publish(folder / "adapter")
    exam_after(
        folder,
        url,
        base=base,
        adapter=served_name(job.adapter, digest),
        parent=_parent(registry, outcome),
        price_per_million=settings.price_per_million,
        judge=settings.judge,
    )
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    if settings.engine_api_key:
        environment[KEY] = settings.engine_api_key
    if settings.judge_api_key:
        environment[JUDGE_KEY] = settings.judge_api_key
    with (folder / "exam.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "train.exam", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    _log.info("exam_begun", job=job.id, tenant=job.tenant, engine=url)
    return Examination(folder, process)


def _parent(registry: Registry, outcome: dict[str, Any]) -> str | None:
    digest = outcome["manifest"].get("parent")
    if digest is None:
        return None
    try:
        return registry.versions.get(digest).served_name
    except (NotFound, RegistryError):
        return None


def _scores(evaluation: dict[str, Any]) -> dict[str, Any]:
    """What the same systems scored in memory: that both agree is worth seeing."""
    systems = ("base_zero_shot", "base_few_shot", "parent", "adapter")
    found = {name: evaluation[name]["score"] for name in systems if evaluation.get(name)}
    return {**found, **{name: evaluation.get(name) for name in ("perplexity", "general")}}
