"""Settings of the controller process: when it looks, how it tests for drift, when it retrains."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from monitoring.drift import DriftSettings
from monitoring.quality import QualitySettings
from monitoring.rollout import RolloutSettings
from registry.settings import SettingsError, load

_PLACES = ("metrics_host", "metrics_port")


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
    quality_margin: float = field(default=0.05, metadata={"range": (0.001, 0.5)})
    """A rise of harm (invalid, refused or disliked answers) that matters, as a share of answers."""
    outcomes_per_false_alarm: int = field(default=20_000, metadata={"range": (100, 1_000_000_000)})
    """Where answers stay as good as they were, an adapter's alarm about them goes at most once in
    this many, on average."""
    probation_s: float = field(default=7 * 86_400.0, metadata={"range": (0, 31_536_000)})
    """Seconds after a promotion in which worse answers to the same questions roll it back."""
    pipeline_patience_s: float = field(default=7 * 86_400.0, metadata={"range": (1, 31_536_000)})
    """Seconds after which a pipeline that stays changed counts as the usual one."""
    retrain_age_s: float = field(default=0.0, metadata={"range": (0, 315_360_000)})
    """Age at which a version is trained again with the corrections there are; 0: never."""
    jobs_at_once: int = field(default=2, metadata={"range": (1, 1000)})
    """Retrainings under way at once, over all tenants; those worth most go first."""
    train_hours_per_week: float = field(default=0.0, metadata={"range": (0, 1_000_000)})
    """Hours that retrainings may take in any seven days, over all tenants; 0: as many as it takes.
    One that has begun is not broken off."""
    rollout_shadow: int = field(default=50, metadata={"range": (0, 100_000)})
    """Copies of requests that a retrained version answers before any client sees it; 0: none."""
    rollout_shadow_share: float = field(default=0.2, metadata={"range": (0.001, 1)})
    """Share of requests that is copied meanwhile, where there is room."""
    rollout_weights: str = "0.01,0.1,0.5"
    """Shares of traffic that a retrained version gets one after another, before it is live."""
    rollout_requests: int = field(default=30, metadata={"range": (1, 100_000)})
    """Its answers that each of those steps wants."""
    rollout_margin: float = field(default=0.05, metadata={"range": (0.001, 0.5)})
    """Harm that would be too much: a share of answers, more than the live version's."""
    rollout_risk: float = field(default=0.01, metadata={"range": (0.000001, 0.2)})
    """Chance of rejecting a version that does no more harm than the live one."""
    rollout_patience_s: float = field(default=86_400.0, metadata={"range": (1, 31_536_000)})
    """Seconds after which a step ends with the answers that came, where there was no harm."""
    read_limit: int = field(default=5000, metadata={"range": (1, 100_000)})
    """Exchanges read for one adapter in one tick."""
    keep_text_days: float = field(default=30.0, metadata={"range": (0, 36500)})
    """Days that opted-in text of exchanges is kept; 0 keeps it for ever."""
    keep_exchanges_days: float = field(default=365.0, metadata={"range": (0, 36500)})
    """Days that exchanges are kept, with what was said of them; 0 keeps them for ever."""

    def __post_init__(self) -> None:
        """Raises ValueError for weights that are none."""
        _weights(self.rollout_weights)

    def json(self) -> dict[str, Any]:
        """What is decided by: all but where the metrics are."""
        return {name: value for name, value in asdict(self).items() if name not in _PLACES}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> ControllerSettings:
        """What `json` gave, maybe in another release: a setting that this one doesn't know or
        can't take is left out, one that is missing has its default."""
        taken: dict[str, str] = {}
        for name, value in kept.items():
            said = {name.upper(): "" if value is None else str(value)}
            try:
                load(cls, "", said)
            except SettingsError:
                continue
            taken |= said
        return load(cls, "", taken)

    @property
    def quality(self) -> QualitySettings:
        """The part that watching answers needs."""
        return QualitySettings(
            reference=self.reference,
            margin=self.quality_margin,
            outcomes_per_false_alarm=self.outcomes_per_false_alarm,
        )

    @property
    def rollout(self) -> RolloutSettings:
        """The part that a rollout needs."""
        return RolloutSettings(
            shadow=self.rollout_shadow,
            weights=_weights(self.rollout_weights),
            requests=self.rollout_requests,
            margin=self.rollout_margin,
            risk=self.rollout_risk,
            patience_s=self.rollout_patience_s,
        )

    @property
    def drift(self) -> DriftSettings:
        """The part that the detector needs."""
        return DriftSettings(
            reference=self.reference,
            reference_span_s=self.reference_span_s,
            false_alarms_per_week=self.false_alarms_per_week,
            sustained_for=self.sustained_for,
        )


def _weights(written: str) -> tuple[float, ...]:
    """Shares of traffic from "0.01,0.1,0.5": rising, above 0 and below 1."""
    try:
        weights = tuple(float(part) for part in written.split(","))
    except ValueError:
        weights = ()
    rising = all(a < b for a, b in itertools.pairwise((0.0, *weights, 1.0)))
    if not weights or not rising:
        raise ValueError(
            f"rollout_weights={written!r}: expected rising shares between 0 and 1, as 0.01,0.1,0.5"
        )
    return weights
