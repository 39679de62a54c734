"""LoRA supervised fine-tuning by TRL and PEFT: rows that are tokenised already → an adapter.

Adapts all linear layers, learns only what the assistant says, never packs (without FlashAttention
packed examples would see each other), stops when the validation loss does not get better and takes
the best epoch's weights. The same spec, data, machine and thread count give the same weights, bit
for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from torch.nn import functional
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from train.dataset import IGNORED, Example
from train.spec import TrainingSpec

Report = Callable[[dict[str, Any]], None]


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
    before: Callable[[Any], None] = lambda _: None,
) -> Trained:
    """Train an adapter on `model`. `report` gets progress after every step and a checkpoint's
    figures after every epoch; `before` the model with its adapter, before the first step."""
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
        logging_steps=5,
        eval_strategy="epoch" if validation else "no",
        save_strategy="no",  # the best weights are a few MB: they are kept in memory
        report_to="none",
        disable_tqdm=True,
    )
    keeper = _Keeper(spec.patience, report)
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
    before(trainer.model)
    started = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - started
    keeper.restore()
    trainer.model.eval()
    return Trained(
        model=trainer.model,
        learning_rate=learning_rate,
        most_epochs=epochs,
        steps=trainer.state.global_step,
        epochs=round(float(trainer.state.epoch or 0.0), 4),
        first_loss=keeper.losses[0] if keeper.losses else float("nan"),
        last_loss=keeper.losses[-1] if keeper.losses else float("nan"),
        best_validation_loss=keeper.best_loss,
        best_epoch=keeper.best_epoch,
        tokens=trainer.tokens_seen,
        tokens_per_s=round(trainer.tokens_seen / max(seconds, 1e-9), 1),
    )


class _Trainer(SFTTrainer):  # type: ignore[misc]
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


class _Keeper(TrainerCallback):
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
