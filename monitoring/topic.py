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
        held, new = self._rows[: self._count].astype(np.float32), rows.astype(np.float32)
        old, own = held @ new.T, new @ new.T  # exact: whole numbers below 2^24
        usual = new.astype(np.float64) @ self._usual
        old_with = self._with_bag[: self._count, None] + np.cumsum(old, axis=1, dtype=np.float64)
        own_with = old.sum(axis=0, dtype=np.float64)[:, None] + np.cumsum(
            own, axis=1, dtype=np.float64
        )
        size = self._count + 1.0 + np.arange(len(rows))
        scores = self._of * old_with - size * self._with_usual[: self._count, None]
        later = self._of * own_with - size * usual[:, None]
        newest = np.diagonal(later).copy()
        later[np.tril_indices(len(rows), -1)] = -np.inf  # not there yet
        higher = (scores > newest).sum(axis=0) + (later > newest).sum(axis=0)
        ties = (scores == newest).sum(axis=0) + (later == newest).sum(axis=0)
        return Ranking((higher + (1.0 - chances) * ties) / size, rows, old_with, own_with, usual)

    def keep(self, ranking: Ranking, first: int) -> None:
        """Put the first so many of what was ranked last into the bag."""
        if first == 0:
            return
        count = self._count
        self._with_bag[:count] = ranking.old_with[:, first - 1]
        new = slice(count, count + first)
        self._rows[new] = ranking.rows[:first]
        self._with_bag[new] = ranking.own_with[:first, first - 1]
        self._with_usual[new] = ranking.usual[:first]
        self._count += first

    def arrays(self) -> Rows:
        """What the bag holds."""
        return self._rows[: self._count].copy()


class Ranking:
    """What `rank` found: `p` by prompt, and what `keep` needs."""

    def __init__(
        self,
        p: NDArray[np.float64],
        rows: Rows,
        old_with: NDArray[np.float64],
        own_with: NDArray[np.float64],
        usual: NDArray[np.float64],
    ) -> None:
        self.p = p
        self.rows = rows
        self.old_with = old_with
        self.own_with = own_with
        self.usual = usual


def rows_of(rows: Rows, shapes: Rows) -> Rows:
    """What the witness sees of prompts. `shapes`: their descriptors, standardised: an eighth of
    what they would weigh if a spread were of length 1, for they have channels of their own."""
    return np.concatenate([rows[:, :NUMBERS], shapes], axis=1)
