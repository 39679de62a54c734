"""A drift detector's row as people read it. The detector itself is monitoring's."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring.settings import ControllerSettings
    from registry.decisions import DriftState


@dataclass(frozen=True)
class Drift:
    """`phase`: reference (still being taken), watching, crossed or established."""

    phase: str
    statistic: float
    threshold: float
    prompts: int
    reference: int
    epoch: int

    @classmethod
    def of(cls, state: DriftState | None, settings: ControllerSettings) -> Drift:
        """From the row that the controller keeps; None before its first look."""
        found: dict[str, Any] = dict((state.state if state else {}).get("detector", {}))
        prompts = int(found.get("seen", 0))
        phase = "watching" if prompts >= settings.reference else "reference"
        if found.get("established_at") is not None:
            phase = "established"
        elif found.get("crossed_at") is not None:
            phase = "crossed"
        return cls(
            phase,
            round(float(found.get("statistic", 0.0)), 2),
            round(math.log(settings.prompts_per_false_alarm), 2),
            prompts,
            settings.reference,
            state.epoch if state else 0,
        )

    def json(self) -> dict[str, Any]:
        """For scripts."""
        return asdict(self)

    def __str__(self) -> str:
        if self.phase == "reference":
            return f"reference {self.prompts}/{self.reference}"
        return f"{self.phase} {self.statistic:.1f} of {self.threshold:.1f}"
