"""A hidden stream without drift beside a real one: do the promised false alarms hold in fact?

It draws prompts of the reference again and again, each with the same chance, so nothing can have
changed. A detector of the same kind watches it with a budget of its own. Its alarms are false ones
for sure, and are to be no more than what it staked. It says that the test keeps its word, not that
traffic does: bursts and rhythm are not replayed. (Replaying runs in their own order was tried:
parts of the reference then come again beside others that don't, which is a drift.)

Knows the detector; nothing about tenants or the registry. Kept in memory only: a restarted process
begins a new one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from monitoring.betting import chance
from monitoring.budget import Purse
from monitoring.drift import Detector, DriftSettings
from monitoring.sketch import pack

EVERY = 8
"""One control prompt for so many real ones: it costs an eighth of the real detector's time."""


class Control:
    """The control of one adapter's detector, over its baseline: (prompts, DIMENSIONS)."""

    def __init__(self, settings: DriftSettings, baseline: NDArray[np.float32], seed: int) -> None:
        # Repeats are all that there is here, so none is dropped; its reference needs no whole day.
        self._settings = DriftSettings(
            reference=settings.reference,
            false_alarms_per_week=settings.false_alarms_per_week,
            sustained_for=settings.sustained_for,
            repeats=0,
        )
        self._pool = [pack(row) for row in baseline]
        self._seed = seed
        self._number = 0
        self._purse = Purse(settings.false_alarms_per_week)
        self._detector = Detector(self._settings, self._purse)
        self.alarms = 0
        """False alarms so far; after each the control begins anew."""

    @property
    def promised(self) -> float:
        """False alarms so far at most to be expected."""
        return self._purse.spent

    def see(self, at: float, share: float) -> None:
        """A real prompt came at `at` (seconds)."""
        self._number += 1
        if self._number % EVERY:
            return
        place = int(chance(self._seed, self._number) * len(self._pool))
        self._detector.see(self._pool[place], at, share)
        if self._detector.crossed_at is not None:
            self.alarms += 1
            self._detector = Detector(self._settings, self._purse)
