"""Drift of prompts: has what a tenant sends changed since the live version took over?

The first prompts after a promotion are frozen as the reference: the first so many, or, where a time
is set, an even draw of all that came in it, so that a day's rhythm is in it. Half of it, the
*baseline*, says what ordinary is; the other half opens a *bag* to which every later prompt is
added. Each prompt gets scores against the baseline (monitoring/channels.py), and each score is
ranked within the bag.

A score is a fixed function of the baseline, so without change the ranks are uniform, whatever the
reference happened to hold: no assumption that a finite reference is the truth. Bets on ranks at
either end (monitoring/betting.py) give the evidence; what they may stake is this adapter's part of
a budget of false alarms for the whole fleet (monitoring/budget.py). The bag is kept as counts and
never begins again: the longer things stay as they are, the slighter a change is found.

Pure: no clock, no database, no randomness but its seed's; the same prompts at the same times give
the same numbers, also when cut anywhere by `dump` and `load`. Why this test:
docs/adr/011-drift-budget.md.
"""

from __future__ import annotations

import io
import math
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.betting import Bets, Ranks, chance
from monitoring.budget import Purse
from monitoring.channels import BINS, LEXICAL, SCORES, SIDES, Channels
from monitoring.sketch import DESCRIPTORS, DIMENSIONS, pack, unpack
from monitoring.topic import Topic

FORMAT = 3
"""Of what `dump` gives. Of the format before, which had no seed, the seed is 0."""

THRESHOLD = 10.0
"""The statistic at which the alarm goes: evidence is shown on a scale of logs that ends there."""

STREAMS = (*(name for name, _, _ in SIDES), "topic")
"""What is bet on."""
_WEIGHTS = np.array([[{"topic": 2, "both": 2}.get(name, 1)] for name in STREAMS])
_PARTS = _WEIGHTS / _WEIGHTS.sum()  # of the stake, by stream


@dataclass(frozen=True)
class DriftSettings:
    """`reference`: prompts frozen after a promotion. `reference_span_s`: seconds over which they
    are drawn; 0 takes the first ones. `false_alarms_per_week`: of the whole fleet, without drift,
    on average at most. `sustained_for`: prompts in a row for which the evidence must stay above the
    threshold. `repeats`: a prompt equal to one of the last so many is a retry or a loop, and
    dropped. `bag`: prompts that the topic is learnt from before it begins again.
    """

    reference: int = 200
    reference_span_s: float = 0.0
    false_alarms_per_week: float = 1.0
    sustained_for: int = 20
    repeats: int = 64
    bag: int = 600


