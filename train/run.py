"""One job, from its files to an adapter folder, as a process: `python -m train.run FOLDER`.

Knows nothing about the registry: it reads `task.json` and the data files in FOLDER, writes JSON
lines of news to its standard output, and leaves `adapter/` and `outcome.json` there. It ends at
once when its standard input closes, so that it never outlives the worker that started it.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train import rows as files
from train.answers import Answers
from train.errors import DiskFull, InvalidTrainingFile, OutOfMemory, TrainingError
from train.rows import Row, weighed
from train.spec import TrainingSpec
from train.split import Split, rank_by_hash, separate, split

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
    engine_url: str | None = None


@dataclass(frozen=True)
class Data:
    """A job's rows: divided, and as the audit looks at them. `measured` are the rows of the
    evaluation; `selected_on_test` says that they also chose when to stop."""

    split: Split
    measured: list[Row]
    selected_on_test: bool
    training: list[Row]
    held: list[Row]
    skipped: str


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


def run(folder: Path, task: Task, report: Report) -> dict[str, Any]:
    """The whole pipeline. Returns the outcome; raises TrainingError."""
    clock = Clock(report)
    spec = TrainingSpec.parse(task.spec)
    with clock.phase("reading"):
        found = read(folder, task, spec)
        data = found.split
        if found.skipped:
            report({"kind": "event", "level": "warn", "message": found.skipped})
    with clock.phase("import"):
        # Bad files and bad options are told above, before these ten seconds.
        import torch

        from registry.fingerprint import base_fingerprint
        from train import artifact, dataset, supervision, verdict
        from train.audit.job import examine
        from train.evaluate import evaluate
        from train.model import Base
        from train.probes import probe
        from train.replay import replayed
        from train.sft import fine_tune
    torch.set_num_threads(task.threads or os.cpu_count() or 1)
    with clock.phase("loading"):
        base = Base(task.base, task.device)
        fingerprint = base_fingerprint(base.folder)
    longest = min(spec.max_length, base.context)
    with clock.phase("auditing"):
        audited = examine(
            found.training,
            found.held,
            spec.audit,
            tokenizer=getattr(base.tokenizer, "backend_tokenizer", None),
            max_length=longest,
            answers=task.answers,
            report=report,
        )
    with clock.phase("loading the base"):
        model = base.load(spec.quantize)
    general: list[Row] = []
    if spec.replay:
        with clock.phase("replaying"):
            general = replayed(model, base, data.train, spec.replay, spec.seed)
    with clock.phase("tokenising"):
        tools = (base.tokenizer, base.training_template, longest)
        stop = base.stop_tokens()
        train, learned = dataset.tokenise([*weighed(data.train), *general], *tools, stop)
        held, _ = dataset.tokenise(data.validation, *tools, stop)
    _tell_data(report, data, len(found.measured), learned.json())
    supervised = {
        **learned.json(),
        **supervision.of_tokens(train, stop),
        **supervision.of_engine(data.train, base.tokenizer, task.engine_url, task.base_name),
    }
    with clock.phase("training"):
        trained = fine_tune(
            model,
            base.tokenizer,
            train,
            held,
            spec,
            learning_rate=spec.learning_rate_for(base.hidden_size),
            epochs=spec.epochs_for(learned.supervised / learned.rows),
            device=base.device,
            scratch=folder / "trainer",
            report=report,
            before=lambda adapted: supervised.update(supervision.of_gradients(adapted, train)),
        )
    facts = artifact.manifest(
        trained,
        base,
        spec,
        tenant=task.tenant,
        adapter=task.adapter,
        base_name=task.base_name,
        fingerprint=fingerprint,
        dataset_sha256=files.digest([*data.train, *data.validation, *data.test]),
    )
    model = trained.model
    if spec.quantize != "none":  # served on the whole base, so judged on it
        with clock.phase("reloading"):
            model = _on_whole_base(folder, base, trained)
    if task.parent is not None:
        model.load_adapter(str(folder / task.parent), adapter_name="parent")
    figures: dict[str, Any] = {"kind": None, "n": 0}
    judged = verdict.decide([], {})
    if found.measured:
        with clock.phase("evaluating"):
            answers = Answers.of(
                task.answers, [row.answer for row in (*data.train, *data.validation, *data.test)]
            )
            evaluation = evaluate(
                model,
                base,
                found.measured,
                data.train,
                answers,
                few_shot=task.few_shot,
                parent="parent" if task.parent is not None else None,
                tell=lambda system: report(
                    {"kind": "progress", "phase": "evaluating", "system": system}
                ),
            )
        figures = {**evaluation.figures, "selected_on_test": found.selected_on_test}
        clock.seconds |= {f"evaluating_{name}": s for name, s in figures["seconds"].items()}
        judged = evaluation.judge(group_by=spec.group_by)
    with clock.phase("probing"):
        probes = probe(model, base, found.measured, data.train, task.probes)
    with clock.phase("writing"):
        artifact.write(folder / "adapter", trained, facts, probes)
    figures |= {
        "loss": trained.best_validation_loss,
        "train_loss": trained.last_loss,
        "seconds": clock.total()["total"],
    }
    return {
        "manifest": facts,
        "evaluation": figures,
        "verdict": judged.verdict,
        "reasons": judged.reasons,
        "result": {
            "seconds": clock.total(),
            "data": {
                "train_rows": len(data.train),
                "validation_rows": len(data.validation),
                "test_rows": len(found.measured),
                "left_out_rows": len(data.left_out),
                "replay_rows": len(general),
                **learned.json(),
            },
            "audit": audited,
            "supervision": supervised,
            "training": {
                "steps": trained.steps,
                "epochs": trained.epochs,
                "best_epoch": trained.best_epoch,
                "first_loss": trained.first_loss,
                "last_loss": trained.last_loss,
                "validation_loss": trained.best_validation_loss,
                "learning_rate": trained.learning_rate,
                "trained_tokens": trained.tokens,
                "tokens_per_s": trained.tokens_per_s,
            },
        },
    }


def read(folder: Path, task: Task, spec: TrainingSpec) -> Data:
    """The rows, divided, with at most `evaluation_rows` to measure on. A validation file says when
    to stop and measures too, which `selected_on_test` tells. Raises InvalidTrainingFile."""
    content = (folder / task.training).read_bytes()
    rows = files.for_objective(files.read(content, keep_good_rows=spec.keep_good_rows), spec)
    skipped = ""
    if spec.keep_good_rows:
        _, errors = files.parse(content)
        skipped = files.describe(errors, len(rows) + len(errors)) if errors else ""
    held: list[Row] = []
    if task.validation is None:
        divided = split(rows, spec.validation_fraction, spec.test_fraction, group_by=spec.group_by)
    else:
        param = "validation_file"
        held = files.read(
            (folder / task.validation).read_bytes(),
            keep_good_rows=spec.keep_good_rows,
            param=param,
        )
        held = files.for_objective(held, spec, param)
        divided = separate(rows, held)
    if not divided.train:
        raise InvalidTrainingFile(
            f"None of {len(rows)} rows is left to learn from: all are, or nearly are, questions "
            "of the validation rows",
            "training_file",
        )
    stopping = _some(divided.validation, task.evaluation_rows)
    measured = _some(divided.test, task.evaluation_rows) or stopping
    both = not divided.test
    divided = Split(divided.train, stopping, divided.test, divided.left_out)
    return Data(divided, measured, both, rows, held, skipped)


def _some(rows: Sequence[Row], most: int) -> list[Row]:
    """At most so many of the rows, chosen by their own hash, in the order of the file."""
    chosen = {id(row) for row in rank_by_hash(rows, "evaluation-1")[:most]}
    return [row for row in rows if id(row) in chosen]


def _tell_data(report: Report, data: Split, measured: int, supervision: dict[str, Any]) -> None:
    lost, cut = supervision["lost_rows"], supervision["cut_rows"]
    message = (
        f"{len(data.train)} rows to learn from ({supervision['supervised_tokens']} of "
        f"{supervision['tokens']} tokens are supervised), {len(data.validation)} to stop by, "
        f"{measured} to measure on"
    )
    if data.left_out:
        message += f"; {len(data.left_out)} left out, too near to those"
    report({"kind": "event", "level": "info", "message": message, "data": supervision})
    if lost or cut:
        lines = ", ".join(map(str, supervision["lost_lines"] + supervision["cut_lines"]))
        message = (
            f"max_length cuts the answers of {cut} rows and removes those of {lost}: lines {lines}"
        )
        report({"kind": "event", "level": "warn", "message": message})


def _on_whole_base(folder: Path, base: Any, trained: Any) -> Any:
    from peft import PeftModel

    trained.model.save_pretrained(folder / "quantised", save_embedding_layers=False)
    model = PeftModel.from_pretrained(base.load(), folder / "quantised")
    model.eval()
    return model


def main(folder: Path) -> int:
    """Run the task in `folder`; 0 when there is an outcome, an error included."""
    news = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not mix with the news
    threading.Thread(target=_die_with_parent, daemon=True).start()
    lock = threading.Lock()

    def report(message: dict[str, Any]) -> None:
        with lock:
            news.write(json.dumps(message) + "\n")

    task = Task(**json.loads((folder / "task.json").read_text(encoding="utf-8")))
    os.nice(task.nice)
    try:
        outcome = run(folder, task, report)
    except TrainingError as error:
        outcome = _error(error)
    except MemoryError:
        outcome = _error(_out_of_memory(task))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        outcome = _error(
            DiskFull("The worker's disk is full: free some space and start the job again")
        )
    except RuntimeError as error:
        # torch says so in words: "can't allocate memory", "CUDA out of memory".
        if "allocate memory" not in str(error) and "out of memory" not in str(error):
            raise
        traceback.print_exc()
        outcome = _error(_out_of_memory(task))
    partial = folder / "outcome.json.tmp"
    partial.write_text(json.dumps(outcome), encoding="utf-8")
    partial.rename(folder / "outcome.json")
    return 0


def _error(error: TrainingError) -> dict[str, Any]:
    return {"error": {"code": error.code, "message": error.message, "param": error.param}}


def _out_of_memory(task: Task) -> OutOfMemory:
    size, length = task.spec.get("batch_size"), task.spec.get("max_length")
    return OutOfMemory(
        f"Training needs more memory than there is (batch_size={size or 'default'}, "
        f"max_length={length or 'default'}): lower either, or use quantize=nf4",
        "batch_size",
    )


def _die_with_parent() -> None:
    # The worker holds the other end and never writes: a read returns when it is gone.
    while os.read(0, 4096):
        pass
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
