"""Training: one adapter by plain TRL, by our trainer and by our own loop; eight one after another
and eight together.

Each side trains in a process of its own, in turns, on the same rows for as many steps: example
tickets, batches of 4, rank 16, drop-out 0.1, without validation. Time counts from each adapter's
third step, so that warming up, imports and loading are left out; memory is the process's peak.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.base import deep
from bench.cliff import BASE
from bench.processes import ROOT, BenchError, own_environ
from bench.report import Report, middle

SIDES = {
    "trl": "plain TRL, one adapter",
    "fine_tune": "train.sft, one adapter",
    "own": "train.cotrain, one adapter",
    "solo": "train.cotrain, 8 one after another",
    "together": "train.cotrain, 8 together",
}
_ADAPTERS, _BATCH, _STEPS, _WARM = 8, 4, 16, 3
_RATE = 3e-3


def main(part: str, rounds: int) -> list[Report]:
    """(a) on the shipped base, (b) on one of 24 layers."""
    reports = []
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder:
        if "a" in part:
            reports.append(_measure("switchyard-tiny", BASE, rounds))
        if "b" in part:
            base = deep(BASE, Path(folder) / "deep")
            reports.append(_measure("24 layers of width 64", base, rounds))
    return reports


def _measure(name: str, base: Path, rounds: int) -> Report:
    seen: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number in range(rounds):
        for side in SIDES if number % 2 == 0 else reversed(SIDES):
            seen[side].append(_run(side, base))
            print(f"{name}: {SIDES[side]}: {seen[side][-1]}", file=sys.stderr, flush=True)
    speed = {side: middle([each["rate"] for each in seen[side]]) for side in SIDES}
    memory = {side: middle([each["rss_mib"] for each in seen[side]]) for side in SIDES}

    def ratio(one: str, other: str, what: str = "rate") -> float:
        pairs = zip(seen[one], seen[other], strict=True)
        return middle([a[what] / b[what] for a, b in pairs])

    report = Report(
        f"training: {name}, batches of {_BATCH}, {_STEPS} steps an adapter",
        "each side in a process of its own, in turns, all cores",
        ("", "examples/s", "÷ plain TRL", "peak memory", "last loss"),
    )
    for side, title in SIDES.items():
        loss = middle([each["loss"] for each in seen[side]])
        report.add(
            title,
            f"{speed[side]:.1f}",
            f"{ratio(side, 'trl'):.2f}",
            f"{memory[side]:,.0f} MiB",
            f"{loss:.3f}",
        )
    report.figures = {"base": name, "sides": seen}
    for other, what in (
        ("fine_tune", "8 together ÷ one after another by train.sft"),
        ("solo", "8 together ÷ one after another by train.cotrain"),
    ):
        gain = ratio("together", other)
        report.judge(f"{what}: {gain:.2f} (to be ≥ 2)", gain >= 2)
    more = ratio("together", "own", "rss_mib")
    report.judge(f"memory of 8 ÷ of one: {more:.2f} (to be ≤ 1.5)", more <= 1.5)
    for side in ("fine_tune", "own"):
        share = ratio(side, "trl")
        report.judge(f"{SIDES[side]} ÷ plain TRL: {share:.2f} (to be ≥ 0.95)", share >= 0.95)
    return report


def _run(side: str, base: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder:
        ended = subprocess.run(
            [sys.executable, "-m", "bench.train", side, str(base), folder],
            cwd=ROOT,
            env=own_environ(HF_HUB_OFFLINE="1", OMP_WAIT_POLICY="PASSIVE"),
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise BenchError(f"training by {side} failed; it said at last:\n{ended.stderr[-3000:]}")
        found: dict[str, float] = json.loads((Path(folder) / "figures.json").read_text())
        return found


class _Clock:
    """When each adapter's steps ended."""

    def __init__(self) -> None:
        self.ends: dict[str, list[float]] = {}

    def step(self, name: str) -> None:
        self.ends.setdefault(name, []).append(time.perf_counter())

    def rate(self, *, at_once: bool) -> float:
        """Examples a second without the first steps of each."""
        spans = [ends[-1] - ends[_WARM - 1] for ends in self.ends.values()]
        examples = (_STEPS - _WARM) * _BATCH * len(spans)
        return examples / (max(spans) if at_once else sum(spans))


def _child(side: str, source: str, folder: Path) -> None:
    import os
    import resource

    import torch

    from train import dataset, rows
    from train.model import Base

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    base = Base(source, "cpu")
    data = (ROOT / "examples" / "acme" / "train.jsonl").read_bytes()
    found = rows.read(data, keep_good_rows=True)
    tools = (base.tokenizer, base.training_template, base.context)
    examples, _ = dataset.tokenise(found, *tools, base.stop_tokens())
    size = _BATCH * _STEPS
    tenants = [examples[n * size : (n + 1) * size] for n in range(_ADAPTERS)]
    clock = _Clock()
    if side == "trl":
        loss = _plain(base, tenants[0], folder, clock)
    elif side == "fine_tune":
        loss = _ours(base, tenants[0], folder, clock)
    else:
        loss = _own(base, tenants, side, clock)
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rate = clock.rate(at_once=side == "together")
    figures = {"rate": rate, "rss_mib": kib / 1024, "loss": loss}
    (folder / "figures.json").write_text(json.dumps(figures))


def _plain(base: Any, examples: list[Any], folder: Path, clock: _Clock) -> float:
    """TRL as it comes, but for the rate, the batch, and what is of no use on a CPU."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.step("0")

    trainer = SFTTrainer(
        model=base.load(),
        args=SFTConfig(
            output_dir=str(folder),
            dataset_kwargs={"skip_prepare_dataset": True},
            per_device_train_batch_size=_BATCH,
            num_train_epochs=1,
            learning_rate=_RATE,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            logging_steps=8,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        processing_class=base.tokenizer,
        train_dataset=Dataset.from_dict(
            {
                "input_ids": [each.input_ids for each in examples],
                "labels": [each.labels for each in examples],
            }
        ),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=16,
            lora_alpha=32,
            lora_dropout=0.1,
            target_modules="all-linear",
        ),
        callbacks=[Steps()],
    )
    trainer.train()
    losses = [each["loss"] for each in trainer.state.log_history if "loss" in each]
    return float(losses[-1])


def _ours(base: Any, examples: list[Any], folder: Path, clock: _Clock) -> float:
    from train.sft import fine_tune
    from train.spec import TrainingSpec

    def report(news: dict[str, Any]) -> None:
        if news.get("step"):
            clock.step("0")

    trained = fine_tune(
        base.load(),
        base.tokenizer,
        examples,
        [],
        TrainingSpec(batch_size=_BATCH),
        learning_rate=_RATE,
        epochs=1.0,
        device="cpu",
        scratch=folder,
        report=report,
    )
    return trained.last_loss


def _own(base: Any, tenants: list[list[Any]], side: str, clock: _Clock) -> float:
    from train.cotrain.loop import cotrain
    from train.cotrain.trainee import CoJob
    from train.spec import TrainingSpec

    def jobs() -> Iterator[CoJob]:
        for number, examples in enumerate(tenants if side != "own" else tenants[:1]):
            yield CoJob(str(number), examples, [], TrainingSpec(batch_size=_BATCH), _RATE, 1.0)

    def report(name: str, news: dict[str, Any]) -> None:
        if news.get("step"):
            clock.step(name)

    seats = _ADAPTERS if side == "together" else 1
    done = {each.id: each for each in cotrain(base.load(), jobs(), seats=seats, report=report)}
    return done["0"].last_loss


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
