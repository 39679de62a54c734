"""A mean of numbers from 0 to 1 with an interval that may be looked at all the time.

For each m of a grid gamblers bet that the mean is not m, by products of 1 + λ(x - m): where it is
m, they gain nothing on average, so with a chance of at most α one of them is ever 1/α times as rich
as at the start, and then m is out (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", 2024).

It is the mean of a quantity that stays as it is. So other bets begin anew every hundred numbers,
and where what they leave possible is none of what the old ones do, the mean has changed, and the
figure is of what came since (Shekhar and Ramdas, "Reducing sequential change detection to
sequential estimation", 2023). Pure; bounded memory; goes on from what `dump` gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RISK = 0.05
"""Chance that the truth is ever outside of the interval."""
_STEPS = 100
_GRID = np.linspace(0.0, 1.0, _STEPS + 1)
_BOLDNESS = 0.5
"""Share of his fortune that a gambler risks at most."""
_CEILING = 60.0
"""Log fortunes end here: nothing is gained by more, and exp stays finite."""
_WINDOW = 100
"""Numbers after which the bets that look for a change begin anew."""
_CHANGED = 0.005
"""Chance, for the old bets and for the new, of excluding the truth when a change is claimed."""


class Tracked:
    """A mean, watched by `ways` kinds of gamblers who share the stake: each sees numbers of its own
    that have this mean, so that the best of them counts, less the logarithm of their number."""

    def __init__(self, ways: int, state: Mapping[str, Any] | None = None) -> None:
        self._ways = ways
        self.changes = 0
        """How often the mean was found to have changed."""
        self._bets, self._late = _Bets(ways), _Bets(ways)
        if state:
            self.changes = state["changes"]
            self._bets, self._late = _Bets.load(state["bets"]), _Bets.load(state["late"])

    @property
    def count(self) -> int:
        """Numbers since the mean last changed."""
        return self._bets.gamblers[0].count

    @property
    def mean(self) -> float | None:
        """By the last way; None before the first number. May lie beyond the interval, or 0 to 1."""
        last = self._bets.gamblers[-1]
        return last.total / last.count if last.count else None

    @property
    def usual(self) -> float:
        """The mean by the first way, drawn to a half."""
        return self._bets.gamblers[0].usual

    @property
    def interval(self) -> tuple[float, float]:
        """Low and high: the truth lies between, at all times, with 95 %."""
        possible = np.flatnonzero(self._bets.possible(RISK))
        low = float(_GRID[max(int(possible[0]) - 1, 0)])
        return low, float(_GRID[min(int(possible[-1]) + 1, _STEPS)])

    def see(self, seen: Sequence[tuple[float, float]]) -> None:
        """For each way a number and its slack: the number lies between -slack and 1 + slack, and
        the slack does not depend on it."""
        for bets in (self._bets, self._late):
            bets.see(seen)
        both = self._bets.possible(_CHANGED) & self._late.possible(_CHANGED)
        if not both.any() or not self._bets.possible(RISK).any():
            self.changes += 1
            self._bets, self._late = self._late, _Bets(self._ways)
        elif self._late.gamblers[0].count >= _WINDOW:
            self._late = _Bets(self._ways)

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "changes": self.changes,
            "bets": self._bets.dump(),
            "late": self._late.dump(),
        }


class _Bets:
    def __init__(self, ways: int) -> None:
        self.gamblers = [_Gambler() for _ in range(ways)]

    def see(self, seen: Sequence[tuple[float, float]]) -> None:
        for gambler, (value, slack) in zip(self.gamblers, seen, strict=True):
            gambler.see(value, slack)

    def possible(self, risk: float) -> NDArray[np.bool_]:
        """Which m of the grid are not proven wrong, at this chance of being wrong about it."""
        fortunes = np.exp(np.concatenate([g.logs for g in self.gamblers])).mean(axis=0)
        possible: NDArray[np.bool_] = fortunes < 1.0 / risk
        return possible

    def dump(self) -> list[dict[str, Any]]:
        return [gambler.dump() for gambler in self.gamblers]

    @classmethod
    def load(cls, kept: Sequence[Mapping[str, Any]]) -> _Bets:
        made = cls(0)
        made.gamblers = [_Gambler.load(one) for one in kept]
        return made


class _Gambler:
    """Bets that the mean of what is seen is more, or less, than each m of the grid."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.scatter = 0.25
        self.logs = np.zeros((2, _GRID.size))

    @property
    def usual(self) -> float:
        return (0.5 + self.total) / (1 + self.count)

    def see(self, value: float, slack: float) -> None:
        variance = self.scatter / (1 + self.count)
        number = self.count + 1
        stake = math.sqrt(2 * math.log(2 / RISK) / (variance * number * math.log(1 + number)))
        more = np.minimum(stake, _BOLDNESS / np.maximum(_GRID + slack, 1e-9))
        less = np.minimum(stake, _BOLDNESS / np.maximum(1.0 - _GRID + slack, 1e-9))
        self.logs[0] += np.log1p(more * (value - _GRID))
        self.logs[1] += np.log1p(less * (_GRID - value))
        np.minimum(self.logs, _CEILING, out=self.logs)
        self.count += 1
        self.total += value
        self.scatter += (value - self.usual) ** 2

    def dump(self) -> dict[str, Any]:
        return {**vars(self), "logs": self.logs.tolist()}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> _Gambler:
        made = cls()
        made.count, made.total, made.scatter = kept["count"], kept["total"], kept["scatter"]
        made.logs = np.array(kept["logs"])
        return made
