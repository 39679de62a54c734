"""Testing by betting: does a new score rank among earlier ones as chance would have it?

Two pieces. `rank_p_value` is the conformal p-value of the newest of a bag of scores; if all of them
are exchangeable, the p-values of a growing bag are independent and uniform (Vovk, Gammerman,
Shafer, "Algorithmic learning in a random world", 2005). `EDetector` bets on them being small. A bet
that costs 1 pays εp^(ε-1), which is 1 on average when nothing changed; the Shiryaev–Roberts sum
opens a new bet with every prompt, so that a change is found whenever it begins:
R ← (R + 1) · payoff.

Without change R - n is a martingale, so over n prompts P(R ever ≥ c) ≤ n / c, and the average run
to a false alarm is at least c prompts (Vovk et al., "Retrain or not retrain: conformal test
martingales for change-point detection", COPA 2021; Shin, Ramdas, Rinaldo, "E-detectors", 2022).

Knows numbers; nothing about prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EXPONENTS = np.array([0.25, 0.5, 0.75, 0.92])
"""Bets from bold (few, glaring changes) to timid (many, slight ones); R is their average."""

SMALLEST_P = 0.004
"""p-values are raised to this: no single prompt pays more than 16 times the stake."""

_LOG_EXPONENTS = np.log(EXPONENTS)
_MASK = (1 << 64) - 1


def rank_p_value(scores: NDArray[np.float64], chance: float) -> float:
    """Where the last of `scores` ranks among all of them: near 0 when it is among the highest.

    `chance` in [0, 1) breaks ties fairly, which makes the p-value exactly uniform.
    """
    newest = scores[-1]
    higher = int(np.count_nonzero(scores > newest))
    ties = int(np.count_nonzero(scores == newest))  # the newest itself among them
    return (higher + (1.0 - chance) * ties) / scores.size


def chance(seed: int, number: int) -> float:
    """A number in [0, 1) that depends on nothing but the arguments (splitmix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / float(1 << 53)


class EDetector:
    """The running evidence R of one stream of p-values, kept as natural logs.

    R is held at `ceiling` (log): holding it down only makes false alarms rarer, and lets the
    evidence fall again soon after a short burst has passed.
    """

    def __init__(self, ceiling: float, logs: Sequence[float] | None = None) -> None:
        self.ceiling = ceiling
        self._logs = (
            np.full(EXPONENTS.size, -math.inf) if logs is None else np.array(logs, dtype=float)
        )

    def bet(self, p: float) -> None:
        """Take in one p-value."""
        payoff = _LOG_EXPONENTS + (EXPONENTS - 1.0) * math.log(max(p, SMALLEST_P))
        self._logs = np.minimum(np.logaddexp(self._logs, 0.0) + payoff, self.ceiling)

    def restart(self) -> None:
        """Put all bets back to nothing."""
        self._logs = np.full(EXPONENTS.size, -math.inf)

    @property
    def log_evidence(self) -> float:
        """log of the average R; 0 means as much evidence as one prompt brings. Never below 0."""
        top = float(self._logs.max())
        if top == -math.inf:
            return 0.0
        return max(top + math.log(float(np.exp(self._logs - top).mean())), 0.0)

    def dump(self) -> list[float]:
        """The logs, for JSON (which has no -infinity)."""
        return [max(float(value), -1e300) for value in self._logs]
