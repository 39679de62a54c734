"""Training processes by the dozen: torch is imported once here, and each process is a fork.

`python -m tests.train.forked FOLDER KILLS SEED` trains once to the end, then KILLS times to a
random moment at which the process is killed (SIGKILL) and from its last state to the end; once it
starves a process of disk and once of memory. One JSON object with all digests and moments goes to
standard output.
"""

from __future__ import annotations

import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from registry.store import Store
from train.run import main
from train.task import Task

SPEC = {
    "rank": 4, "epochs": 3, "batch_size": 4, "validation_fraction": 0.2, "dropout": 0.2,
    "learning_rate": 0.01, "checkpoints": 1,
}  # fmt: skip


class Forked:
    """A fork that trains in `folder`; its news is heard line by line."""

    def __init__(self, folder: Path, task: Task) -> None:
        (folder / "task.json").write_text(json.dumps(asdict(task)), encoding="utf-8")
        self.folder = folder
        self.lines: list[dict[str, Any]] = []
        self._rest = b""
        stdin, self.stdin = os.pipe()
        self._news, stdout = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.stdin)
            os.close(self._news)
            os.dup2(stdin, 0)
            os.dup2(stdout, 1)
            with (folder / "process.log").open("ab") as log:
                os.dup2(log.fileno(), 2)
            code = 1
            try:
                code = main(folder)
            finally:
                os._exit(code)
        os.close(stdin)
        os.close(stdout)

    def hear(self, timeout: float = 60.0) -> bool:
        """Wait for more news; False at the process's end."""
        readable, _, _ = select.select([self._news], [], [], timeout)
        data = os.read(self._news, 65536) if readable else b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += [json.loads(line) for line in lines]
        return bool(data)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """Hear everything; the exit code, or minus the signal."""
        while self.hear():
            pass
        _, status = os.waitpid(self.pid, 0)
        os.close(self._news)
        os.close(self.stdin)
        return os.waitstatus_to_exitcode(status)


def task(base: Path, **fields: Any) -> Task:
    options: dict[str, Any] = {
        "tenant": "acme", "adapter": "tickets", "base": str(base), "base_name": base.name,
        "spec": SPEC, "answers": {"kind": "label"}, "training": "training.jsonl",
        "validation": None, "parent": None, "device": "cpu", "threads": 1, "nice": 0,
        "evaluation_rows": 6, "few_shot": 0, "probes": 4, "checkpoint_s": 0.05,
    }  # fmt: skip
    return Task(**{**options, **fields})


def folder(root: Path, name: str) -> Path:
    """A job's folder with the data in it."""
    made = root / name
    made.mkdir()
    shutil.copy(root / "training.jsonl", made)
    return made


def digests(job: Path) -> dict[str, str]:
    """Of the adapter and of each epoch's, by folder."""
    store = Store(f"file://{job}/store")
    found = [job / "adapter", *sorted(job.glob("checkpoint-*"))]
    return {path.name: store.publish(path) for path in found}


def latest(job: Path) -> Path | None:
    """The last whole state."""
    states = sorted((job / "states").glob("step-*"), key=lambda path: int(path.name[5:]))
    return states[-1] if states else None


def kill_at_random(
    process: Forked, rng: random.Random, way: int, lines: int, gap: float
) -> dict[str, Any]:
    """Kill it after a random line of news and a random wait, while it writes a state, or in a
    phase after training."""
    partial = process.folder / "trainer"
    if way == 1:
        phase = rng.choice(("evaluating", "probing"))
        while not any(line.get("phase") == phase for line in process.lines) and process.hear():
            pass
        time.sleep(rng.random() * gap / 4)
    elif way == 3:
        after = rng.randrange(12)
        while len({p for line in process.lines if (p := line.get("path"))}) < after:
            if not process.hear():
                break
        until = time.monotonic() + 20
        while time.monotonic() < until and not any(partial.glob("checkpoint-*")):
            if process.hear(0):
                until = min(until, time.monotonic() + 2)
        time.sleep(rng.random() * 0.004)
    else:
        after = rng.randrange(1, lines)
        while len(process.lines) < after and process.hear():
            pass
        time.sleep(rng.random() * gap)
    process.kill()
    process.end()
    last = [line for line in process.lines if line["kind"] == "progress"][-1]
    return {
        "phase": last["phase"],
        "step": last.get("step"),
        "writing": any(partial.glob("checkpoint-*")),
        "state": None if (state := latest(process.folder)) is None else state.name,
        "ended": (process.folder / "outcome.json").exists(),
    }


