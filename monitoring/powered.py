"""How many of a version's answers people would call bad, from a few words and many signs.

Only a few answers get a person's word. Every answer has signs (monitoring/harms.py), and these
predict the word a little. Where a word comes, its harm Y is corrected by how far this answer's
prediction lies from that of answers nobody spoke of: Z = Y - λ(f(x) - mean f). On average over
answers Z is Y, whatever f is worth; where f predicts well, Z scatters less, and the interval is
narrower than from words alone (Angelopoulos et al., "Prediction-powered inference", 2023; its
power-tuned λ: "PPI++", 2023). f is a ridge regression on the words before; λ is what would have
been best for the words before, 0 where f was of no use.

The interval holds at all times at once, so it may be looked at whenever one likes: for each m in
[0, 1] gamblers bet that the mean is not m, by products of 1 + λ'(Z - m), and m is out when they are
1/α times as rich as at the start (Waudby-Smith and Ramdas, "Estimating means of bounded random
variables by betting", 2024). Half of the stake ignores all signs: signs that are worth nothing
cost a factor of two in evidence at most.

What it rests on: those who speak are like those who don't. Mostly that is wrong: who is annoyed
speaks sooner, and corrections come from errors only. It is an estimate of what everybody would say
*if they were like those who spoke*; it is good for comparing times and versions whose users speak
alike, and for seeing how little is known. And on a harm that stays as it is: other bets begin anew
every hundred words, and where what they leave possible is none of what the old ones do, harm has
changed, and the figure is of what came since (Shekhar and Ramdas, "Reducing sequential change
detection to sequential estimation", 2023). A word comes later than its answer, whose own part in a
mean that was used already is neglected.

Pure: no clock, no database; bounded memory; goes on from what `dump` gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Array = NDArray[np.float64]

RISK = 0.05
"""Chance that the truth is ever outside of the interval."""
_STEPS = 100
_GRID = np.linspace(0.0, 1.0, _STEPS + 1)
_BOLDNESS = 0.5
"""Share of his fortune that a gambler risks at most."""
_CEILING = 60.0
"""Log fortunes end here: nothing is gained by more, and exp stays finite."""
_WINDOW = 100
"""Words after which the bets that look for a change begin anew."""
_CHANGED = 0.005
"""Chance, for the old bets and for the new, of excluding the truth when a change is claimed."""
_BLOCKS = 16
"""Means of predictions that wait for a word each, so that words may come in bursts."""
_RIDGE = 2.0
_DOUBT = 0.25
"""Of λ: so much scatter of predictions must have been seen before it is believed."""


@dataclass(frozen=True)
class Estimate:
    """Share of answers that people would call bad, 0 to 1: `low` to `high` holds the truth at all
    times with 95 %. `words` were heard, `answers` seen since harm was last found changed, or since
    the promotion; `trust` is λ, 0 where signs are no help. Before the first word `share` is None,
    and the truth anywhere from 0 to 1."""

    share: float | None
    low: float
    high: float
    words: int
    answers: int
    trust: float


class Powered:
    """One live version's words and signs, from one promotion to the next. `signs`: how many each
    answer has, each from 0 (nothing) to 1."""

    def __init__(self, signs: int, state: Mapping[str, Any] | None = None) -> None:
        self._signs = signs
        self._changes = 0
        self._next = 0
        self._counts = np.zeros(_BLOCKS)
        self._sums = np.zeros((_BLOCKS, signs))
        self._gram = np.zeros((signs, signs))
        self._cross = np.zeros(signs)
        self._useful = [0.0, 0.0]  # of past predictions: with the harm, with themselves
        self._bets, self._late = _Bets(), _Bets()
        if state:
            self._load(state)

    def see(self, signs: Sequence[float]) -> None:
        """An answer of the version, of which nobody needs to speak."""
        self._bets.answers += 1
        self._late.answers += 1
        self._counts[self._next] += 1
        self._sums[self._next] += signs
        self._next = (self._next + 1) % _BLOCKS

    def hear(self, harm: float, signs: Sequence[float] | None) -> None:
        """A person's word on an answer: its harm from 0 to 1, and the answer's signs (None where
        they are gone)."""
        weights, trust = self._weights(), self.trust
        away = np.zeros(self._signs)
        block = int(self._counts.argmax())
        if signs is not None and self._counts[block]:
            away = np.asarray(signs, dtype=np.float64) - self._sums[block] / self._counts[block]
            self._counts[block] = 0.0
            self._sums[block] = 0.0
        surprise = harm - self._bets.plain.mean
        predicted = float(weights @ away)
        for bets in (self._bets, self._late):
            bets.see(harm, harm - trust * predicted, trust * float(weights.sum()))
        self._useful[0] += surprise * predicted
        self._useful[1] += predicted * predicted
        self._gram += np.outer(away, away)
        self._cross += surprise * away
        self._look_for_change()

    def forget_waiting(self) -> None:
        """Answers that no word has met yet were not the version's fault: they say nothing."""
        self._counts[:] = 0.0
        self._sums[:] = 0.0

    @property
    def trust(self) -> float:
        """λ of the next word."""
        with_harm, with_itself = self._useful
        return min(1.0, max(0.0, with_harm / (with_itself + _DOUBT)))

    def estimate(self) -> Estimate:
        """Where it stands."""
        bets = self._bets
        if not bets.plain.count:
            return Estimate(None, 0.0, 1.0, 0, bets.answers, self.trust)
        possible = np.flatnonzero(bets.possible(RISK))
        low = float(_GRID[max(int(possible[0]) - 1, 0)])
        high = float(_GRID[min(int(possible[-1]) + 1, _STEPS)])
        share = min(high, max(low, bets.helped.total / bets.helped.count))
        return Estimate(share, low, high, bets.plain.count, bets.answers, self.trust)

    def evidence(self) -> dict[str, Any]:
        """For a receipt; nothing before the first word."""
        found = self.estimate()
        if found.share is None:
            return {}
        return {
            "share": round(found.share, 4),
            "low": round(found.low, 4),
            "high": round(found.high, 4),
            "words": found.words,
            "answers": found.answers,
            "trust": round(found.trust, 4),
            "changes": self._changes,
        }

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "changes": self._changes,
            "next": self._next,
            "counts": self._counts.tolist(),
            "sums": self._sums.tolist(),
            "gram": self._gram.tolist(),
            "cross": self._cross.tolist(),
            "useful": self._useful,
            "bets": self._bets.dump(),
            "late": self._late.dump(),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        if len(state["cross"]) != self._signs:
            return  # of a release with other signs: what it learnt fits nothing here
        self._changes, self._next = state["changes"], state["next"]
        self._counts, self._sums = np.array(state["counts"]), np.array(state["sums"])
        self._gram, self._cross = np.array(state["gram"]), np.array(state["cross"])
        self._useful = [*state["useful"]]
        self._bets, self._late = _Bets.load(state["bets"]), _Bets.load(state["late"])

    def _look_for_change(self) -> None:
        both = self._bets.possible(_CHANGED) & self._late.possible(_CHANGED)
        if not both.any() or not self._bets.possible(RISK).any():
            self._changes += 1
            self._bets, self._late = self._late, _Bets()
        elif self._late.plain.count >= _WINDOW:
            self._late = _Bets()

    def _weights(self) -> _Array:
        """Of each sign, 0 or more, 1 together at most: so a prediction is from 0 to 1."""
        found = np.linalg.solve(self._gram + _RIDGE * np.eye(self._signs), self._cross)
        found = np.maximum(found, 0.0)
        weights: _Array = found / max(1.0, float(found.sum()))
        return weights


