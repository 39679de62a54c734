"""A co-trained adapter on the base as a PEFT model: what evaluation, probes and artifact take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

from peft import LoraConfig, TaskType, get_peft_model, set_peft_model_state_dict

from train.cotrain.loop import CoTrained
from train.course import Course
from train.sft import Trained
from train.spec import TrainingSpec


@contextmanager
def wearing(model: Any, spec: TrainingSpec, result: CoTrained) -> Iterator[Trained]:
    """Inside, `model` wears the adapter; afterwards it is bare again."""
    alpha = spec.lora_alpha
    worn = get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=spec.rank,
            lora_alpha=int(alpha) if alpha == int(alpha) else alpha,
            lora_dropout=spec.dropout,
            target_modules="all-linear",
            bias="none",
        ),
    )
    try:
        set_peft_model_state_dict(worn, result.weights)
        worn.eval()
        course = {each.name: getattr(result, each.name) for each in fields(Course)}
        yield Trained(
            model=worn,
            **course
            | {
                "checkpoints": {
                    step: {_default(name): each for name, each in weights.items()}
                    for step, weights in result.checkpoints.items()
                }
            },
        )
    finally:
        worn.unload()


def _default(name: str) -> str:
    """The parameter's name in the model, where the adapter has a name too."""
    return f"{name.removesuffix('.weight')}.default.weight"
