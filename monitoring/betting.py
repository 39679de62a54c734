"""Testing by betting: does a new score rank among earlier ones as chance would have it?

Two pieces. `Ranks` gives the conformal p-value of each newest score among all before it; if they
are exchangeable, the p-values are independent and uniform (Vovk, Gammerman, Shafer, "Algorithmic
learning in a random world", 2005). `Bets` bets on p-values being small. A bet that stakes 1 has 1
on average when nothing changed; the Shiryaev–Roberts sum places a new stake with every prompt, so
that a change is found whenever it begins: R ← (R + stake) · payoff.

Without change R - (stakes so far) is a supermartingale, so P(R ever ≥ 1) is at most the sum of the
stakes (Vovk et al., "Retrain or not retrain: conformal test martingales for change-point
detection", COPA 2021; Shin, Ramdas, Rinaldo, "E-detectors", 2022).

Knows numbers; nothing about prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PARTS = np.array([(0.2, 0.01), (0.35, 0.03), (0.05, 0.03), (0.05, 0.08)])
"""(part of the fortune, β): that part is put on p < β, which pays 1/β of it. Finds a few glaring
prompts among many.
"""
POWERS = ((0.75, 0.75), (1.0, 0.5))
"""(part of the fortune, ε): that part pays εp^(ε-1). Finds many slight ones. The six were chosen
from 77 by how long they take to a fortune of e¹², over made-up changes of 10 to 95 % of traffic.
"""
WAGERS = len(PARTS) + len(POWERS)
SMALLEST_P = 0.002
"""p-values are raised to this before a power is taken: no single prompt pays more than 11 times."""

CEILING = float(np.exp(2.0)) * WAGERS
"""Each fortune is held at this, and R so at e²: it only makes false alarms rarer, and lets R fall
again after a short burst."""

_PART, _BELOW = PARTS.T
_WON = 1.0 - _PART + _PART / _BELOW
_LOST = 1.0 - _PART
_EACH = np.full(WAGERS, 1.0 / WAGERS)
_MASK = (1 << 64) - 1


def chance(seed: int, number: int) -> float:
    """A number in [0, 1) that depends on nothing but the arguments (splitmix64)."""
    z = (seed * 0x9E3779B97F4A7C15 + (number + 1) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 11) / float(1 << 53)


def rank_p_value(scores: NDArray[np.floating[Any]], chance: float) -> float:
    """Where the last of `scores` ranks among all of them: near 0 when it is among the highest.

    `chance` in [0, 1) breaks ties fairly, which makes the p-value exactly uniform.
    """
    newest = scores[-1]
    higher = int(np.count_nonzero(scores > newest))
    ties = int(np.count_nonzero(scores == newest))  # the newest itself among them
    return (higher + (1.0 - chance) * ties) / scores.size


class Ranks:
    """All scores so far, of several channels, as counts: a score is the number of a bin."""

    def __init__(self, above: NDArray[np.uint32], total: int) -> None:
        self.above = above
        """(channels, bins + 1): how many scores lie in a bin or in a higher one; the last is 0."""
        self.total = total
        self._bins = np.arange(above.shape[1], dtype=np.int16)

    @classmethod
    def none(cls, channels: int, bins: int) -> Ranks:
        """No scores yet."""
        return cls(np.zeros((channels, bins + 1), dtype=np.uint32), 0)

    def add(self, bins: Sequence[int]) -> None:
        """Count one prompt's scores."""
        self.above += self._bins <= np.array(bins, dtype=np.int16)[:, None]
        self.total += 1

    def rank(self, bins: Sequence[int], chance: float) -> list[float]:
        """Count one prompt's scores, and say where each ranks: near 0 when among the highest.
        `chance` as for `rank_p_value`; channels may share it, each is uniform for itself."""
        self.add(bins)
        found = []
        for channel, at in enumerate(bins):
            higher = self.above.item(channel, at + 1)
            ties = self.above.item(channel, at) - higher
            found.append((higher + (1.0 - chance) * ties) / self.total)
        return found


class Bets:
    """The fortunes of several streams of p-values, one of each."""

    def __init__(self, fortunes: NDArray[np.float64]) -> None:
        self.fortunes = fortunes
        """(streams, wagers)."""

    @classmethod
    def none(cls, streams: int) -> Bets:
        """Nothing staked yet."""
        return cls(np.zeros((streams, WAGERS)))

    def place(self, p: NDArray[np.float64], stakes: NDArray[np.float64] | float) -> None:
        """Stake on each of `p`, and take what it and all before it pay. `stakes`: one for all, or
        (streams, 1)."""
        column = p[:, None]
        payoff = np.empty((len(p), WAGERS))
        payoff[:, : len(PARTS)] = np.where(column < _BELOW, _WON, _LOST)
        slighter = np.sqrt(1.0 / np.maximum(p, SMALLEST_P))  # ε 0.5; its root: ε 0.75
        payoff[:, -1] = 0.5 * slighter
        payoff[:, -2] = 0.25 + 0.5625 * np.sqrt(slighter)
        payoff *= self.fortunes + stakes
        self.fortunes = np.minimum(payoff, CEILING, out=payoff)

    def evidence(self) -> NDArray[np.float64]:
        """By stream, R. An alarm goes at 1."""
        found: NDArray[np.float64] = self.fortunes @ _EACH
        return found
