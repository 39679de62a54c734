"""A version made again: its job's files and options trained anew, and the files compared.

Equal digests show that the version is what its manifest says. Where they are not equal, it says
which files differ, by how much, and what is not as it was. Imports no torch; training is a child
process, laid out as the worker does it. Writes nothing to registry or store.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry import Registry
from registry.errors import NotFound
from registry.store import canonical, folder_manifest
from registry.versions import Version
from train.child import Child
from train.errors import TrainingError
from train.layout import lay_out
from train.settings import WorkerSettings
from train.spec import TrainingSpec
from train.task import Task

WEIGHTS = "adapter_model.safetensors"
_MANIFEST = "switchyard.json"
_LOOK_S = 0.2
Report = Callable[[dict[str, Any]], None]


class NotReproducible(TrainingError):
    """The version can't be made again: what it was made from is gone, or it is not a job's end."""

    code = "not_reproducible"


@dataclass(frozen=True)
class Reproduction:
    """What came of it. `files` says of each file that differs how; `weights` is the largest
    difference between two weights, None where they can't be laid side by side; `reasons` name what
    is not as it was, likely causes first."""

    expected: str
    digest: str
    files: dict[str, str]
    weights: float | None
    reasons: list[str]

    @property
    def same(self) -> bool:
        """Whether every byte is the same."""
        return self.digest == self.expected


def reproduce(
    registry: Registry,
    settings: WorkerSettings,
    version: Version,
    *,
    report: Report,
    threads: int | None = None,
) -> Reproduction:
    """Train a version's job again and compare. `threads` None means as many as it was made with.

    Blocks for as long as the job took. Raises NotReproducible, TrainingError (the job's own), the
    store's errors.
    """
    with tempfile.TemporaryDirectory(prefix="reproduce-", dir=_scratch(settings)) as temporary:
        folder = Path(temporary)
        task = task_of(registry, settings, version, folder, threads)
        with _running(Child(folder, task)) as child:
            while child.exit_code is None:
                _tell(child, report)
                time.sleep(_LOOK_S)  # the child is a process: there is no condition to wait for
            _tell(child, report)
            outcome = child.outcome()
            if outcome is None:
                raise NotReproducible(
                    f"The training process ended with exit code {child.exit_code}:\n"
                    + child.log_tail()
                )
        if "error" in outcome:
            error = outcome["error"]
            raise NotReproducible(error["message"], error["param"])
        original = registry.store.fetch(version.digest, folder / "original")
        return compare(version.digest, original, folder / "adapter")


def task_of(
    registry: Registry,
    settings: WorkerSettings,
    version: Version,
    folder: Path,
    threads: int | None = None,
) -> Task:
    """What the worker would do for the version's job, with the options that the manifest records:
    the adapter's own may have changed since. Raises NotReproducible, TrainingError."""
    if version.job_id is None:
        raise NotReproducible(f"{version.served_name} was not made by a job")
    if version.step is not None:
        raise NotReproducible(
            f"{version.served_name} is a checkpoint: reproduce the version that its job ended with"
        )
    try:
        job = registry.jobs.get(version.job_id)
        task = lay_out(registry, settings, job, folder)
    except NotFound as error:
        raise NotReproducible(
            f"What {version.served_name} was made from is gone: {error}"
        ) from None
    made_with = version.manifest.get("made_with", {})
    return dataclasses.replace(
        task,
        spec={**task.spec, **asked(version.manifest)},
        threads=threads or made_with.get("threads") or task.threads,
    )


def asked(manifest: dict[str, Any]) -> dict[str, Any]:
    """What to ask for, so that the recorded options come out of it."""
    known = {field.name for field in dataclasses.fields(TrainingSpec)}
    options = {n: v for n, v in manifest.get("training", {}).items() if n in known}
    if "search" in manifest:  # recorded is what it found; it began with its first trial
        if options.get("alpha") == 2 * options["rank"]:
            del options["alpha"]  # it followed the rank of each trial
        first = manifest["search"]["trials"][0]
        options |= {name: first[name] for name in manifest["search"]["chosen"]}
    return options


def compare(expected: str, original: Path, again: Path) -> Reproduction:
    """Two folders, file by file. `expected` is the first one's digest."""
    old, new = folder_manifest(original), folder_manifest(again)
    files = {
        name: "only there before"
        if name not in new
        else "only there now"
        if name not in old
        else "differs"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    }
    digest = hashlib.sha256(canonical(new)).hexdigest()
    if not files:
        return Reproduction(expected, digest, {}, 0.0, [])
    weights = 0.0 if WEIGHTS not in files else distance(original / WEIGHTS, again / WEIGHTS)
    before, now = (json.loads((at / _MANIFEST).read_text()) for at in (original, again))
    return Reproduction(expected, digest, files, weights, explain(before, now))


def distance(one: Path, other: Path) -> float | None:
    """The largest difference between two files' weights; None if names or shapes differ."""
    import numpy
    from safetensors.numpy import load_file

    first, second = load_file(one), load_file(other)
    if {n: v.shape for n, v in first.items()} != {n: v.shape for n, v in second.items()}:
        return None
    return float(max(numpy.abs(first[name] - second[name]).max() for name in first))


def explain(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """In which of the things that decide the bytes two manifests differ."""
    reasons: list[str] = []
    if before.get("dataset_sha256") != now.get("dataset_sha256"):
        reasons.append(
            "other rows were learned from or measured on: the files are verified, so it is how "
            "they are divided (SWITCHYARD_WORKER_EVALUATION_ROWS, or another version of Switchyard)"
        )
    for name in ("base", "base_revision", "base_config_sha256", "tokenizer_sha256"):
        reasons += _changed(name, before.get(name), now.get(name))
    reasons += _changed(
        "chat_template_sha256", before.get("chat_template_sha256"), now.get("chat_template_sha256")
    )
    for group in ("training", "made_with"):
        old, new = before.get(group, {}), now.get(group, {})
        for name in sorted({*old, *new}):
            reasons += _changed(name, old.get(name), new.get(name))
    reasons += _changed("created_by", before.get("created_by"), now.get("created_by"))
    return reasons or [
        "versions, threads and processor are recorded as the same: other weights of the base under "
        "the same shape, another processor of the same abilities, or files changed by hand"
    ]


def _changed(name: str, old: Any, new: Any) -> list[str]:
    return [] if old == new else [f"{name}: {_shown(old)} then, {_shown(new)} now"]


def _shown(value: Any) -> str:
    text = "not recorded" if value is None else str(value)
    return text if len(text) <= 48 else f"{text[:12]}…"


def _scratch(settings: WorkerSettings) -> Path | None:
    if settings.scratch is not None:
        settings.scratch.mkdir(parents=True, exist_ok=True)
    return settings.scratch


@contextmanager
def _running(child: Child) -> Iterator[Child]:
    try:
        yield child
    finally:
        if child.exit_code is None:
            child.stop()
        else:
            child.close()


def _tell(child: Child, report: Report) -> None:
    for message in child.news():
        report(message)
