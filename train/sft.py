"""Fine-tuning by TRL and PEFT: rows that are tokenised already → a model whose weights moved.

Learns only what is labelled, stops when the validation loss does not get better and takes the best
epoch's weights. Packs only where FlashAttention keeps packed examples apart. The same spec, data,
machine and thread count give the same weights, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from torch.nn import functional
from trl import SFTConfig, SFTTrainer

from train import methods, preferences
from train.combinations import PREFERENCES
from train.course import Course
from train.dataset import IGNORED, Example
from train.durable import Durable
from train.keeper import Keeper, Report
from train.spec import TrainingSpec
from train.state import Resumable


@dataclass(frozen=True, kw_only=True)
class Trained(Course):
    """The model with its adapter, and how training went."""

    model: Any


def fine_tune(
    model: Any,
    tokenizer: Any,
    train: Sequence[Example],
    validation: Sequence[Example],
    spec: TrainingSpec,
    *,
    learning_rate: float,
    epochs: float,
    device: str,
    scratch: Path,
    report: Report,
    durable: Durable | None = None,
    before: Callable[[Any], None] = lambda _: None,
) -> Trained:
    """Train on `model`: a base, or a PEFT model whose adapter preferences go on from.

    `report` gets progress after every step and a checkpoint's figures after every epoch. With
    method "full" the result is the base itself, changed; otherwise a PEFT model. With a `durable`
    whole states are kept, and gone on from; Paused is raised when training was asked to rest.
    `before` gets the model with its adapter, before the first step.
    """
    keeper = Keeper(spec.patience, report, durable)
    settings = methods.arguments(
        spec,
        len(train),
        learning_rate=learning_rate,
        epochs=epochs,
        device=device,
        scratch=scratch,
    )
    settings["eval_strategy"] = "epoch" if validation else "no"
    make = preferences.trainer if spec.objective in PREFERENCES else _supervised
    trainer = make(model, tokenizer, train, validation, spec, settings, keeper)
    keeper.trainer = trainer
    before(trainer.model)
    keeper.run()
    trainer.model.eval()
    if spec.objective in PREFERENCES:
        preferences.drop_reference(trainer.model)
    return Trained(
        model=trainer.model,
        learning_rate=learning_rate,
        most_epochs=epochs,
        steps=keeper.step,
        epochs=keeper.epoch,
        first_loss=keeper.first_loss(),
        last_loss=keeper.last_loss(),
        best_validation_loss=keeper.best_loss,
        best_epoch=keeper.best_epoch,
        tokens=trainer.tokens_seen,
        tokens_per_s=round(trainer.tokens_seen / max(keeper.seconds, 1e-9), 1),
        rows=keeper.rows,
        checkpoints=keeper.epochs,
    )


def _supervised(
    model: Any,
    tokenizer: Any,
    train: Sequence[Example],
    validation: Sequence[Example],
    spec: TrainingSpec,
    settings: dict[str, Any],
    keeper: Keeper,
) -> Any:
    """The trainer for answers and for plain text: labels say what is learned."""
    config = methods.adapter(spec)
    if config is None:
        methods.free_linear_layers(model)
    if spec.packing:
        settings |= {
            "packing": True,
            "max_length": spec.max_length,  # of a pack; examples are no longer already
            "warmup_steps": spec.warmup,  # as a share: how many packs there will be is TRL's to say
        }
    else:
        # Like lengths share a batch. The order is drawn for the batch of a whole step, so that it
        # does not depend on how many parts the step is accumulated from.
        settings["train_sampling_strategy"] = "group_by_length"
    return (_Packed if spec.packing else _Trainer)(
        model=model,
        args=SFTConfig(**settings, dataset_kwargs={"skip_prepare_dataset": not spec.packing}),
        processing_class=tokenizer,
        train_dataset=_columns(train),
        eval_dataset=_columns(validation) if validation else None,
        peft_config=config,
        callbacks=[keeper],
    )


class _Trainer(Resumable, SFTTrainer):  # type: ignore[misc]
    """TRL's trainer with a loss that projects only supervised positions onto the vocabulary.

    On a CPU TRL projects every position (it compacts them only for Triton), which for short answers
    behind long prompts costs more than the rest of the step. Batches are padded on the right and
    attention is causal, so that no real token sees a pad and no mask is needed either.
    """

    tokens_seen = 0
    supervised_seen = 0

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        if return_outputs:
            return super().compute_loss(model, inputs, True, num_items_in_batch)
        targets = inputs["labels"][:, 1:]
        kept = (targets != IGNORED).any(dim=0).nonzero().squeeze(-1)
        logits = model(input_ids=inputs["input_ids"], logits_to_keep=kept, use_cache=False).logits
        targets = targets[:, kept]
        chosen = targets != IGNORED
        logits, targets = logits[chosen].float(), targets[chosen]
        count = targets.numel() if num_items_in_batch is None else num_items_in_batch
        loss = functional.cross_entropy(logits, targets, reduction="sum") / count
        if (
            num_items_in_batch is not None
        ):  # counted over all processes, whose gradients are averaged
            loss = loss * self.accelerator.num_processes
        mode = "train" if self.model.training else "eval"
        accuracy = (logits.detach().argmax(-1) == targets).float().mean().item()
        self._metrics[mode]["mean_token_accuracy"].append(accuracy)
        if mode == "train":
            self.tokens_seen += int(inputs["attention_mask"].sum())
            self.supervised_seen += targets.numel()
        return loss


class _Packed(Resumable, SFTTrainer):  # type: ignore[misc]
    """TRL's own, counting tokens: packs are one row without padding, kept apart by positions."""

    tokens_seen = 0
    supervised_seen = 0

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if self.model.training:
            self.tokens_seen += inputs["input_ids"].numel()
            self.supervised_seen += int((inputs["labels"] != IGNORED).sum())
        return super().compute_loss(model, inputs, *rest, **more)


def _columns(examples: Sequence[Example]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [example.input_ids for example in examples],
            "labels": [example.labels for example in examples],
        }
    )
