"""The way of one job: rows → audit → base → tokens → training → a plain LoRA → evaluation →
probes → the adapter's folder and the outcome. Knows nothing about the registry or processes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.store import canonical
from train import combinations
from train.durable import Durable, Wish
from train.hyperparameters import resolved
from train.reading import Data, read
from train.rows import Row
from train.spec import TrainingSpec
from train.split import Split
from train.task import Clock, Report, Task

if TYPE_CHECKING:
    from train.dataset import Example, Supervision
    from train.model import Base
    from train.sft import Trained


def run(folder: Path, task: Task, report: Report, wish: Wish | None = None) -> dict[str, Any]:
    """The whole pipeline. Returns the outcome; raises TrainingError, and Paused by `wish`."""
    clock = Clock(report)
    spec = TrainingSpec.parse(task.spec)
    combinations.check(spec, task.device)
    with clock.phase("reading"):
        data = read(folder, task, spec)
        if data.skipped:
            report({"kind": "event", "level": "warn", "message": data.skipped})
    return learn(folder, task, spec, data, clock, report, wish)


@dataclass(frozen=True)
class Prepared:
    """Rows as tokens, and what was found out about them on the way."""

    train: list[Example]
    held: list[Example]
    account: Supervision
    audit: dict[str, Any]
    supervision: dict[str, Any]
    replayed: int = 0

    @property
    def answer_tokens(self) -> float:
        """Supervised tokens of a row, in the mean."""
        return self.account.supervised / self.account.rows


def learn(
    folder: Path,
    task: Task,
    spec: TrainingSpec,
    data: Data,
    clock: Clock,
    report: Report,
    wish: Wish | None = None,
) -> dict[str, Any]:
    """From divided rows to the adapter's folder and the outcome. Raises TrainingError, Paused."""
    rows = data.split
    with clock.phase("import"):
        # Bad files and bad options are told above, before these ten seconds.
        import torch

        from registry.fingerprint import base_fingerprint
        from train import compile, methods, search, supervision
        from train.model import Base
        from train.replay import replayed
        from train.sft import fine_tune
    torch.set_num_threads(task.threads or os.cpu_count() or 1)
    with clock.phase("loading"):
        base = Base(task.base, task.device)
        fingerprint = base_fingerprint(base.folder)
        attention = methods.attention(spec, base.device)
        model = base.load(spec.quantize, exact=spec.method == "full", attention=attention)
    general = data.replayed
    if spec.replay and spec.replay_source == "base":
        with clock.phase("replaying"):
            general = replayed(model, base, rows.train, spec.replay, spec.seed)
    if task.parent is not None and spec.objective in combinations.PREFERENCES:
        model = _from_parent(model, folder / task.parent)
    prepared = prepare(task, spec, data, base, clock, report, general)
    durable = Durable(
        folder / "states",
        every_s=task.checkpoint_s,
        resume=None if task.resume is None else folder / task.resume,
        key=state_key(task, fingerprint, data.digest),
        checkpoints=task.checkpoints,
        wish=wish or Wish(),
    )

    def prove(adapted: Any) -> None:
        prepared.supervision.update(supervision.of_gradients(adapted, prepared.train))

    def train_with(options: TrainingSpec, report: Report, durable: Durable | None = None) -> Any:
        return fine_tune(
            model,
            base.tokenizer,
            prepared.train,
            prepared.held,
            options,
            learning_rate=options.learning_rate_for(base.hidden_size),
            epochs=options.epochs_for(prepared.answer_tokens),
            device=base.device,
            scratch=folder / "trainer",
            report=report,
            durable=durable,
            before=prove,
        )

    searched = None
    if spec.search and prepared.held:
        with clock.phase("search"):
            one = search.on_base(model, spec, train_with)
            searched = search.best_options(
                one,
                spec,
                learning_rate=spec.learning_rate_for(base.hidden_size),
                epochs=spec.epochs_for(prepared.answer_tokens),
                report=report,
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
    model = trained.model
    if spec.quantize != "none" and not compiled:  # served on the whole base, so judged on it
        with clock.phase("reloading"):
            model = _on_whole_base(folder, base, trained)
    return conclude(
        folder,
        task,
        spec,
        data,
        prepared,
        base,
        model,
        trained,
        clock,
        report,
        more={
            **({"search": searched.json()} if searched else {}),
            **({"compiled": {"method": spec.method, **compiled}} if compiled else {}),
        },
    )


def prepare(
    task: Task,
    spec: TrainingSpec,
    data: Data,
    base: Base,
    clock: Clock,
    report: Report,
    general: Sequence[Row] = (),
) -> Prepared:
    """Audit the rows, make tokens of them and of the `general` ones, and look at what will be
    learned. Raises TrainingError."""
    from train import dataset, methods, supervision
    from train.audit.job import examine

    rows = data.split
    combinations.check_rows(spec, [*rows.train, *rows.validation, *rows.test])
    longest = min(spec.max_length, base.context)
    with clock.phase("auditing"):
        audited = examine(
            data.training,
            data.held,
            spec.audit,
            tokenizer=getattr(base.tokenizer, "backend_tokenizer", None),
            max_length=longest,
            answers=task.answers,
            report=report,
        )
    with clock.phase("tokenising"):
        tools = (base.tokenizer, base.training_template, longest)
        stop = base.stop_tokens()
        train, account = dataset.tokenise([*dataset.weighted(rows.train), *general], *tools, stop)
        held, _ = dataset.tokenise(rows.validation, *tools, stop)
    _tell_data(report, rows, len(data.measured), account.json())
    if advice := spec.advice(len(rows.train), task.spec):
        report({"kind": "event", "level": "info", "message": advice})
    found = {
        **account.json(),
        **supervision.of_tokens(train, stop),
        **supervision.of_engine(rows.train, base.tokenizer, task.engine_url, task.base_name),
    }
    prepared = Prepared(train, held, account, audited, found, len(general))
    options = resolved(spec, prepared.answer_tokens, base.hidden_size, methods.processes())
    report({"kind": "validated", "hyperparameters": options})
    return prepared


def conclude(
    folder: Path,
    task: Task,
    spec: TrainingSpec,
    data: Data,
    prepared: Prepared,
    base: Base,
    model: Any,
    trained: Trained,
    clock: Clock,
    report: Report,
    *,
    more: dict[str, Any],
) -> dict[str, Any]:
    """From a trained adapter to its folder and the outcome. `model` is what is evaluated: the
    adapter on the whole base. `more` goes into manifest and result."""
    from registry.fingerprint import base_fingerprint
    from train import artifact, measuring, methods, state, verdict
    from train.evaluation import min_effect
    from train.probes import probe

    rows = data.split
    facts = artifact.manifest(
        trained,
        base,
        spec,
        tenant=task.tenant,
        adapter=task.adapter,
        base_name=task.base_name,
        fingerprint=base_fingerprint(base.folder),
        dataset_sha256=data.digest,
        rows={"train": len(rows.train), "validation": len(rows.validation)},
    )
    facts |= more
    if "compiled" in more:
        facts["training"]["alpha"] = spec.lora_alpha
    if task.parent is not None:
        model.load_adapter(str(folder / task.parent), adapter_name="parent")
    figures: dict[str, Any] = {"kind": None, "n": 0}
    judged = verdict.decide([], {})
    # An answer that was not liked is no reference to be measured by.
    measured = [row for row in data.measured if row.good]
    if measured:
        with clock.phase("evaluating"):
            evaluation = measuring.evaluation_of(
                folder, model, base, spec, task, rows, measured, report, data.general
            )
        figures = {**evaluation.figures, "selected_on_test": data.selected_on_test}
        clock.seconds |= {f"evaluating_{name}": s for name, s in figures["seconds"].items()}
        judged = evaluation.judge(
            group_by=spec.group_by, min_effect=min_effect(task.answers), gain_on=spec.gain_on
        )
    with clock.phase("probing"):
        probes = probe(model, base, data.measured, rows.train, task.probes)
    with clock.phase("writing"):
        artifact.write(folder / "adapter", trained, facts, probes)
        (folder / "metrics.csv").write_text(step_metrics(trained.rows), encoding="utf-8")
    checkpoints = []
    for step, weights in sorted(trained.checkpoints.items()):
        with clock.phase("checkpoints"):
            state.put(model, weights)
            probes = probe(model, base, data.measured, rows.train, task.probes)
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
    if "compiled" in more:
        figures["compiled"] = {"method": spec.method, "error": more["compiled"]["error"]}
    return {
        "manifest": facts,
        "evaluation": figures,
        "verdict": judged.verdict,
        "reasons": judged.reasons,
        "checkpoints": checkpoints,
        "result": {
            "seconds": clock.total(),
            "data": {
                "train_rows": len(rows.train),
                "validation_rows": len(rows.validation),
                "test_rows": len(data.measured),
                "left_out_rows": len(rows.left_out),
                "replay_rows": prepared.replayed,
                **prepared.account.json(),
            },
            "audit": prepared.audit,
            "supervision": prepared.supervision,
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
                "hyperparameters": resolved(
                    spec, prepared.answer_tokens, base.hidden_size, methods.processes()
                ),
            },
            **more,
        },
    }


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


def state_key(task: Task, fingerprint: dict[str, str], dataset_sha256: str) -> str:
    """What a state belongs to: these options, this base, these rows."""
    spec = asdict(TrainingSpec.parse(task.spec))
    return hashlib.sha256(canonical([spec, fingerprint, dataset_sha256])).hexdigest()


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


def _from_parent(model: Any, parent: Path) -> Any:
    """Preferences go on from the adapter that was learned before, if the job names one."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, parent, is_trainable=True)
