"""Baseline and bag: what later prompts are compared with once a reference is complete.

The reference's prompts alternate between the two: the *baseline* says what ordinary is, the other
half opens a *bag* to which every later prompt is added. A prompt gets a p-value for each stream
that is bet on: where its score ranks in the bag.

Knows sketches' numbers; nothing about bets or time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.betting import Ranks
from monitoring.channels import BINS, SCORES, SIDES, Channels, Rows, described
from monitoring.sketch import DESCRIPTORS, DIMENSIONS, NUMBERS
from monitoring.topic import Ranking, Topic, rows_of

LATEST = 64
"""Prompts that can be taken out of the bag again, the last ones."""
STREAMS = (*(name for name, _, _ in SIDES), "topic")
"""What is bet on."""
_WEIGHTS = {"topic": 2.0, "both": 2.0}
_INDEX = [index for _, index, _ in SIDES]
_LOW = np.array([sign < 0 for _, _, sign in SIDES])


@dataclass(frozen=True)
class Ranked:
    """Prompts that were ranked and are not in the bag yet. `p`: (prompts, STREAMS)."""

    p: NDArray[np.float64]
    rows: Rows
    bins: NDArray[np.int64]
    topic: Ranking


class Watch:
    """`later`: the sum of the later prompts' descriptors, and their number at the end."""

    def __init__(
        self,
        baseline: Rows,
        ranks: Ranks,
        later: NDArray[np.int64],
        opening: int,
        bag: int,
        rows: Rows | None = None,
        latest: NDArray[np.uint16] | None = None,
    ) -> None:
        self._channels = channels = Channels(baseline)
        self._ranks = ranks
        self._opening = opening
        self._topic = Topic(channels, opening, bag, rows)
        self._later = later
        self._latest = np.zeros((0, len(SCORES)), np.uint16) if latest is None else latest
        """The bins of the last prompts in the bag, LATEST at most."""
        weights = np.array([self._weight(name) for name in STREAMS])
        self.parts = weights / weights.sum()
        """By stream, the part of what is staked."""

    def _weight(self, name: str) -> float:
        if name == "meaning" and not self._channels.meant:
            return 0.0
        return _WEIGHTS.get(name, 1.0)

    @property
    def baseline(self) -> Rows:
        return self._channels.baseline

    @classmethod
    def begin(cls, reference: Rows, bag: int) -> Watch:
        """Split the reference, (prompts, DIMENSIONS)."""
        opening = reference[1::2]
        later = np.zeros(len(DESCRIPTORS) + 1, dtype=np.int64)
        ranks = Ranks.none(len(SCORES), BINS)
        watch = cls(reference[0::2].copy(), ranks, later, len(opening), bag)
        shapes = watch._channels.standardised(opening)
        watch._topic.open(rows_of(opening, shapes))
        ranks.add(watch._channels.bins(opening, shapes))
        return watch

    @property
    def room(self) -> int:
        """Prompts that can be ranked before the topic must be learnt afresh."""
        return self._topic.room

    def forgive(self, prompts: int) -> None:
        """Take the last so many out of the bag, as far as they are remembered, and learn the topic
        afresh."""
        at = max(0, len(self._latest) - prompts)
        self._ranks.take(self._latest[at:].astype(np.int64))
        self._latest = self._latest[:at]
        self.restart()

    def restart(self) -> None:
        """Learn the topic afresh from the reference."""
        self._topic.restart()

    def rank(self, rows: Rows, chances: NDArray[np.float64], others: NDArray[np.float64]) -> Ranked:
        """Where each of `rows` would rank, at most `room`. `chances`, `others`: by prompt, what
        breaks ties, in channels and in the topic."""
        shapes = self._channels.standardised(rows)
        bins = self._channels.bins(rows, shapes)
        ranks = self._ranks.rank(bins, chances)[:, _INDEX]
        topic = self._topic.rank(rows_of(rows, shapes), others)
        p = np.column_stack([np.where(_LOW, 1.0 - ranks, ranks), topic.p])
        return Ranked(p, rows, bins, topic)

    def keep(self, ranked: Ranked, first: int) -> None:
        """Put the first so many of what was ranked last into the bag."""
        self._later[:-1] += ranked.rows[:first, NUMBERS:].sum(axis=0, dtype=np.int64)
        self._later[-1] += first
        self._ranks.add(ranked.bins[:first])
        latest = np.concatenate([self._latest, ranked.bins[:first].astype(np.uint16)])
        self._latest = latest[-LATEST:]
        self._topic.keep(ranked.topic, first)

    def moved(self) -> dict[str, float]:
        """The three descriptors whose mean since the reference lies furthest from the baseline's,
        in spreads."""
        count = int(self._later[-1])
        if not count:
            return {}
        channels = self._channels
        mean = described(self._later[:-1] / count)
        off = (mean - channels.usual) / channels.spread
        order = np.argsort(-np.abs(off))[:3]
        return {DESCRIPTORS[i]: round(float(off[i]), 2) for i in order}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """All that `load` needs."""
        return {
            "baseline": self.baseline,
            "above": self._ranks.above,
            "total": np.array(self._ranks.total),
            "later": self._later,
            "opening": np.array(self._opening),
            "latest": self._latest,
            "rows": self._topic.arrays(),
        }

    @classmethod
    def load(cls, arrays: Any, bag: int) -> Watch:
        """What `arrays` gave. Raises KeyError and ValueError."""
        ranks = Ranks(arrays["above"], int(arrays["total"]))
        baseline, rows = arrays["baseline"], arrays["rows"]
        if baseline.shape[1:] != (DIMENSIONS,) or rows.shape[1:] != (DIMENSIONS,):
            raise ValueError(f"expected rows of {DIMENSIONS}, found {baseline.shape}, {rows.shape}")
        latest = arrays.get("latest")
        return cls(baseline, ranks, arrays["later"], int(arrays["opening"]), bag, rows, latest)
