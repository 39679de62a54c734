"""What is told and kept while a model trains: the best epoch's weights, and when to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import TrainerCallback

Report = Callable[[dict[str, Any]], None]


class Keeper(TrainerCallback):
    """Tells the news, keeps the best epoch's weights, stops when no better one is in sight."""

    def __init__(self, patience: int, report: Report) -> None:
        self.patience = patience
        self.report = report
        self.trainer: Any = None
        self.losses: list[float] = []
        self.best_loss: float | None = None
        self.best_epoch = 0.0
        self._best: dict[str, torch.Tensor] = {}
        self._worse = 0
        self._started = time.monotonic()

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._started = time.monotonic()
        self._tell(state)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._tell(state)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.losses.append(float(logs["loss"]))

    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Any = None, **_: Any
    ) -> None:
        loss = float(metrics["eval_loss"])
        self.report(
            {
                "kind": "checkpoint",
                "step": state.global_step,
                "metrics": {
                    "step": state.global_step,
                    "epoch": round(float(state.epoch), 4),
                    "train_loss": self.losses[-1] if self.losses else None,
                    "valid_loss": round(loss, 6),
                    "valid_mean_token_accuracy": metrics.get("eval_mean_token_accuracy"),
                },
            }
        )
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_epoch = round(loss, 6), round(float(state.epoch), 4)
            self._best = {name: p.detach().clone() for name, p in self._adapter()}
            self._worse = 0
        else:
            self._worse += 1
            control.should_training_stop = self._worse >= self.patience

    def restore(self) -> None:
        """Put the best epoch's weights back."""
        with torch.no_grad():
            for name, parameter in self._adapter():
                if name in self._best:
                    parameter.copy_(self._best[name])

    def _adapter(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(n, p) for n, p in self.trainer.model.named_parameters() if p.requires_grad]

    def _tell(self, state: Any) -> None:
        spent = time.monotonic() - self._started
        done, steps = state.global_step, state.max_steps
        self.report(
            {
                "kind": "progress",
                "phase": "training",
                "step": done,
                "steps": steps,
                "epoch": round(float(state.epoch or 0.0), 3),
                "loss": self.losses[-1] if self.losses else None,
                "valid_loss": self.best_loss,
                "tokens_per_s": round(self.trainer.tokens_seen / spent, 1) if done else None,
                "eta_s": round(spent / done * (steps - done), 1) if done else None,
                "tokens": self.trainer.tokens_seen,
                "supervised_tokens": self.trainer.supervised_seen,
            }
        )
