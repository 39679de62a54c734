"""LoRA supervised fine-tuning by TRL and PEFT: rows that are tokenised already → an adapter.

Adapts all linear layers, learns only what the assistant says, never packs (without FlashAttention
packed examples would see each other), stops when the validation loss does not get better and takes
the best epoch's weights. The same spec, data, machine and thread count give the same weights, bit
for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from torch.nn import functional
from trl import SFTConfig, SFTTrainer

from train.dataset import IGNORED, Example
from train.durable import Durable
from train.keeper import Keeper, Report
from train.spec import TrainingSpec
from train.state import Resumable


@dataclass(frozen=True)
class Trained:
    """The model with its adapter, and how training went. Losses are nats per supervised token."""

    model: Any
    learning_rate: float
    most_epochs: float
    steps: int
    epochs: float
    first_loss: float
    last_loss: float
    best_validation_loss: float | None
    best_epoch: float
    tokens: int
    tokens_per_s: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The figures of every step."""
    checkpoints: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict)
    """The weights of the last epochs, by their step."""


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
) -> Trained:
    """Train an adapter on `model`. `report` gets progress after every step and a checkpoint's
    figures after every epoch. With a `durable` whole states are kept, and gone on from; Paused is
    raised when training was asked to rest."""
    arguments = SFTConfig(
        output_dir=str(scratch),
        max_length=None,  # truncated and counted by train.dataset
        dataset_kwargs={"skip_prepare_dataset": True},
        packing=False,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=max(spec.batch_size, 32),
        train_sampling_strategy="group_by_length",
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=round(spec.warmup * epochs * -(-len(train) // spec.batch_size)),
        weight_decay=0.0,
        max_grad_norm=1.0,
        gradient_checkpointing=device != "cpu",
        bf16=device != "cpu" and torch.cuda.is_bf16_supported(),
        use_cpu=device == "cpu",
        seed=spec.seed,
        data_seed=spec.seed,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        logging_strategy="steps",
        logging_steps=1,  # each step's figures are kept
        eval_strategy="epoch" if validation else "no",
        save_strategy="no",  # the keeper says when; best weights are a few MB, and in memory
        report_to="none",
        disable_tqdm=True,
    )
    keeper = Keeper(spec.patience, report, durable)
    trainer = _Trainer(
        model=model,
        args=arguments,
        processing_class=tokenizer,
        train_dataset=_columns(train),
        eval_dataset=_columns(validation) if validation else None,
        peft_config=LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=spec.rank,
            lora_alpha=_whole(spec.lora_alpha),
            lora_dropout=spec.dropout,
            target_modules="all-linear",
            bias="none",
        ),
        callbacks=[keeper],
    )
    keeper.trainer = trainer
    keeper.run()
    trainer.model.eval()
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
        mode = "train" if self.model.training else "eval"
        accuracy = (logits.detach().argmax(-1) == targets).float().mean().item()
        self._metrics[mode]["mean_token_accuracy"].append(accuracy)
        if mode == "train":
            self.tokens_seen += int(inputs["attention_mask"].sum())
            self.supervised_seen += targets.numel()
        return loss


def _columns(examples: Sequence[Example]) -> Dataset:
    return Dataset.from_dict(
        {
            "input_ids": [example.input_ids for example in examples],
            "labels": [example.labels for example in examples],
        }
    )


def _whole(value: float) -> int | float:
    """vLLM wants a whole `lora_alpha`; give it one whenever it is."""
    return int(value) if value == int(value) else value