def starve(job: Path, base: Path, limit: int, room: int) -> dict[str, Any]:
    """The outcome of a process that gets no more than `room` bytes of something once it trains."""
    rows = [json.loads(line) for line in (job / "training.jsonl").read_text().splitlines()]
    for row in rows:  # long ones: the first step takes hundreds of megabytes, and a while
        row["messages"][0]["content"] += " parcel" * 900
    (job / "training.jsonl").write_text("\n".join(map(json.dumps, rows)))
    process = Forked(job, task(base, spec={**SPEC, "batch_size": 8}))
    while not any("steps" in line for line in process.lines) and process.hear():
        pass
    if limit == resource.RLIMIT_AS:
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
        room += pages * resource.getpagesize()
    resource.prlimit(process.pid, limit, (room, room))
    assert process.end() == 0, (job / "process.log").read_text()
    outcome: dict[str, Any] = json.loads((job / "outcome.json").read_text())
    return {"outcome": outcome, "left": sorted(path.name for path in job.iterdir())}


def pause(root: Path, base: Path) -> dict[str, Any]:
    """Ask a process to rest in its fourth step, and go on."""
    job, heir = folder(root, "paused"), folder(root, "resumed")
    process = Forked(job, task(base, checkpoint_s=1e6))
    while not any(line.get("step") == 4 for line in process.lines) and process.hear():
        pass
    os.write(process.stdin, b"pause\n")
    code = process.end()
    state = latest(job)
    assert state is not None
    told = [line["step"] for line in process.lines if line["kind"] == "state"]
    last = max(line.get("step", 0) for line in process.lines)
    shutil.move(state, heir / "state")
    process = Forked(heir, task(base, resume="state"))
    assert process.end() == 0, (heir / "process.log").read_text()
    return {"code": code, "told": told, "last": last, "digests": digests(heir)}


def unfit(root: Path, base: Path) -> dict[str, Any]:
    """Go on from a state of other options, and from one that is cut short."""
    found = {}
    for name in ("other", "cut"):
        job = folder(root, name)
        state = shutil.copytree(next((root / "whole" / "states").iterdir()), job / "state")
        if name == "cut":
            (state / "state.json").write_text("{")
        spec = {**SPEC, "seed": 1} if name == "other" else SPEC
        process = Forked(job, task(base, resume="state", spec=spec))
        assert process.end() == 0, (job / "process.log").read_text()
        told = [line["message"] for line in process.lines if line["kind"] == "event"]
        found[name] = {"told": told, "digests": digests(job)}
    return found


def many(root: Path, kills: int, seed: int) -> dict[str, Any]:
    """The digests of the uninterrupted run and of all that were killed."""
    rng = random.Random(seed)
    base = root / "base"
    whole = folder(root, "whole")
    began = time.monotonic()
    process = Forked(whole, task(base, checkpoint_s=1e6))  # it keeps states at epochs' ends only
    assert process.end() == 0, (whole / "process.log").read_text()
    gap = 2 * (time.monotonic() - began) / len(process.lines)
    expected, lines = digests(whole), len(process.lines)
    found = []
    for number in range(kills):
        job = folder(root, f"killed-{number}")
        moment = kill_at_random(Forked(job, task(base)), rng, number % 5, lines, gap)
        state = latest(job)
        heir = folder(root, f"heir-{number}")
        if state is not None:
            shutil.move(state, heir / "state")
        resume = "state" if state else None
        process = Forked(heir, task(base, resume=resume, checkpoint_s=1e6))
        assert process.end() == 0, (heir / "process.log").read_text()
        told = [line["message"] for line in process.lines if line["kind"] == "event"]
        found.append({**moment, "digests": digests(heir), "told": told})
        shutil.rmtree(job)
        shutil.rmtree(heir)
    return {
        "expected": expected,
        "found": found,
        "paused": pause(root, base),
        "unfit": unfit(root, base),
        "disk": starve(folder(root, "disk"), base, resource.RLIMIT_FSIZE, 20_000),
        "memory": starve(folder(root, "memory"), base, resource.RLIMIT_AS, 0),
        "metrics": (whole / "metrics.csv").read_text(),
        "manifest": json.loads((whole / "checkpoint-15" / "switchyard.json").read_text()),
        "took_s": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    import torch

    import train.artifact
    import train.evaluate
    import train.probes
    import train.sft  # noqa: F401

    torch.set_num_threads(1)
    print(json.dumps(many(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