class _Bets:
    """Half of the stake on words alone, half on words with signs."""

    def __init__(self) -> None:
        self.answers = 0
        self.plain, self.helped = _Gambler(), _Gambler()

    def see(self, harm: float, corrected: float, slack: float) -> None:
        self.plain.see(harm, 0.0)
        self.helped.see(corrected, slack)

    def possible(self, risk: float) -> NDArray[np.bool_]:
        """Which m of the grid are not proven wrong, at this chance of being wrong about it."""
        fortunes = np.exp(np.concatenate([self.plain.logs, self.helped.logs])).mean(axis=0)
        possible: NDArray[np.bool_] = fortunes < 1.0 / risk
        return possible

    def dump(self) -> dict[str, Any]:
        return {
            "answers": self.answers,
            "plain": self.plain.dump(),
            "helped": self.helped.dump(),
        }

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> _Bets:
        made = cls()
        made.answers = kept["answers"]
        made.plain, made.helped = _Gambler.load(kept["plain"]), _Gambler.load(kept["helped"])
        return made


class _Gambler:
    """Bets that the mean of what is seen is more, or less, than each m of the grid."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.scatter = 0.25
        self.logs = np.zeros((2, _GRID.size))

    @property
    def mean(self) -> float:
        """Of what was seen, drawn to a half."""
        return (0.5 + self.total) / (1 + self.count)

    def see(self, value: float, slack: float) -> None:
        """`value` lies between -slack and 1 + slack, and `slack` does not depend on it."""
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
        self.scatter += (value - self.mean) ** 2

    def dump(self) -> dict[str, Any]:
        return {**vars(self), "logs": self.logs.tolist()}

    @classmethod
    def load(cls, kept: Mapping[str, Any]) -> _Gambler:
        made = cls()
        made.count, made.total, made.scatter = kept["count"], kept["total"], kept["scatter"]
        made.logs = np.array(kept["logs"])
        return made
