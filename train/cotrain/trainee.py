"""One job aboard: its rows' order, optimiser, schedule, early stop and best weights.

Nothing here depends on who else is on board. Computes no loss: the loop brings losses, and
gradients lie in the weights.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.trainer_pt_utils import get_length_grouped_indices

from train.cotrain.fitness import STATE, STATE_FORMAT
from train.cotrain.stack import Share
from train.cotrain.weights import Site, Weights
from train.dataset import Example
from train.spec import TrainingSpec
from train.supervision import of_norms

_BETAS, _EPSILON, _MOST_NORM, _SMOOTH = (0.9, 0.999), 1e-8, 1.0, 5


@dataclass(frozen=True)
class CoJob:
    """What is to be trained. `start` are weights to begin with, under PEFT's names; `resume` is a
    folder that `Trainee.save` wrote, and is left aside if it has another `key`."""

    id: str
    examples: Sequence[Example]
    validation: Sequence[Example]
    spec: TrainingSpec
    learning_rate: float
    epochs: float
    start: dict[str, torch.Tensor] | None = None
    resume: Path | None = None
    key: str = ""


class Trainee:
    """A job's state. `weights` hold its adapter and the gradients of the last pass."""

    def __init__(self, job: CoJob, places: Sequence[Site], device: Any) -> None:
        spec = job.spec
        self.job = job
        self.weights = Weights(places, spec.rank, spec.lora_alpha / spec.rank, device)
        if job.start is None:
            self.weights.begin(torch.Generator().manual_seed(spec.seed))
        else:
            self.weights.load(job.start)
        self._mean = torch.zeros_like(self.weights.values)
        self._square = torch.zeros_like(self.weights.values)
        self._best = self.weights.values.clone()
        self._draws = np.random.Generator(np.random.PCG64(spec.seed))
        self._rows = spec.batch_size * spec.gradient_accumulation
        self.per_epoch = -(-len(job.examples) // self._rows)
        self.steps = math.ceil(job.epochs * self.per_epoch)
        self.warmup = round(spec.warmup * job.epochs * -(-len(job.examples) // spec.batch_size))
        self.step = 0
        self.tokens = 0
        self.supervised = 0
        self.rows: list[dict[str, Any]] = []
        """The figures of every step."""
        self.proof: dict[str, Any] = {}
        """What the first step's gradients said."""
        self.best_loss: float | None = None
        self.best_step = 0
        self._worse = 0
        self._order: tuple[int, list[int]] = (-1, [])
        self.epochs: dict[int, torch.Tensor] = {}
        """Weights at the ends of the last `spec.checkpoints` epochs, by their step."""
        self.resumed = job.resume is not None and self._load(job.resume)

    @property
    def done(self) -> bool:
        """All steps are made, or no better validation loss is in sight."""
        return self.step >= self.steps or self._worse >= self.job.spec.patience

    @property
    def ended(self) -> bool:
        """An epoch is over, or the last step is made."""
        return self.step % self.per_epoch == 0 or self.step >= self.steps

    @property
    def epoch(self) -> float:
        """Passes over the examples so far."""
        return round(self.step / self.per_epoch, 4)

    def share(self) -> Share:
        """The next step's rows, in the order of TRL's length groups."""
        epoch, place = divmod(self.step, self.per_epoch)
        if self._order[0] != epoch:
            lengths = [len(example.input_ids) for example in self.job.examples]
            draws = torch.Generator().manual_seed(self.job.spec.seed + 7919 * (epoch + 1))
            order = get_length_grouped_indices(lengths, self._rows, generator=draws)  # type: ignore[no-untyped-call]
            self._order = (epoch, order)
        chosen = self._order[1][place * self._rows : (place + 1) * self._rows]
        rows = [self.job.examples[index] for index in chosen]
        return Share(self.weights, rows, self.job.spec.dropout, self._draws)

    def rate(self) -> float:
        """The next step's learning rate: a warm-up, then half a cosine down to nothing."""
        if self.step < self.warmup:
            return self.job.learning_rate * self.step / max(1, self.warmup)
        share = (self.step - self.warmup) / max(1, self.steps - self.warmup)
        return self.job.learning_rate * max(0.0, 0.5 * (1 + math.cos(math.pi * share)))

    def first_loss(self) -> float:
        """The mean of the first steps; NaN before the first."""
        return _mean(self.rows[:_SMOOTH])

    def last_loss(self) -> float:
        """The mean of the last steps; NaN before the first."""
        return _mean(self.rows[-_SMOOTH:])

    def prove(self, loss: float) -> None:
        """Before the first step is made of them: does every module get a gradient? A's is nothing
        while B is, so B's is enough. `loss` as in `learn`. Raises SupervisionFailed."""
        if not self.proof:
            self.proof = of_norms(self.weights.norms(), loss)

    def learn(self, loss: float, accuracy: float, tokens: int, supervised: int) -> None:
        """One step of AdamW without decay, on gradients clipped to a norm of 1, as TRL makes it.
        `loss` is the mean over the step's supervised tokens, in nats, `accuracy` the share of them
        that the model held likeliest."""
        weights, rate = self.weights, self.rate()
        gradient = weights.gradients
        norm = float(torch.linalg.vector_norm(gradient))
        gradient.mul_(min(1.0, _MOST_NORM / (norm + 1e-6)))
        self.step += 1
        self._mean.lerp_(gradient, 1 - _BETAS[0])
        self._square.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        size = rate / (1 - _BETAS[0] ** self.step)
        root = math.sqrt(1 - _BETAS[1] ** self.step)
        # The gradient is used up: its place serves for what divides.
        torch.sqrt(self._square, out=gradient).div_(root).add_(_EPSILON)
        weights.values.addcdiv_(self._mean, gradient, value=-size)
        self.tokens += tokens
        self.supervised += supervised
        figures = {"train_loss": round(loss, 6), "train_accuracy": round(accuracy, 6)}
        self.rows.append({"step": self.step, **figures})
        if self.job.spec.checkpoints and self.ended:
            self.epochs[self.step] = weights.values.cpu().clone()
            for step in sorted(self.epochs)[: -self.job.spec.checkpoints]:
                del self.epochs[step]

    def judge(self, loss: float, accuracy: float) -> None:
        """Take in the validation's figures after an epoch: keep the best weights by the loss, count
        worse ones."""
        if self.rows:
            self.rows[-1] |= {
                "valid_loss": round(loss, 6),
                "valid_mean_token_accuracy": round(accuracy, 6),
            }
        if self.best_loss is None or loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.step
            self._best.copy_(self.weights.values)
            self._worse = 0
        else:
            self._worse += 1

    def restore(self) -> None:
        """Put the best epoch's weights back."""
        if self.best_loss is not None:
            self.weights.values.copy_(self._best)

    def checkpoints(self) -> dict[int, dict[str, torch.Tensor]]:
        """The last epochs' weights under PEFT's names. Overwrites `weights`, so it comes last."""
        named = {}
        for step, values in sorted(self.epochs.items()):
            self.weights.values.copy_(values)
            named[step] = {name: each.cpu() for name, each in self.weights.state().items()}
        return named

    def save(self, folder: Path) -> None:
        """Everything that goes on from here needs, as safetensors and JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = (self.weights.values, self._mean, self._square, self._best)
        names = ("values", "mean", "square", "best")
        own = {name: each.cpu() for name, each in zip(names, tensors, strict=True)}
        own |= {f"epoch|{step}": values for step, values in self.epochs.items()}
        save_file(own, folder / "trainee.safetensors")
        facts = {name: getattr(self, name) for name in _KEPT}
        facts["draws"] = self._draws.bit_generator.state
        facts |= {"format": STATE_FORMAT, "key": self.job.key}
        (folder / STATE).write_text(json.dumps(facts, sort_keys=True), encoding="utf-8")

    def _load(self, folder: Path) -> bool:
        """Go on from there; False if what lies there is not this job's."""
        try:
            facts = json.loads((folder / STATE).read_text(encoding="utf-8"))
            if (facts["format"], facts["key"]) != (STATE_FORMAT, self.job.key):
                return False
            kept = load_file(folder / "trainee.safetensors")
        except (OSError, ValueError, KeyError, SafetensorError):
            return False
        self.weights.values.copy_(kept["values"])
        self._mean.copy_(kept["mean"])
        self._square.copy_(kept["square"])
        self._best.copy_(kept["best"])
        self.epochs = {
            int(name.partition("|")[2]): each for name, each in kept.items() if "|" in name
        }
        for name in _KEPT:
            setattr(self, name, facts[name])
        self._draws.bit_generator.state = facts["draws"]
        return True


_KEPT = (
    "step", "tokens", "supervised", "rows", "proof", "best_loss", "best_step", "_worse",
)  # fmt: skip


def _mean(rows: Sequence[dict[str, Any]]) -> float:
    losses: list[float] = [row["train_loss"] for row in rows]
    return round(sum(losses) / len(losses), 6) if losses else math.nan
