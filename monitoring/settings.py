"""Settings of the controller process: when it looks, how it tests for drift, when it retrains."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitoring.drift import DriftSettings


@dataclass(frozen=True)
class ControllerSettings:
    """Read from `SWITCHYARD_CONTROLLER_*` by `registry.settings.load`."""

    poll_s: float = field(default=2.0, metadata={"range": (0.05, 3600)})
    """Seconds between two ticks."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = field(default=8082, metadata={"range": (0, 65535)})
    """Where the controller shows its metrics; 0 takes a free port."""
    reference: int = field(default=200, metadata={"range": (40, 400)})
    """Prompts frozen after each promotion: what later ones are compared with."""
    reference_span_s: float = field(default=0.0, metadata={"range": (0, 31_536_000)})
    """Seconds over which the reference is drawn, so that a day's rhythm is in it; 0: the first
    prompts."""
    false_alarms_per_week: float = field(default=1.0, metadata={"range": (0.0001, 1000)})
    """Without drift, at most so many alarms of all adapters together, on average."""
    sustained_for: int = field(default=20, metadata={"range": (1, 10_000)})
    """Prompts in a row with the evidence above its threshold before drift counts as sustained."""
    min_corrections: int = field(default=40, metadata={"range": (1, 1_000_000)})
    """Corrected examples, used by no job yet, that a retraining needs."""
    cooldown_s: float = field(default=3600.0, metadata={"range": (0, 31_536_000)})
    """Seconds between two retrainings of one adapter."""
    read_limit: int = field(default=5000, metadata={"range": (1, 100_000)})
    """Exchanges read for one adapter in one tick."""

    @property
    def drift(self) -> DriftSettings:
        """The part that the detector needs."""
        return DriftSettings(
            reference=self.reference,
            reference_span_s=self.reference_span_s,
            false_alarms_per_week=self.false_alarms_per_week,
            sustained_for=self.sustained_for,
        )
