"""Learning from preferences: DPO on pairs of answers (arXiv 2305.18290), KTO on answers that were
liked or not (arXiv 2402.01306), by TRL's trainers.

What the adapter is held to is the base without it, or, where training goes on from an adapter, a
frozen copy of that: no second model is loaded. Answers are tokenised by train.dataset, not by TRL.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from peft import PeftModel
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from train import methods
from train.dataset import Example
from train.spec import TrainingSpec
from train.state import Resumable

_REFERENCE = "ref"  # TRL's name for the frozen copy


def trainer(
    model: Any,
    tokenizer: Any,
    train: Sequence[Example],
    validation: Sequence[Example],
    spec: TrainingSpec,
    settings: dict[str, Any],
    keeper: Any,
) -> Any:
    """A TRL trainer that counts tokens as ours does. A PEFT model is gone on from, any other gets
    a new adapter."""
    config, cls = (DPOConfig, _Dpo) if spec.objective == "dpo" else (KTOConfig, _Kto)
    columns = _pairs if spec.objective == "dpo" else _rated
    made = cls(
        model=model,
        args=config(**settings, beta=spec.beta),
        processing_class=tokenizer,
        train_dataset=columns(train, spec.batch_size, spec.seed),
        eval_dataset=columns(validation, settings["per_device_eval_batch_size"], spec.seed)
        if validation
        else None,
        peft_config=None if isinstance(model, PeftModel) else methods.adapter(spec),
        callbacks=[keeper],
    )
    for name, parameter in made.model.named_parameters():
        if f".{_REFERENCE}." in name:
            parameter.requires_grad_(False)
    return made


def drop_reference(model: Any) -> None:
    """Forget the frozen copy: what is evaluated and written is the trained adapter alone."""
    if _REFERENCE in model.peft_config:
        model.delete_adapter(_REFERENCE)


class _Dpo(Resumable, DPOTrainer):  # type: ignore[misc]
    """TRL's, on rows that are tokenised already."""

    tokens_seen = 0
    supervised_seen = 0

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        _count(self, inputs)
        return super().compute_loss(model, inputs, *rest, **more)


class _Kto(Resumable, KTOTrainer):  # type: ignore[misc]
    """TRL's, on rows that are tokenised already."""

    tokens_seen = 0
    supervised_seen = 0

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def compute_loss(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        _count(self, inputs)
        return super().compute_loss(model, inputs, *rest, **more)


def _count(trainer: Any, inputs: dict[str, Any]) -> None:
    if trainer.model.training:
        trainer.tokens_seen += int(inputs["attention_mask"].sum())
        trainer.supervised_seen += int(inputs["completion_mask"].sum())


def _pairs(examples: Sequence[Example], _: int, __: int) -> Dataset:
    return Dataset.from_dict(
        {
            "prompt_ids": [example.prompt for example in examples],
            "chosen_ids": [example.completion for example in examples],
            "rejected_ids": [example.rejected for example in examples],
        }
    )


def _rated(examples: Sequence[Example], batch_size: int, seed: int) -> Dataset:
    """In an order that is drawn once: TRL walks it as it is, because each row carries another
    answer of its batch, by which the distance to the reference is estimated."""
    order = list(examples)
    random.Random(seed).shuffle(order)
    answers = [example.completion for example in order]
    others: list[list[int]] = []
    for start in range(0, len(answers), batch_size):
        batch = answers[start : start + batch_size]
        others += [batch[-1], *batch[:-1]]
    return Dataset.from_dict(
        {
            "prompt_ids": [example.prompt for example in order],
            "completion_ids": answers,
            "KL_completion_ids": others,
            "label": [example.row.good for example in order],
        }
    )
