"""Where has traffic been moving to? A score that learns from the prompts that it ranks.

The mean-embedding witness <φ(x), mean(bag) - mean(baseline)> points to where the bag has moved (the
linear case of the MMD witness, Gretton et al. 2012), and finds a change that is slight in each
prompt but the same in many. It treats all members of the bag alike, so their ranks are uniform
without change whatever it has learnt. For that the bag's prompts are kept, as single bytes a
number, and the bag begins again at the reference when it is full.

Knows sketches' numbers; nothing about bets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.betting import rank_p_value
from monitoring.channels import LEXICAL, Channels
from monitoring.sketch import DIMENSIONS

_SCALE = 127.0
_DESCRIPTOR = 0.1  # of a spread: descriptors have channels of their own
_STEPS = 1e4  # scores are rounded, so that the last bits of a sum never decide a rank


class Topic:
    """The bag, from its opening on. `size`: prompts in a full one, the opening's included; at least
    twice as many as those. `kept`: what `arrays` gave, to go on from."""

    def __init__(
        self, channels: Channels, opening: int, size: int, kept: NDArray[np.int8] | None = None
    ) -> None:
        rows = [_row(each, channels.standardised(each)) for each in channels.baseline]
        self._mean = np.stack(rows).mean(axis=0)
        self._opening = opening
        self._rows = np.zeros((max(size, 2 * opening), DIMENSIONS), dtype=np.int8)
        self._count = 0 if kept is None else min(len(kept), len(self._rows))
        if kept is not None:
            self._rows[: self._count] = kept[: self._count]
        self._sum = self._total()

    @property
    def full(self) -> bool:
        return self._count == len(self._rows)

    def restart(self) -> None:
        """Back to the opening."""
        self._count = self._opening
        self._sum = self._total()

    def _total(self) -> NDArray[np.float64]:
        total: NDArray[np.float64] = self._rows[: self._count].sum(axis=0, dtype=np.float64)
        return total

    def add(self, numbers: NDArray[np.float32], shape: NDArray[np.float32]) -> None:
        """Put a prompt into the bag. `shape`: its descriptors, standardised."""
        row = _row(numbers, shape)
        self._rows[self._count] = row
        self._sum += row
        self._count += 1

    def rank(
        self, numbers: NDArray[np.float32], shape: NDArray[np.float32], chance: float
    ) -> float:
        """Put a prompt into the bag; where its score ranks there: near 0 when among the highest."""
        self.add(numbers, shape)
        size = self._count
        witness = (self._sum / size - self._mean) * (_STEPS / _SCALE**2)
        scores = np.rint(self._rows[:size].astype(np.float32) @ witness.astype(np.float32))
        return rank_p_value(scores, chance)

    def arrays(self) -> NDArray[np.int8]:
        """What the bag holds."""
        return self._rows[: self._count].copy()


def _row(numbers: NDArray[np.float32], shape: NDArray[np.float32]) -> NDArray[np.float32]:
    """Grams and descriptors on one scale, as whole numbers of a byte."""
    row = np.empty(DIMENSIONS, dtype=np.float32)
    row[:LEXICAL] = numbers[:LEXICAL]
    row[LEXICAL:] = shape * _DESCRIPTOR  # within 1: `Channels.standardised` ends below 10
    row *= _SCALE
    found: NDArray[np.float32] = np.rint(row)
    return found