class Detector:
    """The drift test of one adapter's prompts, from one promotion to the next. `purse`: what an
    earlier detector of the same adapter has left of the budget. `seed`: of the chances that break
    ties; detectors with the same one would raise their false alarms together."""

    def __init__(self, settings: DriftSettings, purse: Purse | None = None, seed: int = 0) -> None:
        self.settings = settings
        self.seed = seed
        self.purse = purse or Purse(settings.false_alarms_per_week)
        self.seen = 0
        """Prompts taken in, the reference's included."""
        self.dropped = 0
        """Repeats and unreadable sketches left out."""
        self.above = 0
        """Prompts in a row with the evidence above the threshold."""
        self.crossed_at: int | None = None
        """`seen` when the evidence first rose above the threshold."""
        self.established_at: int | None = None
        """`seen` when drift had been sustained; from then on the detector rests."""
        self._recent: deque[int] = deque(maxlen=settings.repeats)
        self._waiting: list[bytes] = []
        self._began: float | None = None
        self._watch: _Watch | None = None
        self._bets = Bets.none(len(STREAMS))

    @property
    def threshold(self) -> float:
        """The statistic at which the alarm goes."""
        return THRESHOLD

    @property
    def statistic(self) -> float:
        """log of the strongest channel's evidence, on a scale that ends at the threshold. Each
        channel was given its part of the stake: the price of looking at several."""
        return _shown(float(self._bets.evidence().max()))

    @property
    def reference_size(self) -> int:
        """Prompts in the reference so far."""
        return self.settings.reference if self._watch else len(self._waiting)

    @property
    def watching(self) -> bool:
        """Whether the reference is complete."""
        return self._watch is not None

    @property
    def baseline(self) -> NDArray[np.float32] | None:
        """The half of the reference that says what ordinary is; None until it is complete."""
        return None if self._watch is None else self._watch.baseline

    @property
    def established(self) -> bool:
        """Whether drift has been sustained. It stays so until a new reference is taken."""
        return self.established_at is not None

    def see(self, packed: bytes, at: float | None = None, share: float = 1.0) -> None:
        """Take in one prompt's sketch; one that can't be read is dropped and counted.

        `at`: when it came, in seconds; without it no time passes, and the budget does not grow.
        `share`: this adapter's part of the fleet's budget, in (0, 1].
        """
        try:
            numbers = unpack(packed)
        except ValueError:
            self.dropped += 1
            return
        fingerprint = zlib.crc32(packed)
        if fingerprint in self._recent:
            self.dropped += 1
            return
        self._recent.append(fingerprint)
        self.seen += 1
        if self._watch is None:
            self._draw(packed, at)
        elif not self.established:
            self._bet(self._watch, numbers, self.purse.stake(at, share))

    def _chance(self, which: int) -> float:
        """One of four independent chances of the newest prompt."""
        return chance(4 * self.seed + which, self.seen)

    def _draw(self, packed: bytes, at: float | None) -> None:
        """An even draw of all prompts until the time is over: each is kept with the same chance."""
        wanted = self.settings.reference
        if len(self._waiting) < wanted:
            self._waiting.append(packed)
        else:
            place = int(self._chance(1) * self.seen)
            if place < wanted:
                self._waiting[place] = packed
        if self._began is None:
            self._began = at
        since = 0.0 if at is None or self._began is None else at - self._began
        long_enough = at is None or since >= self.settings.reference_span_s
        if len(self._waiting) >= wanted and long_enough:
            reference = np.stack([unpack(packed) for packed in self._waiting])
            self._watch = _Watch.begin(reference, self.settings.bag)
            self._waiting = []

    def _bet(self, watch: _Watch, numbers: NDArray[np.float32], stake: float) -> None:
        if watch.topic.full:
            watch.topic.restart()
            self._bets.fortunes[-1] = 0.0
        ranks, topic = watch.rank(numbers, self._chance(0), self._chance(2))
        p = [ranks[index] if sign > 0 else 1.0 - ranks[index] for _, index, sign in SIDES]
        self._bets.place(np.array([*p, topic]), stake * _PARTS)
        if self.statistic < self.threshold:
            self.above = 0
            return
        self.above += 1
        if self.crossed_at is None:
            self.crossed_at = self.seen
        if self.above >= self.settings.sustained_for:
            self.established_at = self.seen

    def forgive(self, prompts: int) -> None:
        """Take back what the last `prompts` seemed to show: bets begin again, and a crossing within
        them is forgotten. They turned out to be no prompts of the tenant's; that they stay in the
        bag makes those to come look the more ordinary."""
        if self._watch is not None:
            self._watch.topic.restart()
        self._bets = Bets.none(len(STREAMS))
        if self.crossed_at is not None and self.crossed_at > self.seen - prompts:
            self.crossed_at = self.established_at = None
            self.above = 0

    def evidence(self) -> dict[str, Any]:
        """What a receipt says: the statistic, its threshold, each channel, and what moved most.
        `promised`: false alarms to be expected at most of all that was staked so far."""
        each = self._bets.evidence()
        found: dict[str, Any] = {
            "statistic": round(self.statistic, 3),
            "threshold": round(self.threshold, 3),
            "channels": {
                name: round(_shown(float(value)), 3)
                for name, value in zip(STREAMS, each, strict=True)
            },
            "promised": self.purse.spent,
            "prompts": self.seen,
            "reference": self.reference_size,
            "dropped": self.dropped,
            "crossed_at": self.crossed_at,
            "established_at": self.established_at,
        }
        if self._watch is not None:
            found["shape_moved"] = self._watch.moved()
        return found

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """(JSON state, packed arrays): all that `load` needs to go on at the same place."""
        state = {
            "format": FORMAT,
            "seed": self.seed,
            "seen": self.seen,
            "dropped": self.dropped,
            "above": self.above,
            "crossed_at": self.crossed_at,
            "established_at": self.established_at,
            "began": self._began,
            "recent": [*self._recent],
            "purse": self.purse.dump(),
            "statistic": self.statistic,
        }
        arrays: dict[str, NDArray[Any]] = {"fortunes": self._bets.fortunes}
        if self._watch is not None:
            arrays |= self._watch.arrays()
        else:
            rows = [unpack(packed) for packed in self._waiting]
            arrays["waiting"] = np.array(rows, dtype=np.float16).reshape(-1, DIMENSIONS)
        packed = io.BytesIO()
        np.savez(packed, **arrays)  # type: ignore[arg-type]
        return state, packed.getvalue()

    @classmethod
    def load(cls, settings: DriftSettings, state: dict[str, Any], packed: bytes) -> Detector:
        """A detector that goes on where the dumped one stood. Raises ValueError."""
        if state.get("format") not in (FORMAT - 1, FORMAT):
            raise ValueError(
                f"drift state of format {state.get('format')!r}, expected {FORMAT}: take a new "
                "reference"
            )
        purse = Purse.load(settings.false_alarms_per_week, state["purse"])
        detector = cls(settings, purse, state.get("seed", 0))
        detector.seen, detector.dropped = state["seen"], state["dropped"]
        detector.above, detector.crossed_at = state["above"], state["crossed_at"]
        detector.established_at = state["established_at"]
        detector._began = state["began"]
        detector._recent.extend(state["recent"])
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            detector._bets = Bets(arrays["fortunes"])
            if "waiting" in arrays:
                detector._waiting = [pack(row) for row in arrays["waiting"]]
            else:
                detector._watch = _Watch(
                    arrays["baseline"].astype(np.float32),
                    Ranks(arrays["above"], int(arrays["total"])),
                    arrays["later"],
                    int(arrays["opening"]),
                    settings.bag,
                    arrays["rows"],
                )
        return detector


