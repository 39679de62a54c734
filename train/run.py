"""One job, from its files to an adapter folder, as a process: `python -m train.run FOLDER`.

Knows nothing about the registry: it reads `task.json` and the data files in FOLDER, writes JSON
lines of news to its standard output, and leaves `adapter/` and `outcome.json` there. It ends at
once when its standard input closes, so that it never outlives the worker that started it; the line
`pause` there makes it keep its state and end with PAUSED_EXIT.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from registry.store import canonical
from train import combinations
from train import rows as files
from train.answers import Answers
from train.durable import PAUSED_EXIT, Durable, Paused, Wish
from train.errors import DiskFull, InvalidTrainingFile, OutOfMemory, TrainingError, disk_is_full
from train.rows import Row
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
    resume: str | None = None
    """The state to go on from."""
    checkpoint_s: float = 60.0
    """The most seconds of training between two states."""

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


def run(folder: Path, task: Task, report: Report, wish: Wish | None = None) -> dict[str, Any]:
    """The whole pipeline. Returns the outcome; raises TrainingError, and Paused by `wish`."""
    clock = Clock(report)
    spec = TrainingSpec.parse(task.spec)
    combinations.check(spec, task.device)
    with clock.phase("reading"):
        data, skipped = read(folder, task, spec)
        if skipped:
            report({"kind": "event", "level": "warn", "message": skipped})
    return learn(folder, task, spec, data, clock, report, wish)


def learn(
    folder: Path,
    task: Task,
    spec: TrainingSpec,
    data: Split,
    clock: Clock,
    report: Report,
    wish: Wish | None = None,
) -> dict[str, Any]:
    """From divided rows to the adapter's folder and the outcome. Raises TrainingError."""
    combinations.check_rows(spec, [*data.train, *data.validation])
    with clock.phase("import"):
        # Bad files and bad options are told above, before these ten seconds.
        import torch

        from registry.fingerprint import base_fingerprint
        from train import artifact, compile, dataset, likelihood, methods, search, state, verdict
        from train.evaluate import evaluate
        from train.model import Base
        from train.probes import probe
        from train.sft import fine_tune
    torch.set_num_threads(task.threads or os.cpu_count() or 1)
    with clock.phase("loading"):
        base = Base(task.base, task.device)
        fingerprint = base_fingerprint(base.folder)
        attention = methods.attention(spec, base.device)
        model = base.load(spec.quantize, exact=spec.method == "full", attention=attention)
        if task.parent is not None and spec.objective in combinations.PREFERENCES:
            model = _from_parent(model, folder / task.parent)
    with clock.phase("tokenising"):
        tools = (base.tokenizer, base.training_template, min(spec.max_length, base.context))
        learned = dataset.weighted(data.train)
        train, supervision = dataset.tokenise(learned, *tools, base.stop_tokens())
        held, _ = dataset.tokenise(data.validation, *tools, base.stop_tokens())
    _tell_data(report, data, supervision.json())
    if advice := spec.advice(len(data.train), task.spec):
        report({"kind": "event", "level": "info", "message": advice})
    dataset_sha256 = files.digest([*data.train, *data.validation])
    durable = Durable(
        folder / "states",
        every_s=task.checkpoint_s,
        resume=None if task.resume is None else folder / task.resume,
        key=_key(task, fingerprint, dataset_sha256),
        checkpoints=task.checkpoints,
        wish=wish or Wish(),
    )
    rate = spec.learning_rate_for(base.hidden_size)
    epochs = spec.epochs_for(supervision.supervised / supervision.rows)

    def train_with(options: TrainingSpec, report: Report, durable: Durable | None = None) -> Any:
        return fine_tune(
            model,
            base.tokenizer,
            train,
            held,
            options,
            learning_rate=options.learning_rate or rate,
            epochs=options.epochs or epochs,
            device=base.device,
            scratch=folder / "trainer",
            report=report,
            durable=durable,
        )

    searched = None
    if spec.search and held:
        with clock.phase("search"):
            one = search.on_base(model, spec, train_with)
            searched = search.best_options(
                one, spec, learning_rate=rate, epochs=epochs, report=report
            )
        spec = searched.spec
    with clock.phase("training"):
        trained = train_with(spec, report, durable)
    if methods.rank():  # trained along with the first process, which does the rest
        return {}
    compiled: dict[str, Any] = {}
    if spec.method in combinations.COMPILED:
        with clock.phase("compiling"):
            served, compiled = compile.served(trained.model, base, spec)
            trained = replace(trained, model=served)
    facts = artifact.manifest(
        trained,
        base,
        spec,
        tenant=task.tenant,
        adapter=task.adapter,
        base_name=task.base_name,
        fingerprint=fingerprint,
        dataset_sha256=dataset_sha256,
        rows={"train": len(data.train), "validation": len(data.validation)},
        searched=searched.json() if searched else None,
    )
    if compiled:
        facts |= {"compiled": {"method": spec.method, **compiled}}
        facts["training"]["alpha"] = spec.lora_alpha
    model = trained.model
    if spec.quantize != "none" and not compiled:  # served on the whole base, so judged on it
        with clock.phase("reloading"):
            model = _on_whole_base(folder, base, trained)
    if task.parent is not None:
        model.load_adapter(str(folder / task.parent), adapter_name="parent")
    figures: dict[str, Any] = {"kind": None, "n": 0}
    judged = verdict.decide([], {})
    # An answer that was not liked is no reference to be measured by.
    measured = [row for row in data.validation if row.good]
    if measured:
        with clock.phase("evaluating"):
            parent = "parent" if task.parent is not None else None

            def tell(system: str) -> None:
                report({"kind": "progress", "phase": "evaluating", "system": system})

            if spec.objective == "pretrain":
                evaluation = likelihood.evaluate_texts(
                    model, base, measured, parent=parent, tell=tell
                )
            elif spec.objective == "dpo":
                evaluation = likelihood.evaluate_preferences(
                    model, base, measured, parent=parent, tell=tell
                )
            else:
                examples = [row for row in data.train if row.good]
                answers = Answers.of(task.answers, [row.answer for row in (*examples, *measured)])
                evaluation = evaluate(
                    model,
                    base,
                    measured,
                    examples,
                    answers,
                    few_shot=task.few_shot,
                    parent=parent,
                    tell=tell,
                )
        figures = evaluation.figures
        clock.seconds |= {f"evaluating_{name}": s for name, s in figures["seconds"].items()}
        judged = evaluation.judge(group_by=spec.group_by)
    with clock.phase("probing"):
        probes = probe(model, base, data.validation, data.train, task.probes)
    with clock.phase("writing"):
        artifact.write(folder / "adapter", trained, facts, probes)
        (folder / "metrics.csv").write_text(step_metrics(trained.rows), encoding="utf-8")
    checkpoints = []
    with clock.phase("checkpoints"):
        for step, weights in sorted(trained.checkpoints.items()):
            state.put(model, weights)
            probes = probe(model, base, data.validation, data.train, task.probes)
            made = {**facts, "step": step}
            artifact.write(
                folder / f"checkpoint-{step}", replace(trained, model=model), made, probes
            )
            checkpoints.append({"step": step, "path": f"checkpoint-{step}", "manifest": made})
    figures |= {
        "loss": trained.best_validation_loss,
        "train_loss": trained.last_loss,
        "seconds": clock.total()["total"],
    }
    if compiled:
        figures["compiled"] = {"method": spec.method, "error": compiled["error"]}
    return {
        "manifest": facts,
        "evaluation": figures,
        "verdict": judged.verdict,
        "reasons": judged.reasons,
        "checkpoints": checkpoints,
        "result": {
            "seconds": clock.total(),
            "data": {
                "train_rows": len(data.train),
                "validation_rows": len(data.validation),
                "left_out_rows": len(data.left_out),
                **supervision.json(),
            },
            **({"search": searched.json()} if searched else {}),
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
            **({"compiled": facts["compiled"]} if compiled else {}),
        },
    }


