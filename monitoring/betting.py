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
_FIRST, _SECOND, _THIRD = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def chances(seed: int, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) that depend on nothing but the arguments (splitmix64)."""
    z = np.uint64((seed * _FIRST) & _MASK) + (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(
        _SECOND
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_SECOND)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_THIRD)
    found: NDArray[np.float64] = ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / float(1 << 53)
    return found


def chance(seed: int, number: int) -> float:
    """One of `chances`."""
    z = (seed * _FIRST + (number + 1) * _SECOND) & _MASK
    z = ((z ^ (z >> 30)) * _SECOND) & _MASK
    z = ((z ^ (z >> 27)) * _THIRD) & _MASK
    return ((z ^ (z >> 31)) >> 11) / float(1 << 53)


class Ranks:
    """All scores so far, of several channels, as counts: a score is the number of a bin."""

    def __init__(self, above: NDArray[np.uint32], total: int) -> None:
        self.above = above
        """(channels, bins + 1): how many scores lie in a bin or in a higher one; the last is 0."""
        self.total = total

    @classmethod
    def none(cls, channels: int, bins: int) -> Ranks:
        """No scores yet."""
        return cls(np.zeros((channels, bins + 1), dtype=np.uint32), 0)

    def add(self, bins: NDArray[np.int64]) -> None:
        """Count the scores of prompts: (prompts, channels)."""
        self.above += self._counts(bins)
        self.total += len(bins)

    def take(self, bins: NDArray[np.int64]) -> None:
        """Count scores of prompts no more, which were added."""
        self.above -= self._counts(bins)
        self.total -= len(bins)

    def _counts(self, bins: NDArray[np.int64]) -> NDArray[np.uint32]:
        channels, width = self.above.shape
        at = bins + np.arange(channels) * width
        counts = np.bincount(at.ravel(), minlength=channels * width).reshape(channels, width)
        return counts[:, ::-1].cumsum(axis=1)[:, ::-1].astype(np.uint32)

    def rank(self, bins: NDArray[np.int64], chances: NDArray[np.float64]) -> NDArray[np.float64]:
        """(prompts, channels): where each prompt's scores rank among all before it and its own:
        near 0 when among the highest. Nothing is counted yet.

        `chances`: (prompts,) in [0, 1). They break ties fairly, which makes ranks exactly uniform;
        channels may share one, each is uniform for itself.
        """
        channel = np.arange(len(self.above))
        higher = self.above[channel, bins + 1].astype(np.int64)
        ties = self.above[channel, bins] - higher
        before = np.tri(len(bins), dtype=bool)[:, :, None]  # itself among them
        higher += ((bins[None] > bins[:, None]) & before).sum(axis=1)
        ties += ((bins[None] == bins[:, None]) & before).sum(axis=1)
        seen = self.total + 1.0 + np.arange(len(bins))
        found: NDArray[np.float64] = (higher + (1.0 - chances)[:, None] * ties) / seen[:, None]
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

    def place(self, p: NDArray[np.float64], stakes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(times, streams, wagers): the fortunes after each time. Stake on each of `p`, (times,
        streams), and take what it and all before it pay. `stakes`: (times, streams). `fortunes` are
        left as they were."""
        payoff = payoffs(p)
        found = np.empty_like(payoff)
        fortunes = self.fortunes
        for pays, stake, into in zip(payoff, stakes[:, :, None], found, strict=True):
            np.add(fortunes, stake, out=into)
            np.multiply(into, pays, out=into)
            fortunes = np.minimum(into, CEILING, out=into)
        return found

    def evidence(self) -> NDArray[np.float64]:
        """By stream, R. An alarm goes at 1."""
        return evidence(self.fortunes)


def payoffs(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(times, streams, wagers): what each wager pays at `p`, (times, streams)."""
    found = np.empty((*p.shape, WAGERS))
    found[..., : len(PARTS)] = np.where(p[..., None] < _BELOW, _WON, _LOST)
    slighter = np.sqrt(1.0 / np.maximum(p, SMALLEST_P))  # ε 0.5; its root: ε 0.75
    found[..., -1] = 0.5 * slighter
    found[..., -2] = 0.25 + 0.5625 * np.sqrt(slighter)
    return found


def evidence(fortunes: NDArray[np.float64]) -> NDArray[np.float64]:
    """R, of fortunes whose last axis is the wagers."""
    found: NDArray[np.float64] = fortunes @ _EACH
    return found
