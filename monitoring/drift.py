"""Drift of prompts: has what a tenant sends changed since the live version took over?

The first prompts after a promotion are frozen as the reference. Half of them, the *baseline*, say
what ordinary is; the other half open a *bag* to which every later prompt is added. Each prompt gets
three scores, and each score is ranked within the bag:

- `topic`: the mean-embedding witness <φ(x), mean(bag) - mean(baseline)>, which points to where the
  bag has moved (the linear-kernel case of the MMD witness, Gretton et al. 2012);
- `novelty`: distance to the nearest three baseline prompts, which sees a new subject at once;
- `shape`: how far lengths, script, symbols, turns and the system prompt are from the baseline's.

Each score treats all members of the bag alike, so without change the ranks are uniform, whatever
the reference happened to hold: no assumption that a finite reference is the truth. Bets on small
ranks (monitoring/betting.py) give the evidence; `prompts_per_false_alarm` sets how often they may
cry wolf. After `bag` prompts the bag begins again at the reference, which bounds memory.

Pure: no clock, no database, no randomness of its own; the same prompts give the same numbers, also
when cut anywhere by `dump` and `load`. Why this test: docs/adr/006-drift-statistic.md.
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

from monitoring.betting import EDetector, chance, rank_p_value
from monitoring.sketch import CHARACTERS, DESCRIPTORS, DIMENSIONS, WORDS, unpack

LEXICAL = CHARACTERS + WORDS
CHANNELS = ("topic", "novelty", "shape")
FORMAT = 1
"""Of what `dump` gives; another format is not read."""

_NEIGHBOURS = 3
_STEPS = 1e5  # scores are rounded, so that the last bits of a sum never decide a rank
_SMALLEST_SPREAD = 0.02
_CEILING_ABOVE = 2.0


@dataclass(frozen=True)
class DriftSettings:
    """`reference`: prompts frozen after a promotion. `prompts_per_false_alarm`: without drift, the
    average number of prompts until an alarm is at least this. `sustained_for`: prompts in a row
    for which the evidence must stay above the threshold. `bag`: prompts until the bag begins again.
    `repeats`: a prompt equal to one of the last so many is a retry or a loop, and dropped."""

    reference: int = 200
    prompts_per_false_alarm: int = 20_000
    sustained_for: int = 20
    bag: int = 600
    repeats: int = 64


class Detector:
    """The drift test of one adapter's prompts, from one promotion to the next."""

    def __init__(self, settings: DriftSettings) -> None:
        self.settings = settings
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
        self._waiting: list[NDArray[np.float32]] = []
        self._watch: _Watch | None = None
        ceiling = self.threshold + math.log(len(CHANNELS)) + _CEILING_ABOVE
        self._bets = {name: EDetector(ceiling) for name in CHANNELS}

    @property
    def threshold(self) -> float:
        """The statistic at which the alarm goes: log of `prompts_per_false_alarm`."""
        return math.log(self.settings.prompts_per_false_alarm)

    @property
    def statistic(self) -> float:
        """log evidence of the strongest channel, less log of the number of channels (the price of
        looking at several: a union bound, valid however they depend on each other)."""
        strongest = max(bet.log_evidence for bet in self._bets.values())
        return max(strongest - math.log(len(CHANNELS)), 0.0)

    @property
    def reference_size(self) -> int:
        """Prompts in the reference so far."""
        return self.settings.reference if self._watch else len(self._waiting)

    @property
    def watching(self) -> bool:
        """Whether the reference is complete."""
        return self._watch is not None

    @property
    def established(self) -> bool:
        """Whether drift has been sustained. It stays so until a new reference is taken."""
        return self.established_at is not None

    def see(self, packed: bytes) -> None:
        """Take in one prompt's sketch; one that can't be read is dropped and counted."""
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
            self._waiting.append(numbers)
            if len(self._waiting) >= self.settings.reference:
                self._watch = _Watch.begin(np.stack(self._waiting), self.settings.bag)
                self._waiting = []
        elif not self.established:
            self._bet(self._watch, numbers)

    def _bet(self, watch: _Watch, numbers: NDArray[np.float32]) -> None:
        if watch.full:
            watch.restart()
            for bet in self._bets.values():
                bet.restart()
        for order, (name, scores) in enumerate(watch.add(numbers).items()):
            self._bets[name].bet(rank_p_value(scores, chance(order, self.seen)))
        if self.statistic < self.threshold:
            self.above = 0
            return
        self.above += 1
        if self.crossed_at is None:
            self.crossed_at = self.seen
        if self.above >= self.settings.sustained_for:
            self.established_at = self.seen

    def forgive(self, prompts: int) -> None:
        """Take back what the last `prompts` seemed to show: bag and bets begin again, and a
        crossing within them is forgotten. They turned out to be no prompts of the tenant's."""
        if self._watch is not None:
            self._watch.restart()
        for bet in self._bets.values():
            bet.restart()
        if self.crossed_at is not None and self.crossed_at > self.seen - prompts:
            self.crossed_at = self.established_at = None
            self.above = 0

    def evidence(self) -> dict[str, Any]:
        """What a receipt says: the statistic, its threshold, each channel, and what moved most."""
        found: dict[str, Any] = {
            "statistic": round(self.statistic, 3),
            "threshold": round(self.threshold, 3),
            "channels": {k: round(bet.log_evidence, 3) for k, bet in self._bets.items()},
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
            "seen": self.seen,
            "dropped": self.dropped,
            "above": self.above,
            "crossed_at": self.crossed_at,
            "established_at": self.established_at,
            "recent": [*self._recent],
            "bets": {name: bet.dump() for name, bet in self._bets.items()},
            "statistic": self.statistic,
        }
        if self._watch is not None:
            arrays = self._watch.arrays()
        else:
            rows = np.stack(self._waiting) if self._waiting else np.zeros((0, DIMENSIONS))
            arrays = {"waiting": rows.astype(np.float16)}
        packed = io.BytesIO()
        np.savez(packed, **arrays)  # type: ignore[arg-type]
        return state, packed.getvalue()

    @classmethod
    def load(cls, settings: DriftSettings, state: dict[str, Any], packed: bytes) -> Detector:
        """A detector that goes on where the dumped one stood. Raises ValueError."""
        if state.get("format") != FORMAT:
            raise ValueError(
                f"drift state of format {state.get('format')!r}, expected {FORMAT}: take a new "
                "reference"
            )
        detector = cls(settings)
        detector.seen, detector.dropped = state["seen"], state["dropped"]
        detector.above, detector.crossed_at = state["above"], state["crossed_at"]
        detector.established_at = state["established_at"]
        detector._recent.extend(state["recent"])
        for name, bet in detector._bets.items():
            detector._bets[name] = EDetector(bet.ceiling, state["bets"][name])
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            if "waiting" in arrays:
                detector._waiting = [*arrays["waiting"].astype(np.float32)]
            else:
                detector._watch = _Watch.from_arrays(dict(arrays), settings.bag)
        return detector


