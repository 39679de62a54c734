"""What "auto" comes to: the options of a run in the words of OpenAI's fine-tuning API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from train.combinations import PREFERENCES
from train.spec import TrainingSpec


def resolved(
    spec: TrainingSpec, answer_tokens: float, hidden_size: int, processes: int
) -> dict[str, Any]:
    """What training goes by, whoever chose it.

    `n_epochs` is the most passes, for which the learning rate is planned; `batch_size` the rows of
    one step, on all `processes` together; `learning_rate_multiplier` the factor to the rate that
    follows from the base's width (docs/training.md), also where a rate was set outright.
    """
    own = replace(spec, learning_rate=None, learning_rate_multiplier=1.0)
    factor = spec.learning_rate_for(hidden_size) / own.learning_rate_for(hidden_size)
    epochs = spec.epochs_for(answer_tokens)
    found: dict[str, Any] = {
        "n_epochs": int(epochs) if epochs == int(epochs) else epochs,
        "batch_size": spec.batch_size * spec.gradient_accumulation * processes,
        "learning_rate_multiplier": float(f"{factor:.6g}"),
    }
    if spec.objective in PREFERENCES:
        found["beta"] = spec.beta
    return found
