"""Quality: do a live version's answers get worse than they were just after its promotion?

The first outcomes of each channel after a promotion say what is usual: their mean harm, and how
far above it the truth may be (Wilson's upper bound, 99 %). A gambler then bets that harm has risen
above that by more than `margin`: a bet pays 1 + λ(harm - limit), on average at most 1 while it has
not. Bets open with every outcome and are summed (Shiryaev–Roberts, as in monitoring/betting.py), so
a fall is found whenever it begins, and false alarms come at most once in `outcomes_per_false_alarm`
of a channel's outcomes on average.

What it can't say: why. Nor anything of a channel whose harm is near 1 from the start.
Pure: no clock, no database; goes on from what `dump` gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitoring.harms import DISLIKED, INVALID, REFUSED

CHANNELS = (INVALID, REFUSED, DISLIKED)
"""Not `failed`, which is monitoring/failing.py's: no training mends it."""
_STAKES = np.array([0.05, 0.1, 0.25, 0.5])
_Z = 2.326
_CEILING_ABOVE = 2.0


@dataclass(frozen=True)
class QualitySettings:
    """`reference`: outcomes of a channel that say what is usual; of people's words a quarter.
    `margin`: a rise of harm that matters, 0 to 1."""

    reference: int = 200
    margin: float = 0.05
    outcomes_per_false_alarm: int = 20_000

    def wanted(self, channel: str) -> int:
        """Outcomes in a channel's reference."""
        return max(20, self.reference // 4) if channel == DISLIKED else self.reference


class Quality:
    """One live version's outcomes, from one promotion to the next."""

    def __init__(self, settings: QualitySettings, state: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        kept = state or {}
        self._channels = {name: _Channel.load(kept.get(name)) for name in CHANNELS}

    @property
    def threshold(self) -> float:
        """log evidence at which a channel is down."""
        return math.log(self.settings.outcomes_per_false_alarm * len(CHANNELS))

    @property
    def down(self) -> str | None:
        """The channel that got worse, that with the most evidence; it stays so until the next
        promotion."""
        found = {name: c for name, c in self._channels.items() if c.down_at}
        return max(found, key=lambda name: found[name].evidence) if found else None

    def see(self, channel: str, harm: float) -> None:
        """Take in one outcome; one of another channel says nothing here."""
        found = self._channels.get(channel)
        if found is not None:
            found.see(harm, self.settings.wanted(channel), self.settings.margin, self.threshold)

    @property
    def since_down(self) -> int:
        """Outcomes of the channel that is down since it is; 0 while none is."""
        name = self.down
        if name is None:
            return 0
        channel = self._channels[name]
        return channel.count - channel.down_at

    @property
    def most(self) -> int:
        """Outcomes of the channel that had most."""
        return max(channel.count for channel in self._channels.values())

    def forgive(self, outcomes: int) -> None:
        """Take back what the last `outcomes` of each channel seemed to show."""
        for channel in self._channels.values():
            channel.forgive(outcomes)

    def evidence(self) -> dict[str, Any]:
        """For a receipt: each channel that has a reference."""
        return {
            name: {
                "usual": round(channel.usual, 4),
                "lately": round(channel.lately, 4),
                "outcomes": channel.count,
                "evidence": round(channel.evidence, 3),
                "threshold": round(self.threshold, 3),
            }
            for name, channel in self._channels.items()
            if channel.count >= self.settings.wanted(name)
        }

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {name: channel.dump() for name, channel in self._channels.items()}


@dataclass
class _Channel:
    count: int
    before: float
    """Sum of harm in the reference."""
    size: int
    """Outcomes in the reference."""
    lately: float
    """Mean harm of late: each outcome weighs 1/50."""
    logs: list[float]
    down_at: int
    """`count` when it was down; 0 while it is not."""

    @classmethod
    def load(cls, kept: Mapping[str, Any] | None) -> _Channel:
        return cls(**kept) if kept else cls(0, 0.0, 0, 0.0, [-1e300] * _STAKES.size, 0)

    @property
    def usual(self) -> float:
        return self.before / self.size if self.size else 0.0

    @property
    def evidence(self) -> float:
        top = max(self.logs)
        if top <= -1e299:
            return 0.0
        return max(0.0, top + math.log(float(np.exp(np.array(self.logs) - top).mean())))

    def see(self, harm: float, wanted: int, margin: float, threshold: float) -> None:
        self.count += 1
        if self.size < wanted:
            self.size += 1
            self.before += harm
            self.lately = self.usual
            return
        self.lately += (harm - self.lately) / 50
        limit = _upper(self.usual, self.size) + margin
        if limit >= 1.0:
            return
        payoff = np.log1p(_STAKES / limit * (harm - limit))
        logs = np.logaddexp(np.array(self.logs), 0.0) + payoff
        self.logs = [float(x) for x in np.minimum(logs, threshold + _CEILING_ABOVE)]
        if not self.down_at and self.evidence >= threshold:
            self.down_at = self.count

    def forgive(self, outcomes: int) -> None:
        self.logs = [-1e300] * _STAKES.size
        self.lately = self.usual
        if self.down_at > self.count - outcomes:
            self.down_at = 0

    def dump(self) -> dict[str, Any]:
        return dict(vars(self))


def _upper(mean: float, n: int) -> float:
    """Wilson's upper bound of a mean of numbers from 0 to 1."""
    z2 = _Z**2
    centre = mean + z2 / (2 * n)
    spread = _Z * math.sqrt(mean * (1 - mean) / n + z2 / (4 * n * n))
    return min(1.0, (centre + spread) / (1 + z2 / n))
