"""How the training of one adapter went, whichever loop did it. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Course:
    """Losses are nats per supervised token."""

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