class _Watch:
    """Baseline and bag, once the reference is complete."""

    def __init__(
        self,
        baseline: NDArray[np.float32],
        ranks: Ranks,
        later: NDArray[np.float64],
        opening: int,
        bag: int,
        rows: NDArray[np.int8] | None = None,
    ) -> None:
        self._channels = channels = Channels(baseline)
        self._ranks = ranks
        self._opening = opening
        self.topic = Topic(channels, opening, bag, rows)
        self._later = later  # sums of the later prompts' descriptors, and their number

    @property
    def baseline(self) -> NDArray[np.float32]:
        return self._channels.baseline

    @classmethod
    def begin(cls, reference: NDArray[np.float32], bag: int) -> _Watch:
        """Split the reference: prompts alternate between baseline and bag."""
        ranks = Ranks.none(len(SCORES), BINS)
        opening = reference[1::2]
        later = np.zeros(len(DESCRIPTORS) + 1)
        watch = cls(reference[0::2].copy(), ranks, later, len(opening), bag)
        for numbers in opening:
            shape = watch._channels.standardised(numbers)
            watch.topic.add(numbers, shape)
            watch._ranks.add(watch._channels.bins(numbers, shape))
        return watch

    def rank(
        self, numbers: NDArray[np.float32], chance: float, other: float
    ) -> tuple[list[float], float]:
        """Put a prompt into the bag; by score, and for the topic, where it ranks there: near 0 is
        highest. `chance` and `other` break ties."""
        self._later[:-1] += numbers[LEXICAL:]
        self._later[-1] += 1.0
        shape = self._channels.standardised(numbers)
        ranks = self._ranks.rank(self._channels.bins(numbers, shape), chance)
        return ranks, self.topic.rank(numbers, shape, other)

    def moved(self) -> dict[str, float]:
        """The three descriptors whose mean since the reference lies furthest from the baseline's,
        in spreads."""
        if not self._later[-1]:
            return {}
        channels = self._channels
        off = (self._later[:-1] / self._later[-1] - channels.usual) / channels.spread
        order = np.argsort(-np.abs(off))[:3]
        return {DESCRIPTORS[i]: round(float(off[i]), 2) for i in order}

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "baseline": self._channels.baseline.astype(np.float16),  # exact: sketches are 16-bit
            "above": self._ranks.above,
            "total": np.array(self._ranks.total),
            "later": self._later,
            "opening": np.array(self._opening),
            "rows": self.topic.arrays(),
        }


def _shown(evidence: float) -> float:
    """An alarm is evidence of 1."""
    return max(THRESHOLD + math.log(evidence), 0.0) if evidence > 0 else 0.0