def read(folder: Path, task: Task, spec: TrainingSpec) -> tuple[Split, str]:
    """The rows, divided, with at most `evaluation_rows` to measure on; and a warning about rows
    that were passed over. Raises InvalidTrainingFile."""
    data = (folder / task.training).read_bytes()
    found = files.read(data, keep_good_rows=spec.keep_good_rows)
    warning = ""
    if spec.keep_good_rows:
        _, errors = files.parse(data)
        warning = files.describe(errors, len(found) + len(errors)) if errors else ""
    if task.validation is None:
        divided = split(found, spec.validation_fraction, group_by=spec.group_by)
    else:
        held = files.read(
            (folder / task.validation).read_bytes(),
            keep_good_rows=spec.keep_good_rows,
            param="validation_file",
        )
        divided = separate(found, held)
    if not divided.train:
        raise InvalidTrainingFile(
            f"None of {len(found)} rows is left to learn from: all are, or nearly are, questions "
            "of the validation rows",
            "training_file",
        )
    chosen: set[int] = {
        id(row) for row in rank_by_hash(divided.validation, "evaluation-1")[: task.evaluation_rows]
    }
    measured: list[Row] = [row for row in divided.validation if id(row) in chosen]
    return Split(divided.train, measured, divided.left_out), warning


def step_metrics(rows: list[dict[str, Any]]) -> str:
    """The figures of every step as CSV, with OpenAI's columns; empty where there is none."""
    columns = (
        "step",
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "valid_mean_token_accuracy",
    )
    lines = [",".join("" if row.get(c) is None else str(row[c]) for c in columns) for row in rows]
    return "\n".join([",".join(columns), *lines]) + "\n"


