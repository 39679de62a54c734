"""A drift detector's row as people and scripts read it. The test itself is monitoring's."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monitoring.settings import ControllerSettings
    from registry.decisions import DriftState


@dataclass(frozen=True)
class Drift:
    """`phase`: reference (still being taken), watching, crossed or established. `evidence` is what
    a receipt would say now: statistic, threshold, channels, what moved most."""

    phase: str
    epoch: int
    evidence: dict[str, Any]
    wanted: int
    """Prompts in a full reference."""

    @classmethod
    def of(cls, state: DriftState | None, settings: ControllerSettings) -> Drift:
        """From the row that the controller keeps; None before its first look."""
        from monitoring.drift import Detector

        kept = dict((state.state if state else {}).get("detector", {}))
        detector = Detector(settings.drift)
        if state is not None and kept:
            with suppress(ValueError):  # of an earlier release: a new reference will be taken
                detector = Detector.load(settings.drift, kept, state.arrays or b"")
        phase = "watching" if detector.watching else "reference"
        if detector.established:
            phase = "established"
        elif detector.crossed_at is not None:
            phase = "crossed"
        return cls(phase, state.epoch if state else 0, detector.evidence(), settings.reference)

    def json(self) -> dict[str, Any]:
        """For scripts."""
        return {"phase": self.phase, "epoch": self.epoch, **self.evidence}

    def __str__(self) -> str:
        if self.phase == "reference":
            return f"reference {self.evidence['reference']}/{self.wanted}"
        return f"{self.phase} {self.evidence['statistic']:.1f} of {self.evidence['threshold']:.1f}"
