"""Is the challenger worse than the champion? A comparison that may be looked at all the time.

Both answer at the same time, split by chance, so what traffic does to one it does to the other. An
outcome is a harm from 0 (none) to 1. As soon as both sides have new outcomes, their means make a
pair; d = challenger's mean - champion's mean lies in [-1, 1], and is 0 on average where the two are
alike, whatever the traffic. Two gamblers bet on the pairs (Waudby-Smith and Ramdas, "Estimating
means of bounded random variables by betting", 2024):

- *worse* multiplies his stake by 1 + λd: without harm he gains nothing on average, so his fortune
  reaches 1/α with a chance of at most α, however long one watches (Ville's inequality);
- *fine* multiplies his by 1 + λ(δ - d): where the challenger does more harm by δ or more, his
  fortune reaches 1/α with a chance of at most α.

Each spreads his stake over four λ. Pure: numbers in, numbers out; the same outcomes in the same
order give the same evidence, so nothing needs to be kept but the exchanges.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHAMPION, CHALLENGER = "champion", "challenger"
_LAMBDAS = np.array([0.1, 0.25, 0.5, 0.9])


@dataclass(frozen=True)
class Reading:
    """Where one channel stands. Means are of harm, 0 to 1, None without an outcome. `worse` and
    `fine` are fortunes as natural logs (0: the stake); each is the greatest there ever was."""

    champion: float | None
    challenger: float | None
    outcomes: int
    """Of the challenger."""
    pairs: int
    worse: float
    fine: float
    suspicion: float = 0.0
    """The fortune of `worse` as it is now: it may have been greater, or not yet great enough."""

    def is_worse(self, risk: float) -> bool:
        """Whether harm is proven at a chance of `risk` of being wrong."""
        return self.worse >= -math.log(risk)

    def is_fine(self, risk: float) -> bool:
        """Whether it is proven that there is no harm of the margin or more."""
        return self.fine >= -math.log(risk)

    def json(self) -> dict[str, float | int | None]:
        """For a receipt."""
        return {
            "champion": _rounded(self.champion),
            "challenger": _rounded(self.challenger),
            "outcomes": self.outcomes,
            "pairs": self.pairs,
            "worse": round(self.worse, 3),
            "fine": round(self.fine, 3),
        }


def compare(outcomes: Iterable[tuple[str, float]], margin: float) -> Reading:
    """Bet on outcomes in the order of their arrival: (CHAMPION or CHALLENGER, harm from 0 to 1).

    `margin` δ is the harm that would be too much, 0 to 1. Raises ValueError for a harm that is no
    number from 0 to 1, or another side.
    """
    totals = {CHAMPION: [0.0, 0], CHALLENGER: [0.0, 0]}
    waiting = {CHAMPION: [0.0, 0], CHALLENGER: [0.0, 0]}
    differences: list[float] = []
    for side, harm in outcomes:
        if side not in totals or not 0 <= harm <= 1:
            raise ValueError(f"an outcome of {side!r} with harm {harm!r}: expected 0 to 1")
        for sums in (totals[side], waiting[side]):
            sums[0] += harm
            sums[1] += 1
        old, new = waiting[CHAMPION], waiting[CHALLENGER]
        if old[1] and new[1]:
            differences.append(new[0] / new[1] - old[0] / old[1])
            waiting = {CHAMPION: [0.0, 0], CHALLENGER: [0.0, 0]}
    d = np.array(differences)
    against = _fortunes(d)
    return Reading(
        champion=_mean(totals[CHAMPION]),
        challenger=_mean(totals[CHALLENGER]),
        outcomes=int(totals[CHALLENGER][1]),
        pairs=len(differences),
        worse=float(against.max()),
        fine=float(_fortunes(margin - d).max()),
        suspicion=float(against[-1]),
    )


def _fortunes(gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of the fortune of who bets on `gains` (each above -1), from the stake (0) on."""
    paths = np.cumsum(np.log1p(np.outer(_LAMBDAS, np.concatenate([[0.0], gains]))), axis=1)
    top = paths.max(axis=0)
    found: NDArray[np.float64] = top + np.log(np.exp(paths - top).mean(axis=0))
    return found


def _mean(sums: list[float]) -> float | None:
    return sums[0] / sums[1] if sums[1] else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
