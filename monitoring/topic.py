"""Where has traffic been moving to? A score that learns from the prompts that it ranks.

The mean-embedding witness <φ(x), mean(bag) - mean(baseline)> points to where the bag has moved (the
linear case of the MMD witness, Gretton et al. 2012), and finds a change that is slight in each
prompt but the same in many. It treats all members of the bag alike, so their ranks are uniform
without change whatever it has learnt. For that the bag's prompts are kept, and the bag begins again
at the reference when it is full.

With N prompts in the baseline, of sum M, and t in the bag, of sum S, a score times tN is the whole
number N<x, S> - t<x, M>, and ranks don't mind the factor. So everything is exact, and many prompts
at once get the same ranks as one after another.

Knows sketches' numbers; nothing about bets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.channels import Channels, Rows
from monitoring.sketch import DIMENSIONS, NUMBERS


class Topic:
    """The bag, from its opening on. `size`: prompts in a full one, the opening's included; at least
    twice as many as those. `kept`: what `arrays` gave, to go on from."""

    def __init__(
        self, channels: Channels, opening: int, size: int, kept: Rows | None = None
    ) -> None:
        baseline = rows_of(channels.baseline, channels.standardised(channels.baseline))
        self._usual = baseline.sum(axis=0, dtype=np.float64)
        self._of = len(baseline)
        self._opening = opening
        size = max(size, 2 * opening)
        self._rows = np.zeros((size, DIMENSIONS), dtype=np.int8)
        self._with_bag = np.zeros(size)
        """By prompt of the bag, <x, S>; and <x, M>."""
        self._with_usual = np.zeros(size)
        self._count = 0
        if kept is not None:
            self._put(kept[:size])

    @property
    def room(self) -> int:
        """Prompts that it can take before it is full."""
        return len(self._rows) - self._count

    def restart(self) -> None:
        """Back to the opening."""
        self._count = min(self._opening, self._count)
        self._put(self._rows[: self._count])

    def _put(self, rows: Rows) -> None:
        self._count = count = len(rows)
        self._rows[:count] = rows
        wide = self._rows[:count].astype(np.float64)
        self._with_bag[:count] = wide @ wide.sum(axis=0)
        self._with_usual[:count] = wide @ self._usual

    def open(self, rows: Rows) -> None:
        """Put the opening's prompts into an empty bag."""
        self._put(rows)

    def rank(self, rows: Rows, chances: NDArray[np.float64]) -> Ranking:
        """Where each of `rows` would rank, each put into the bag after the one before: near 0 when
        among the highest. No more than there is `room` for. Nothing is kept yet."""
        held, count = self._count, len(rows)
        new = rows.astype(np.float32)
        every = np.concatenate([self._rows[:held].astype(np.float32), new])
        products = every @ new.T  # exact: whole numbers below 2^24
        usual = np.concatenate([self._with_usual[:held], new.astype(np.float64) @ self._usual])
        # By member and time, <x, S>; then the score.
        with_bag = np.cumsum(products, axis=1, dtype=np.float64)
        with_bag[:held] += self._with_bag[:held, None]
        with_bag[held:] += products[:held].sum(axis=0, dtype=np.float64)[:, None]
        size = held + 1.0 + np.arange(count)
        scores = with_bag * self._of
        scores -= usual[:, None] * size
        scores[held:][np.tril_indices(count, -1)] = -np.inf  # not there yet
        newest = np.diagonal(scores, -held)
        higher = np.count_nonzero(scores > newest, axis=0)
        ties = np.count_nonzero(scores == newest, axis=0)
        return Ranking((higher + (1.0 - chances) * ties) / size, rows, usual, with_bag)

    def keep(self, ranking: Ranking, first: int) -> None:
        """Put the first so many of what was ranked last into the bag."""
        if first == 0:
            return
        new = slice(self._count, self._count + first)
        self._count += first
        kept = slice(self._count)
        self._with_bag[kept] = ranking.with_bag[kept, first - 1]
        self._with_usual[kept] = ranking.usual[kept]
        self._rows[new] = ranking.rows[:first]

    def arrays(self) -> Rows:
        """What the bag holds."""
        return self._rows[: self._count].copy()


@dataclass(frozen=True)
class Ranking:
    """What `rank` found: `p` by prompt, and what `keep` needs: by member of the bag and of `rows`,
    <x, M>, and <x, S> after each of `rows`."""

    p: NDArray[np.float64]
    rows: Rows
    usual: NDArray[np.float64]
    with_bag: NDArray[np.float64]


def rows_of(rows: Rows, shapes: Rows) -> Rows:
    """What the witness sees of prompts. `shapes`: their descriptors, standardised: an eighth of
    what they would weigh if a spread were of length 1, for they have channels of their own."""
    return np.concatenate([rows[:, :NUMBERS], shapes], axis=1)