def _key(task: Task, fingerprint: dict[str, str], dataset_sha256: str) -> str:
    """What a state belongs to: these options, this base, these rows."""
    spec = asdict(TrainingSpec.parse(task.spec))
    return hashlib.sha256(canonical([spec, fingerprint, dataset_sha256])).hexdigest()


def _tell_data(report: Report, data: Split, supervision: dict[str, Any]) -> None:
    lost, cut = supervision["lost_rows"], supervision["cut_rows"]
    message = (
        f"{len(data.train)} rows to learn from ({supervision['supervised_tokens']} of "
        f"{supervision['tokens']} tokens are supervised), {len(data.validation)} to measure on"
    )
    if data.left_out:
        message += f"; {len(data.left_out)} left out, too near to the latter"
    report({"kind": "event", "level": "info", "message": message, "data": supervision})
    if lost or cut:
        lines = ", ".join(map(str, supervision["lost_lines"] + supervision["cut_lines"]))
        message = (
            f"max_length cuts the answers of {cut} rows and removes those of {lost}: lines {lines}"
        )
        report({"kind": "event", "level": "warn", "message": message})


def _from_parent(model: Any, parent: Path) -> Any:
    """Preferences go on from the adapter that was learned before, if the job names one."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, parent, is_trainable=True)


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
    lock = threading.Lock()
    first = os.environ.get("RANK", "0") == "0"

    def report(message: dict[str, Any]) -> None:
        if first:  # of the processes that train together, if there are several
            with lock:
                news.write(json.dumps(message) + "\n")

    def leave() -> None:
        with lock:  # no line of news is cut
            os._exit(PAUSED_EXIT)

    wish = Wish(leave)
    threading.Thread(target=_obey, args=(wish,), daemon=True).start()
    task = Task(**json.loads((folder / "task.json").read_text(encoding="utf-8")))
    os.nice(task.nice)
    try:
        outcome = run(folder, task, report, wish)
    except Paused:
        return PAUSED_EXIT
    except TrainingError as error:
        outcome = _error(error)
    except MemoryError:
        outcome = _error(_out_of_memory(task))
    except Exception as error:
        # torch says in words what is wrong: "can't allocate memory", "CUDA out of memory".
        traceback.print_exc()
        if disk_is_full(error):
            for name in ("trainer", "states", "adapter", "quantised"):  # room for the outcome
                shutil.rmtree(folder / name, ignore_errors=True)
            outcome = _error(
                DiskFull("The worker's disk is full: free some space and start the job again")
            )
        elif isinstance(error, RuntimeError) and (
            "allocate memory" in str(error) or "out of memory" in str(error)
        ):
            outcome = _error(_out_of_memory(task))
        else:
            raise
    if not first:
        return 0
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


def _obey(wish: Wish) -> None:
    # The worker holds the other end: a read that returns nothing says that it is gone.
    while said := os.read(0, 4096):
        if b"pause" in said:
            wish.ask()
    os._exit(3)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
