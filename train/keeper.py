"""The keeper: tells how training goes, keeps the best epoch's weights and the whole state, stops
when no better epoch is in sight or when training is to rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from train import state as states
from train.durable import Durable, Paused, Wish

Report = Callable[[dict[str, Any]], None]
_SMOOTH = 5
"""Steps whose mean loss is told."""


class Keeper(TrainerCallback):
    """A callback for any Trainer that is Resumable and counts `tokens_seen`, `supervised_seen`.

    Set `trainer` before training. With a `durable` it writes a state at each epoch's end, every
    `every_s` seconds, and when training is to rest: then it raises Paused.
    """

    def __init__(self, patience: int, report: Report, durable: Durable | None = None) -> None:
        self.patience = patience
        self.report = report
        self.durable = durable
        self.trainer: Any = None
        self.rows: list[dict[str, Any]] = []
        """The figures of every step."""
        self.best_loss: float | None = None
        self.best_epoch = 0.0
        self.epochs: dict[int, dict[str, torch.Tensor]] = {}
        """The weights of the last epochs, by their step."""
        self.step, self.epoch = 0, 0.0
        self.done = False
        self._best: dict[str, torch.Tensor] = {}
        self._worse = 0
        self._epoch_rng: torch.Tensor | None = None
        self._resume_rng: torch.Tensor | None = None
        self._spent, self._running = 0.0, False
        self._started = self._kept = time.monotonic()

    @property
    def losses(self) -> list[float]:
        """The loss of every step, nats per supervised token."""
        return [row["train_loss"] for row in self.rows if row.get("train_loss") is not None]

    @property
    def seconds(self) -> float:
        """Time spent in training, over all the processes that had a part in it."""
        return self._spent + (time.monotonic() - self._started if self._running else 0.0)

    def first_loss(self) -> float:
        """The mean of the first steps; NaN before the first."""
        return _mean(self.losses[:_SMOOTH])

    def last_loss(self) -> float:
        """The mean of the last steps; NaN before the first."""
        return _mean(self.losses[-_SMOOTH:])

    def run(self) -> None:
        """Train to the end, from the state if there is one; the best epoch's weights are in the
        model then. Raises Paused."""
        folder = self.resume()
        resume = None if folder is None else str(folder)
        if resume is not None and self.done:  # it ended before: only what follows was lost
            self.trainer._load_from_checkpoint(resume)
            self._freeze()
        else:
            with self.durable.wish if self.durable is not None else Wish():
                self.trainer.train(resume_from_checkpoint=resume)
                self._freeze()
        if self.durable is not None and self.durable.wish.asked:
            raise Paused
        self.restore()

    def resume(self) -> Path | None:
        """Take over a state; the folder that the Trainer is to go on from, None to begin anew."""
        if self.durable is None or self.durable.resume is None:
            return None
        found = states.read(self.durable)
        if found is None:
            self._event("warn", "The kept state does not fit this job: training starts anew")
            return None
        facts, tensors = found
        for name in ("rows", "best_loss", "best_epoch", "step", "epoch", "done"):
            setattr(self, name, facts[name])
        self._worse, self._spent = facts["worse"], facts["spent_s"]
        self.trainer.tokens_seen, self.trainer.supervised_seen = facts["tokens"]
        for key, tensor in tensors.items():
            kind, _, name = key.partition("|")
            if kind == "rng":
                self._resume_rng = tensor
            elif kind == "best":
                self._best[name] = tensor
            else:
                self.epochs.setdefault(int(kind), {})[name] = tensor
        self._event("info", f"Training goes on after step {self.step}")
        return self.durable.resume

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = self._kept = time.monotonic()
        self._running = True
        self._tell(state)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._resume_rng is not None:
            # The order of an epoch's rows is drawn from the generator as it stood at its beginning.
            torch.random.set_rng_state(self._resume_rng)
            self._resume_rng = None
        self._epoch_rng = torch.random.get_rng_state()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._tell(state)
        if self.durable is None or self._is_last_step(state):
            return  # at an epoch's end the state is kept after the evaluation, never before it
        due = time.monotonic() - self._kept >= self.durable.every_s
        control.should_save = due or self.durable.wish.asked

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.trainer.eval_dataset is None:  # nothing to measure on: told all the same
            self._tell_epoch(state, {"valid_loss": None, "valid_mean_token_accuracy": None})
        if self.durable is None:
            return
        control.should_save = True
        if self.durable.checkpoints:
            weights = states.trainable(self.trainer.model)
            self.epochs[state.global_step] = {n: p.clone() for n, p in weights.items()}
            for step in sorted(self.epochs)[: -self.durable.checkpoints]:
                del self.epochs[step]

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            accuracy = logs.get("mean_token_accuracy")
            self.rows.append(
                {
                    "step": state.global_step,
                    "train_loss": float(logs["loss"]),
                    "train_accuracy": None if accuracy is None else float(accuracy),
                }
            )

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        loss = float(metrics["eval_loss"])
        figures = {
            "valid_loss": round(loss, 6),
            "valid_mean_token_accuracy": metrics.get("eval_mean_token_accuracy"),
        }
        if self.rows:
            self.rows[-1] |= figures
        self._tell_epoch(state, figures)
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_epoch = round(loss, 6), round(float(state.epoch), 4)
            weights = states.trainable(self.trainer.model)
            self._best = {name: p.clone() for name, p in weights.items()}
            self._worse = 0
        else:
            self._worse += 1
            control.should_training_stop = self._worse >= self.patience

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.durable is None:
            return
        self.done = control.should_training_stop or state.global_step >= state.max_steps
        self.step, self.epoch = state.global_step, round(float(state.epoch), 4)
        self._keep(Path(args.output_dir) / f"checkpoint-{self.step}", state)
        if self.durable.wish.asked and not self.done:
            raise Paused

    def restore(self) -> None:
        """Put the best epoch's weights back."""
        states.put(self.trainer.model, self._best)

    def _keep(self, checkpoint: Path, state: Any) -> None:
        assert self.durable is not None
        fresh = float(state.epoch).is_integer()  # the next epoch's order is drawn from here
        rng = torch.random.get_rng_state() if fresh else self._epoch_rng
        assert rng is not None
        tensors = {"rng|": rng} | {f"best|{name}": value for name, value in self._best.items()}
        for step, weights in self.epochs.items():
            tensors |= {f"{step}|{name}": value for name, value in weights.items()}
        facts = {
            "key": self.durable.key,
            "step": self.step,
            "epoch": self.epoch,
            "done": self.done,
            "rows": self.rows,
            "best_loss": self.best_loss,
            "best_epoch": self.best_epoch,
            "worse": self._worse,
            "tokens": [self.trainer.tokens_seen, self.trainer.supervised_seen],
            "spent_s": self.seconds,
        }
        target = self.durable.folder / f"step-{self.step}"
        states.complete(checkpoint, target, tensors, facts)
        self._kept = time.monotonic()
        self.report({"kind": "state", "path": str(target), "step": self.step})

    def _freeze(self) -> None:
        self._spent, self._running = self.seconds, False

    def _is_last_step(self, state: Any) -> bool:
        return float(state.epoch).is_integer() or state.global_step >= state.max_steps

    def _event(self, level: str, message: str) -> None:
        self.report({"kind": "event", "level": level, "message": message})

    def _tell_epoch(self, state: Any, figures: dict[str, Any]) -> None:
        self.report(
            {
                "kind": "checkpoint",
                "step": state.global_step,
                "metrics": {
                    "step": state.global_step,
                    "epoch": round(float(state.epoch), 4),
                    "train_loss": self.last_loss() if self.rows else None,
                    **figures,
                },
            }
        )

    def _tell(self, state: Any) -> None:
        spent = self.seconds
        done, steps = state.global_step, state.max_steps
        self.step, self.epoch = done, round(float(state.epoch or 0.0), 4)
        self.report(
            {
                "kind": "progress",
                "phase": "training",
                "step": done,
                "steps": steps,
                "epoch": round(float(state.epoch or 0.0), 3),
                "loss": self.last_loss() if self.rows else None,
                "valid_loss": self.best_loss,
                "tokens_per_s": round(self.trainer.tokens_seen / spent, 1) if done else None,
                "eta_s": round(spent / done * (steps - done), 1) if done else None,
                "tokens": self.trainer.tokens_seen,
                "supervised_tokens": self.trainer.supervised_seen,
            }
        )


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 6) if values else float("nan")