class _Watch:
    """Baseline, bag and scores, once the reference is complete."""

    def __init__(
        self,
        baseline: NDArray[np.float32],
        usual: NDArray[np.float64],
        spread: NDArray[np.float64],
        opening: int,
        size: int,
    ) -> None:
        self._baseline = baseline
        self._baseline_mean = baseline.mean(axis=0, dtype=np.float64)
        self._usual, self._spread = usual, spread  # of the descriptors, over the baseline
        self._opening = opening  # rows of the bag that belong to the reference
        self._rows = np.zeros((opening + size, LEXICAL), dtype=np.float32)
        self._fixed = np.zeros((2, opening + size))  # novelty and shape, which never change
        self._descriptors = np.zeros((opening + size, len(DESCRIPTORS)), dtype=np.float32)
        self._sum = np.zeros(LEXICAL)
        self._count = 0

    @classmethod
    def begin(cls, reference: NDArray[np.float32], size: int) -> _Watch:
        """Split the reference: prompts alternate between baseline and bag."""
        baseline, opening = reference[0::2], reference[1::2]
        shape = baseline[:, LEXICAL:].astype(np.float64)
        watch = cls(
            baseline[:, :LEXICAL].copy(),
            shape.mean(axis=0),
            np.maximum(shape.std(axis=0), _SMALLEST_SPREAD),
            len(opening),
            size,
        )
        for numbers in opening:
            watch._put(numbers)
        return watch

    @property
    def full(self) -> bool:
        return self._count == len(self._rows)

    def restart(self) -> None:
        """Back to the reference."""
        self._count = self._opening
        self._sum = self._rows[: self._count].sum(axis=0, dtype=np.float64)

    def add(self, numbers: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
        """Put a prompt into the bag; by channel, the scores of all of the bag, the prompt last."""
        self._put(numbers)
        size = self._count
        witness = (self._sum / size - self._baseline_mean).astype(np.float32)
        return {
            "topic": np.rint((self._rows[:size] @ witness).astype(np.float64) * _STEPS),
            "novelty": self._fixed[0, :size],
            "shape": self._fixed[1, :size],
        }

    def _put(self, numbers: NDArray[np.float32]) -> None:
        lexical, shape = numbers[:LEXICAL], numbers[LEXICAL:]
        at = self._count
        self._rows[at] = lexical
        self._descriptors[at] = shape
        self._sum += lexical
        nearest = np.partition(self._baseline @ lexical, -_NEIGHBOURS)[-_NEIGHBOURS:]
        off = np.minimum(np.abs(shape - self._usual) / self._spread, 5.0)
        self._fixed[0, at] = np.rint(-float(nearest.sum()) * _STEPS)
        self._fixed[1, at] = np.rint(float(off @ off) * _STEPS)
        self._count += 1

    def moved(self) -> dict[str, float]:
        """The three descriptors whose mean in the bag lies furthest from the baseline's, in
        spreads."""
        later = self._descriptors[self._opening : self._count]
        if not len(later):
            return {}
        off = (later.mean(axis=0, dtype=np.float64) - self._usual) / self._spread
        order = np.argsort(-np.abs(off))[:3]
        return {DESCRIPTORS[i]: round(float(off[i]), 2) for i in order}

    def arrays(self) -> dict[str, NDArray[Any]]:
        size = self._count
        return {
            "baseline": self._baseline.astype(np.float16),  # exact: sketches are 16-bit floats
            "usual": self._usual,
            "spread": self._spread,
            "rows": self._rows[:size].astype(np.float16),
            "descriptors": self._descriptors[:size].astype(np.float16),
            "fixed": self._fixed[:, :size].astype(np.int32),  # whole numbers, by `_STEPS`
            "sum": self._sum,
            "opening": np.array(self._opening),
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], size: int) -> _Watch:
        watch = cls(
            arrays["baseline"].astype(np.float32),
            arrays["usual"],
            arrays["spread"],
            int(arrays["opening"]),
            max(size, len(arrays["rows"]) - int(arrays["opening"])),
        )
        count = len(arrays["rows"])
        watch._rows[:count] = arrays["rows"]
        watch._descriptors[:count] = arrays["descriptors"]
        watch._fixed[:, :count] = arrays["fixed"]
        watch._sum = arrays["sum"].copy()
        watch._count = count
        return watch
