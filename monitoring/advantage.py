"""Does an adapter still help? Its answers against its base's, which answers a share as a control.

Both answer at the same time, split by chance by conversation, so what traffic does to one it does
to the other. As soon as both sides have new outcomes in a channel of harm, their means make a pair;
d = base's mean harm - adapter's, in [-1, 1], is the *advantage*. Of each channel:

- its mean, with an interval that may be looked at all the time (monitoring/confidence.py);
- *helped*: a gambler bets that d is more than the margin; where it is not, he is ever 1/α times as
  rich as at the start with a chance of at most α;
- *stopped*: another bets that d is less than the margin, with bets that open at every pair and are
  summed (Shiryaev-Roberts, as in monitoring/quality.py): where d is the margin or more, he gets to
  his threshold once in so many pairs on average; where it falls below, he does whenever that is.

An adapter has stopped helping when it helped in some channel, and in none of those does any more. A
channel in which it never helped says nothing: most bases refuse as seldom as their adapters do.
Pure: no clock, no database; bounded memory; goes on from what `dump` gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.confidence import Tracked
from monitoring.harms import DISLIKED, INVALID, REFUSED

CHANNELS = (INVALID, REFUSED, DISLIKED)
"""Not `failed`: that is the engine's, and both have the same."""
ADAPTER, BASE = "adapter", "base"
PAIRS_PER_FALSE_ALARM = 2000
"""While it helps, an alarm comes at most once in so many pairs on average."""
_RISK = 0.01
"""Chance of believing that it helped where it never did by the margin."""
_LAMBDAS = np.array([0.1, 0.25, 0.5, 0.9])
_CEILING_ABOVE = 2.0
_NOTHING = -1e300


class Advantage:
    """One live version against its base, from one promotion to the next. `margin`: an advantage of
    less is none, 0 to 1."""

    def __init__(self, margin: float, state: Mapping[str, Any] | None = None) -> None:
        self._margin = margin
        kept = state or {}
        self._channels = {name: _Channel(margin, kept.get(name)) for name in CHANNELS}

    @property
    def threshold(self) -> float:
        """log evidence at which a channel's advantage is gone."""
        return math.log(PAIRS_PER_FALSE_ALARM * len(CHANNELS))

    @property
    def stopped(self) -> str | None:
        """The channel in which it helped most lately, where it does in none any more; it stays so
        until the next promotion."""
        helped = {name: c for name, c in self._channels.items() if c.helped}
        if not helped or not all(c.stopped for c in helped.values()):
            return None
        return max(helped, key=lambda name: helped[name].gone)

    @property
    def best(self) -> dict[str, Any] | None:
        """The evidence of the channel in which it helps most; None before the first pair."""
        found = self.evidence().values()
        return max(found, key=lambda figures: float(figures["advantage"]), default=None)

    def see(self, side: str, channel: str, harm: float) -> None:
        """An outcome of ADAPTER or BASE, its harm from 0 to 1; another channel says nothing."""
        found = self._channels.get(channel)
        if found is not None:
            found.see(side, harm, self.threshold)

    def forgive(self) -> None:
        """Nothing that an alarm was on its way for counts: the pipeline was broken."""
        for channel in self._channels.values():
            channel.forgive()

    def evidence(self) -> dict[str, Any]:
        """For a receipt: each channel in which both sides have answered. The base's harm less the
        adapter's, with its interval."""
        return {
            name: channel.evidence(self.threshold)
            for name, channel in self._channels.items()
            if channel.pairs
        }

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {name: channel.dump() for name, channel in self._channels.items()}


class _Channel:
    def __init__(self, margin: float, kept: Mapping[str, Any] | None) -> None:
        self._margin = margin
        state = kept or {}
        self.pairs: int = state.get("pairs", 0)
        self.helped: bool = state.get("helped", False)
        self.stopped: bool = state.get("stopped", False)
        self.lately: float = state.get("lately", 0.0)
        self._waiting: dict[str, list[float]] = {
            side: [*state.get("waiting", {}).get(side, (0.0, 0))] for side in (ADAPTER, BASE)
        }
        self._difference = Tracked(1, state.get("difference"))
        self._helps = np.array(state.get("helps", [0.0] * _LAMBDAS.size))
        self._gone = np.array(state.get("gone", [_NOTHING] * _LAMBDAS.size))

    @property
    def gone(self) -> float:
        """Evidence that there is no advantage of the margin now."""
        return max(0.0, _fortune(self._gone))

    def see(self, side: str, harm: float, threshold: float) -> None:
        sums = self._waiting[side]
        sums[0] += harm
        sums[1] += 1
        (ours, answers), (theirs, controls) = self._waiting[ADAPTER], self._waiting[BASE]
        if not (answers and controls):
            return
        self._waiting = {ADAPTER: [0.0, 0], BASE: [0.0, 0]}
        self._pair(theirs / controls - ours / answers, threshold)

    def _pair(self, difference: float, threshold: float) -> None:
        self.pairs += 1
        self._difference.see([((1 + difference) / 2, 0.0)])
        gain = (difference - self._margin) / (1 + self._margin)  # from -1 to less than 1
        top = threshold + _CEILING_ABOVE
        self._helps = np.minimum(self._helps + np.log1p(_LAMBDAS * gain), top)
        opened = np.logaddexp(self._gone, 0.0)
        self._gone = np.minimum(opened + np.log1p(-_LAMBDAS * gain), top)
        self.lately += (difference - self.lately) / min(self.pairs, 50)
        if not self.helped and _fortune(self._helps) >= math.log(len(CHANNELS) / _RISK):
            self.helped = True
            self._gone = np.full(_LAMBDAS.size, _NOTHING)  # what was before can't be gone
        if self.helped and self.gone >= threshold:
            self.stopped = True

    def forgive(self) -> None:
        self._waiting = {ADAPTER: [0.0, 0], BASE: [0.0, 0]}
        self._gone = np.full(_LAMBDAS.size, _NOTHING)

    def evidence(self, threshold: float) -> dict[str, Any]:
        low, high = self._difference.interval
        mean = self._difference.mean or 0.0
        return {
            "advantage": round(2 * min(high, max(low, mean)) - 1, 4),
            "low": round(2 * low - 1, 4),
            "high": round(2 * high - 1, 4),
            "lately": round(self.lately, 4),
            "pairs": self.pairs,
            "helped": self.helped,
            "gone": round(self.gone, 3),
            "threshold": round(threshold, 3),
        }

    def dump(self) -> dict[str, Any]:
        if not self.pairs:  # most tenants have no control: a few numbers will do
            return {"waiting": self._waiting}
        return {
            "pairs": self.pairs,
            "helped": self.helped,
            "stopped": self.stopped,
            "lately": self.lately,
            "waiting": self._waiting,
            "difference": self._difference.dump(),
            "helps": self._helps.tolist(),
            "gone": self._gone.tolist(),
        }


def _fortune(logs: NDArray[np.float64]) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).mean()))
