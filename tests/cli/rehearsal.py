"""The platform with a toy engine and a toy worker, all else as it is: to rehearse the demo.

A program of its own, in place of `cli.main`:

    python -m tests.cli.rehearsal --home HOME up
    python -m tests.cli.rehearsal --home HOME engine|worker|router|controller run

The toy engine is FakeEngine; it knows an answer if its version was trained on such questions. The
toy worker makes adapter folders of which only the figures are real.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cli import upkeep
from cli.demo import cast
from cli.home import Home
from cli.lock import HomeLock
from cli.loops import Signals, repeat, repeat_blocking, stop_event, until
from cli.platform import Platform
from monitoring.metrics import Metrics
from registry import Registry
from registry.fingerprint import base_fingerprint
from tests.fake_engine import FakeEngine
from tests.serve.making import ADAPTER_LOGPROB, BASE, BASE_LOGPROB, adapter_folder

PROGRAM = (sys.executable, "-m", "tests.cli.rehearsal")
ORDINARY, SHIFTED = "ordinary", "shifted"


def up(home: Home) -> None:
    lock = HomeLock(home.folder)
    lock.acquire()
    upkeep.run(home, Platform.read(home, PROGRAM))
    lock.release()


def engine(home: Home) -> None:
    """The real supervisor over the toy."""
    from cli import room_settings
    from serve.engine import EngineSupervisor

    settings = room_settings.engine(home)
    command = [*PROGRAM, "--home", str(home.folder), "toy", str(settings.port)]
    registry = home.open_registry()
    supervisor = EngineSupervisor(settings, registry, Metrics(), command=command)

    async def run() -> None:
        with stop_event() as stop:
            await supervisor.startup()
            await until(stop, repeat("engine", supervisor.tick, 0.01))
            await supervisor.shutdown()

    asyncio.run(run())


class Anything(set[str]):
    """The toy's resolver finds every version."""

    def __contains__(self, name: object) -> bool:
        return "@" in str(name)


def toy(home: Home, port: int) -> None:
    """What stands where vLLM would; killed like it."""
    answers: dict[str, dict[str, str]] = {ORDINARY: {}, SHIFTED: {}}
    folder = cast.examples_folder()
    for path in sorted(folder.glob("*/*.jsonl")):
        kind = SHIFTED if path.stem in ("shifted_heldout", "corrections") else ORDINARY
        for row in cast.rows(path):
            if row[-1].get("role") == "assistant" and len(row) > 1:
                answers[kind][str(row[-2].get("content"))] = str(row[-1]["content"])
    store = home.folder / "store" / "adapters"

    def answer(model: str, messages: list[dict[str, Any]]) -> str:
        question = str(messages[-1]["content"])
        if "@" not in model:
            return "I am only a base."
        digest = model.partition("@")[2]
        manifest = next(store.glob(f"{digest}*")) / "switchyard.json"
        knows = json.loads(manifest.read_text())["knows"]
        return next((answers[k][question] for k in knows if question in answers[k]), "other")

    def logprob(model: str, _ids: list[int], _position: int) -> float:
        return BASE_LOGPROB if model == BASE else ADAPTER_LOGPROB

    async def run() -> None:
        key = os.environ["VLLM_API_KEY"]
        options: dict[str, Any] = {"adapters": Anything(), "answer": answer, "logprob": logprob}
        async with FakeEngine(base=BASE, api_key=key, port=port, slow_ms=5, **options):
            await asyncio.Event().wait()

    time.sleep(1.0)  # a start that takes a moment, so that an outage can be seen
    asyncio.run(run())


def worker(home: Home) -> None:
    """Makes a version of every job at once."""
    from monitoring import exposition

    registry = home.open_registry()
    number = int(home.environ["SWITCHYARD_WORKER_METRICS_PORT"])
    metrics = Metrics()
    shown = exposition.serve(metrics, number)
    with Signals() as signals:
        base = base_fingerprint(Path(home.environ["SWITCHYARD_ENGINE_BASE"]))
        repeat_blocking("worker", lambda: _train(registry, base, metrics), 0.1, signals)
    shown.close()


def _train(registry: Registry, base: dict[str, str], metrics: Metrics) -> None:
    metrics.know_tenants(tenant.name for tenant in registry.tenants.all())
    job = registry.jobs.lease("toy-worker")
    if job is None:
        return
    began = time.monotonic()
    content = registry.content(job.tenant, job.training_file)
    knows = [ORDINARY, SHIFTED] if b"firmware" in content else [ORDINARY]
    manifest = {
        "tenant": job.tenant,
        "adapter": job.adapter,
        "base": BASE,
        "knows": knows,
        "seed": job.spec.get("seed", 0),
        **base,
    }
    with tempfile.TemporaryDirectory() as scratch:
        folder = adapter_folder(Path(scratch) / "adapter", manifest=manifest)
        digest = registry.store.publish(folder)
    registry.jobs.renew(job.id, "toy-worker", progress={"step": 1, "steps": 1, "loss": 0.1})
    registry.versions.publish(
        job.tenant,
        job.adapter,
        digest,
        manifest=manifest,
        evaluation={"n": 100, "adapter": {"exact": 0.97}, "parent": {"exact": 0.6}},
        verdict="promote",
        reasons={"summary": "a toy is always better"},
        job_id=job.id,
    )
    registry.jobs.succeed(job.id, "toy-worker", digest)
    metrics.train_steps_total.inc()
    metrics.train_tokens_total.inc(100)
    metrics.train_loss.labels(job.tenant).set(0.1)
    metrics.job_seconds.observe(time.monotonic() - began)


def main(arguments: list[str]) -> None:
    _, folder, name, *rest = arguments
    home = Home(Path(folder), os.environ)
    if name == "up":
        up(home)
    elif name == "toy":
        toy(home, int(rest[0]))
    elif name == "engine":
        engine(home)
    elif name == "worker":
        worker(home)
    else:
        from cli.main import app

        app(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
