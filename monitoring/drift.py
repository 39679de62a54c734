"""Drift of prompts: has what a tenant sends changed since the live version took over?

The first prompts after a promotion are frozen as the reference: the first so many, or, where a time
is set, an even draw of all that came in it, so that a day's rhythm is in it. Half of it, the
*baseline*, says what ordinary is; the other half opens a *bag* to which every later prompt is
added (monitoring/watch.py). Each prompt gets scores against the baseline (monitoring/channels.py),
and each score is ranked within the bag.

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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring.betting import Bets, chance, chances, evidence
from monitoring.budget import Purse
from monitoring.channels import Rows
from monitoring.sketch import mark_of, pack, readable, unpacked
from monitoring.watch import STREAMS, Watch

FORMAT = 4
"""Of what `dump` gives. What an older one gave can't be gone on from: sketches were others."""

THRESHOLD = 10.0
"""The statistic at which the alarm goes: evidence is shown on a scale of logs that ends there."""
_CALM = math.exp(5.0 - THRESHOLD)
"""Evidence of a statistic of 5: up to this it goes without drift, now and then."""
_OVER = math.exp(7.0 - THRESHOLD)
"""Of 7: an alarm that was not sustained is over once the evidence is down to this."""

BLOCK = 64
"""Prompts looked at together: it costs a tenth of one after another, and gives the same."""
OTHER_BASE = 50
"""Prompts in a row whose words another base was asked about, after which the reference is dropped:
what words mean to two bases can't be compared."""


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
    bag: int = 700


