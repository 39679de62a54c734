"""Better options by trial: Optuna's TPE over learning rate, rank, epochs and dropout.

The first trial is what the job would have trained with, so that what is chosen is never worse on
the validation rows; test rows are not seen. The study is seeded and lives in memory: the same job
tries the same options in the same order. Knows nothing about models but how to take an adapter off
one again.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from train.spec import TrainingSpec

Report = Callable[[dict[str, Any]], None]
TrainOne = Callable[[TrainingSpec, Report], float | None]
"""Train with these options, telling the news; the best validation loss, None without one."""

_RATE = 4.0  # a quarter … four times the rule's
_PASSES = (0.5, 1.5)
_DROPOUT = 0.3
_UNPRUNED = 3  # trials before any is held against the others
_GUESSES = 4  # trials before TPE takes the others into account


@dataclass(frozen=True)
class Searched:
    """The spec with the best options filled in, and every trial as it went."""

    spec: TrainingSpec
    trials: list[dict[str, Any]]

    def json(self) -> dict[str, Any]:
        """For the manifest and the job's result: nothing in it is a matter of the clock."""
        chosen = {name: getattr(self.spec, name) for name in _DIALS}
        return {"chosen": chosen, "trials": self.trials}


_DIALS = ("learning_rate", "rank", "epochs", "dropout")


class _Pruned(Exception):
    """The trial is behind the median of those before it."""


def best_options(
    train_one: TrainOne,
    spec: TrainingSpec,
    *,
    learning_rate: float,
    epochs: float,
    report: Report,
) -> Searched:
    """Try `spec.search` sets of options around those given; `spec.rank` is the most.

    `learning_rate` and `epochs` are what `spec` means for this base and data. After each epoch a
    trial worse than the median of those before it is given up. A trial without a finite loss is
    told as such; if there is no other, the options stay as they were.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=spec.seed, n_startup_trials=_GUESSES),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED, n_warmup_steps=1),
    )
    start = dataclasses.replace(
        spec, learning_rate=learning_rate, learning_rate_multiplier=1.0, epochs=epochs
    )
    passes = _passes(epochs)
    study.enqueue_trial(
        {
            "learning_rate": learning_rate,
            "halvings": 0,
            "passes": passes.index(epochs),
            "dropout": spec.dropout,
        }
    )
    trials: list[dict[str, Any]] = []
    best, best_loss = start, math.inf
    began = time.monotonic()
    for number in range(1, spec.search + 1):
        trial = study.ask()
        options = dataclasses.replace(
            start,
            learning_rate=trial.suggest_float(
                "learning_rate", learning_rate / _RATE, learning_rate * _RATE, log=True
            ),
            rank=spec.rank >> trial.suggest_int("halvings", 0, _halvings(spec.rank)),
            epochs=passes[trial.suggest_int("passes", 0, len(passes) - 1)],
            dropout=trial.suggest_float("dropout", 0.0, max(_DROPOUT, spec.dropout)),
        )
        news = _News(trial, number, spec.search, report, began)
        state, loss = "complete", None
        try:
            loss = train_one(options, news)
        except _Pruned:
            state, loss = "pruned", news.best
        if loss is None or not math.isfinite(loss):
            state, loss = "diverged", None
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        elif state == "pruned":
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, loss)
            if loss < best_loss:
                best, best_loss = options, loss
        trials.append(_row(number, options, state, loss, news.epochs))
        report({"kind": "event", "level": "info", "message": _line(trials[-1]), "data": trials[-1]})
    return Searched(best, trials)


class _News:
    """What a trial's training tells: progress goes on as the search's, checkpoints to the pruner
    only (a trial's are nobody's to serve), everything else is left unsaid."""

    def __init__(self, trial: Any, number: int, of: int, report: Report, began: float) -> None:
        self._trial, self._number, self._of, self._report = trial, number, of, report
        self._began = began
        self.epochs = 0
        self.best: float | None = None

    def __call__(self, message: dict[str, Any]) -> None:
        if message["kind"] == "progress":
            self._report({**message, "phase": "search", **self._place(message)})
        elif message["kind"] == "checkpoint":
            loss = float(message["metrics"]["valid_loss"])
            self.epochs += 1
            if not math.isfinite(loss):
                raise _Pruned  # no epoch after it brings it back
            self.best = loss if self.best is None else min(self.best, loss)
            self._trial.report(loss, self.epochs)
            if self._trial.should_prune():
                raise _Pruned

    def _place(self, message: dict[str, Any]) -> dict[str, Any]:
        """Where in the search this is; `eta_s` as if the trials to come were like those before."""
        steps = message.get("steps")
        share = self._number - 1 + (message.get("step", 0) / steps if steps else 0.0)
        left = (time.monotonic() - self._began) * (self._of - share) / share if share else None
        return {
            "trial": self._number,
            "trials": self._of,
            "eta_s": None if left is None else round(left, 1),
        }


def on_base(model: Any, spec: TrainingSpec, train: Callable[..., Any]) -> TrainOne:
    """`train(options, report) -> Trained` as a trial on one loaded base: whatever comes of it, the
    base is afterwards as it was. Full fine-tuning moves the base's own weights, which are kept
    beside and put back: that takes the memory twice."""
    kept = (
        {name: value.detach().clone() for name, value in model.state_dict().items()}
        if spec.method == "full"
        else None
    )

    def one(options: TrainingSpec, report: Report) -> float | None:
        with _left_as_it_was(model, kept):
            loss: float | None = train(options, report).best_validation_loss
        return loss

    return one


@contextmanager
def _left_as_it_was(model: Any, kept: dict[str, Any] | None) -> Iterator[None]:
    try:
        yield
    finally:
        take_off(model)
        model.zero_grad(set_to_none=True)
        if kept is not None:
            model.load_state_dict(kept)


def take_off(model: Any) -> None:
    """Put the base's own layers back where PEFT wrapped them.

    `PeftModel.unload` does so too, but a trial that was given up leaves no PeftModel behind.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    wrapped = [(n, m) for n, m in model.named_modules() if isinstance(m, BaseTunerLayer)]
    for name, module in wrapped:
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config  # or PEFT warns of a second adapter on top of the first


def _halvings(rank: int) -> int:
    """How often the rank may be halved: to an eighth, and not below 4 where it is above."""
    least = min(rank, 4)
    return min(3, (rank // least).bit_length() - 1)


def _passes(epochs: float) -> list[float]:
    """Numbers of epochs to try, with the one given among them."""
    low, high = (share * epochs for share in _PASSES)
    whole = {float(n) for n in range(max(1, math.ceil(low)), math.floor(high) + 1)}
    return sorted(whole | {epochs})


def _row(
    number: int, options: TrainingSpec, state: str, loss: float | None, epochs: int
) -> dict[str, Any]:
    return {
        "trial": number,
        **{name: getattr(options, name) for name in _DIALS},
        "state": state,
        "epochs_run": epochs,
        "validation_loss": loss,
    }


def _line(row: dict[str, Any]) -> str:
    loss = row["validation_loss"]
    told = "no finite loss" if loss is None else f"validation loss {loss:.4f}"
    ended = ", given up" if row["state"] == "pruned" else ""
    return (
        f"Trial {row['trial']}: {told}{ended} (learning rate {row['learning_rate']:.2g}, "
        f"rank {row['rank']}, {row['epochs']:g} epochs, dropout {row['dropout']:.2f})"
    )
