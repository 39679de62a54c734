"""How many of a version's answers people would call bad, from a few words and many signs.

Only a few answers get a person's word. Every answer has signs (monitoring/harms.py), and these
predict the word a little. Where a word comes, its harm Y is corrected by how far this answer's
prediction lies from that of answers nobody spoke of: Z = Y - λ(f(x) - mean f). On average over
answers Z is Y, whatever f is worth; where f predicts well, Z scatters less, and the interval is
narrower than from words alone (Angelopoulos et al., "Prediction-powered inference", 2023; its
power-tuned λ: "PPI++", 2023). f is a ridge regression on the words before; λ is what would have
been best for the words before, 0 where f was of no use.

The interval holds at all times at once, so it may be looked at whenever one likes
(monitoring/confidence.py). Half of the stake ignores all signs: signs that are worth nothing cost a
factor of two in evidence at most.

What it rests on: those who speak are like those who don't. Mostly that is wrong: who is annoyed
speaks sooner, and corrections come from errors only. It is an estimate of what everybody would say
*if they were like those who spoke*; it is good for comparing times and versions whose users speak
alike, and for seeing how little is known. A word comes later than its answer, whose own part in a
mean that was used already is neglected.

Pure: no clock, no database; bounded memory; goes on from what `dump` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.confidence import Tracked

_WAYS = 2
"""Words alone, and words with signs."""
_BLOCKS = 16
"""Means of predictions that wait for a word each, so that words may come in bursts."""
_RIDGE = 2.0
_DOUBT = 0.25
"""Of λ: so much scatter of predictions must have been seen before it is believed."""


@dataclass(frozen=True)
class Estimate:
    """Share of answers that people would call bad, 0 to 1: `low` to `high` holds the truth at all
    times with 95 %. `words` were heard since harm was last found changed, `answers` seen since
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
        self._answers = 0
        self._next = 0
        self._counts = np.zeros(_BLOCKS)
        self._sums = np.zeros((_BLOCKS, signs))
        self._gram = np.zeros((signs, signs))
        self._cross = np.zeros(signs)
        self._useful = [0.0, 0.0]  # of past predictions: with the harm, with themselves
        self._harm = Tracked(_WAYS)
        if state:
            self._load(state)

    def see(self, signs: Sequence[float]) -> None:
        """An answer of the version, of which nobody needs to speak."""
        self._answers += 1
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
        surprise = harm - self._harm.usual
        predicted = float(weights @ away)
        self._harm.see([(harm, 0.0), (harm - trust * predicted, trust * float(weights.sum()))])
        self._useful[0] += surprise * predicted
        self._useful[1] += predicted * predicted
        self._gram += np.outer(away, away)
        self._cross += surprise * away

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
        words, (low, high), share = self._harm.count, self._harm.interval, self._harm.mean
        if share is None:
            return Estimate(None, 0.0, 1.0, 0, self._answers, self.trust)
        return Estimate(min(high, max(low, share)), low, high, words, self._answers, self.trust)

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
            "changes": self._harm.changes,
        }

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "answers": self._answers,
            "next": self._next,
            "counts": self._counts.tolist(),
            "sums": self._sums.tolist(),
            "gram": self._gram.tolist(),
            "cross": self._cross.tolist(),
            "useful": self._useful,
            "harm": self._harm.dump(),
        }

    def _load(self, state: Mapping[str, Any]) -> None:
        if len(state["cross"]) != self._signs:
            return  # of a release with other signs: what it learnt fits nothing here
        self._answers, self._next = state["answers"], state["next"]
        self._counts, self._sums = np.array(state["counts"]), np.array(state["sums"])
        self._gram, self._cross = np.array(state["gram"]), np.array(state["cross"])
        self._useful = [*state["useful"]]
        self._harm = Tracked(_WAYS, state["harm"])

    def _weights(self) -> NDArray[np.float64]:
        """Of each sign, 0 or more, 1 together at most: so a prediction is from 0 to 1."""
        found = np.linalg.solve(self._gram + _RIDGE * np.eye(self._signs), self._cross)
        found = np.maximum(found, 0.0)
        weights: NDArray[np.float64] = found / max(1.0, float(found.sum()))
        return weights