class _Prompt(NamedTuple):
    """`place`: among those given. `number`: how many had been seen with it."""

    place: int
    number: int
    packed: bytes
    at: float | None


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
        """`seen` when the evidence rose above the threshold; None again once that is over: it fell
        far below before it was sustained."""
        self.crossings = 0
        """How often it rose so."""
        self.established_at: int | None = None
        """`seen` when drift had been sustained; from then on the detector rests."""
        self.calm_at: float | None = None
        """When the last prompt came before the evidence rose to its alarm (seconds): drift began
        about then. None where no time was told."""
        self._recent: deque[int] = deque(maxlen=settings.repeats)
        self._waiting: list[bytes] = []
        self._began: float | None = None
        self._watch: Watch | None = None
        self._mark: int | None = None
        """Of the table of meanings that the reference's sketches were made with."""
        self._strangers = 0
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
    def baseline(self) -> Rows | None:
        """The half of the reference that says what ordinary is; None until it is complete."""
        return None if self._watch is None else self._watch.baseline

    @property
    def established(self) -> bool:
        """Whether drift has been sustained. It stays so until a new reference is taken."""
        return self.established_at is not None

    def see(self, packed: bytes, at: float | None = None, share: float = 1.0) -> None:
        """Take in one prompt's sketch, as `see_all`."""
        self.see_all([(packed, at)], share)

    def see_all(
        self,
        prompts: Sequence[tuple[bytes, float | None]],
        share: float = 1.0,
        *,
        pause: bool = False,
    ) -> int:
        """Take in prompts' sketches, in order; one that can't be read is dropped and counted. How
        many were taken in: all, or with `pause` those up to the one that raises the alarm.

        The second of each pair says when it came, in seconds; without it no time passes, and the
        budget does not grow. `share`: this adapter's part of the fleet's budget, in (0, 1].
        """
        taken = 0
        while taken < len(prompts):
            before = self._counted() if pause else None
            start = taken
            block, taken = self._gathered(prompts, taken)
            if self._watch is None:
                for prompt in block:
                    self._draw(prompt)
                continue
            while block and not self.established:
                alarmed = self.crossed_at is not None
                count = self._bet(self._watch, block, share, pause)
                if before is not None and not alarmed and self.crossed_at is not None:
                    taken = block[count - 1].place + 1
                    self.seen, self.dropped, self._strangers, self._recent = before
                    for packed, _ in prompts[start:taken]:
                        self._counts(packed)
                    return taken
                block = block[count:]
        return taken

    def _counted(self) -> tuple[int, int, int, deque[int]]:
        return self.seen, self.dropped, self._strangers, self._recent.copy()

    def _gathered(
        self, prompts: Sequence[tuple[bytes, float | None]], start: int
    ) -> tuple[list[_Prompt], int]:
        """(the next prompts that count and can be dealt with together, where those after begin)."""
        if self._watch is None:
            most = 1  # whichever completes the reference, the next one is compared
        elif self.established:
            most = len(prompts)
        else:
            if self._watch.room == 0:
                self._watch.restart()
                self._bets.fortunes[-1] = 0.0
            most = min(BLOCK, self._watch.room)
        found: list[_Prompt] = []
        at = start
        while at < len(prompts) and len(found) < most:
            packed, time = prompts[at]
            if self._strangers + 1 >= OTHER_BASE and self._strange(packed):
                if found:
                    break
                self._begin_again()
            at += 1
            if self._counts(packed):
                found.append(_Prompt(at - 1, self.seen, packed, time))
                if self._watch is None:
                    break
        return found, at

    def _strange(self, packed: bytes) -> bool:
        """Whether a sketch can be read and is one by another table of meanings."""
        return readable(packed) and self._mark not in (None, mark_of(packed))

    def _counts(self, packed: bytes) -> bool:
        """Whether a prompt is one to look at; counted as seen or dropped."""
        if not readable(packed):
            self.dropped += 1
            return False
        mark = mark_of(packed)
        if self._mark is None:
            self._mark = mark
        elif mark != self._mark:
            self._strangers += 1
            self.dropped += 1
            return False
        self._strangers = 0
        fingerprint = zlib.crc32(packed)
        if fingerprint in self._recent:
            self.dropped += 1
            return False
        self._recent.append(fingerprint)
        self.seen += 1
        return True

    def _begin_again(self) -> None:
        """Take a new reference; what is left of the budget stays."""
        self._waiting, self._watch, self._mark, self._strangers = [], None, None, 0
        self._began = None
        self._bets = Bets.none(len(STREAMS))
        self.above, self.crossed_at, self.established_at, self.calm_at = 0, None, None, None

    def _draw(self, prompt: _Prompt) -> None:
        """An even draw of all prompts until the time is over: each is kept with the same chance."""
        wanted, at = self.settings.reference, prompt.at
        if len(self._waiting) < wanted:
            self._waiting.append(prompt.packed)
        else:
            place = int(chance(4 * self.seed + 1, prompt.number) * prompt.number)
            if place < wanted:
                self._waiting[place] = prompt.packed
        if self._began is None:
            self._began = at
        since = 0.0 if at is None or self._began is None else at - self._began
        long_enough = at is None or since >= self.settings.reference_span_s
        if len(self._waiting) >= wanted and long_enough:
            self._watch = Watch.begin(unpacked(self._waiting), self.settings.bag)
            self._waiting = []

    def _bet(self, watch: Watch, block: list[_Prompt], share: float, pause: bool) -> int:
        """Bet on the ranks of these prompts until drift is established, or an alarm is over, or
        with `pause` until the alarm; on how many."""
        numbers = np.array([prompt.number for prompt in block])
        first, second = (chances(4 * self.seed + which, numbers) for which in (0, 2))
        ranked = watch.rank(unpacked([prompt.packed for prompt in block]), first, second)
        purse = self.purse.dump()
        stakes = np.array([self.purse.stake(prompt.at, share) for prompt in block])
        fortunes = self._bets.place(ranked.p, stakes[:, None] * watch.parts)
        strongest = evidence(fortunes).max(axis=1)
        alarmed = self.crossed_at is not None
        count = self._judged(strongest.tolist(), block, pause)
        if count < len(block):  # what comes after it has staked nothing
            self.purse = Purse.load(self.settings.false_alarms_per_week, purse)
            for prompt in block[:count]:
                self.purse.stake(prompt.at, share)
        self._bets.fortunes = fortunes[count - 1].copy()
        if self.crossed_at is None and (alarmed or strongest[:count].max() >= 1.0):
            # Its stake is lost. What comes then is bet on afresh, so that the budget is kept.
            self._bets = Bets.none(len(STREAMS))
        watch.keep(ranked, count)
        return count

    def _judged(self, strongest: list[float], block: list[_Prompt], pause: bool) -> int:
        """Follow the evidence from prompt to prompt; how many until drift was established, an alarm
        was over, or it went and it is to `pause`."""
        for count, (found, prompt) in enumerate(zip(strongest, block, strict=True), 1):
            crossing = self.crossed_at is None
            if found < 1.0:
                self.above = 0
                if crossing and found <= _CALM:
                    self.calm_at = prompt.at
                if not crossing and found <= _OVER:
                    self.crossed_at = None
                    return count
                continue
            self.above += 1
            if crossing:
                self.crossed_at = prompt.number
                self.crossings += 1
            if self.above >= self.settings.sustained_for:
                self.established_at = prompt.number
            if self.established or (crossing and pause):
                return count
        return len(block)

    def forgive(self, prompts: int) -> None:
        """Take back what the last `prompts` (64 at most) seemed to show: they leave the bag, bets
        begin again, and a crossing within them is forgotten. They turned out to be no prompts of
        the tenant's."""
        if self._watch is not None:
            resting = 0 if self.established_at is None else self.seen - self.established_at
            self._watch.forgive(max(0, prompts - resting))
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
            "calm_at": self.calm_at,
            "crossings": self.crossings,
            "began": self._began,
            "mark": self._mark,
            "strangers": self._strangers,
            "recent": [*self._recent],
            "purse": self.purse.dump(),
            "statistic": self.statistic,
        }
        arrays: dict[str, NDArray[Any]] = {"fortunes": self._bets.fortunes}
        if self._watch is not None:
            arrays |= self._watch.arrays()
        else:
            arrays["waiting"] = unpacked(self._waiting)
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
        purse = Purse.load(settings.false_alarms_per_week, state["purse"])
        detector = cls(settings, purse, state["seed"])
        detector.seen, detector.dropped = state["seen"], state["dropped"]
        detector.above, detector.crossed_at = state["above"], state["crossed_at"]
        detector.established_at = state["established_at"]
        detector.calm_at = state.get("calm_at")
        detector.crossings = state.get("crossings", int(detector.crossed_at is not None))
        detector._began, detector._mark = state["began"], state["mark"]
        detector._strangers = state["strangers"]
        detector._recent.extend(state["recent"])
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            detector._bets = Bets(arrays["fortunes"])
            if "waiting" in arrays:
                mark = detector._mark or 0
                detector._waiting = [pack(row, mark) for row in arrays["waiting"]]
            else:
                detector._watch = Watch.load(arrays, settings.bag)
        return detector


def _shown(evidence: float) -> float:
    """An alarm is evidence of 1."""
    return max(THRESHOLD + math.log(evidence), 0.0) if evidence > 0 else 0.0
