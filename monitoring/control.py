"""A hidden stream without drift beside a real one: do the promised false alarms hold in fact?

It draws prompts of the reference again and again, each with the same chance, so nothing can have
changed. A detector of the same kind, half as large, watches it with a budget of its own. Its alarms
are false ones for sure, and are to be no more than what it staked. It says that the test keeps its
word, not that traffic does: bursts and rhythm are not replayed. (Replaying runs in their own order
was tried: parts of the reference then come again beside others that don't, which is a drift.)

Knows the detector; nothing about tenants or the registry.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from monitoring.betting import chance
from monitoring.channels import Rows
from monitoring.drift import Detector, DriftSettings
from monitoring.sketch import pack

EVERY = 8
"""One control prompt for so many real ones: it costs an eighth of the real detector's time."""
_MEMBER = "control.npz"


class Control:
    """The control of one adapter's detector, over all its references."""

    def __init__(self, settings: DriftSettings, seed: int) -> None:
        # Repeats are all that there is here, so none is dropped; its reference needs no whole day.
        self._settings = replace(
            settings,
            reference=settings.reference // 2,
            reference_span_s=0.0,
            repeats=0,
            bag=settings.bag // 4,
        )
        self._seed = seed
        self._number = 0
        self._pool: Rows | None = None
        self.alarms = 0
        """False alarms so far; after each the control begins anew."""
        self._detector = Detector(self._settings, seed=seed)

    @property
    def promised(self) -> float:
        """False alarms so far at most to be expected."""
        return self._detector.purse.spent

    def see_all(self, baseline: Rows, times: Sequence[float], share: float) -> None:
        """Real prompts came at `times` (seconds). `baseline`: the real detector's, (prompts,
        DIMENSIONS), from which is drawn; with another one than before the control begins anew."""
        if baseline is not self._pool:
            if self._pool is not None:
                self._begin()
            self._pool = baseline
        drawn: list[tuple[int, bytes, float]] = []
        for number, at in enumerate(times, self._number + 1):
            if number % EVERY == 0:
                place = int(chance(4 * self._seed + 3, number) * len(baseline))
                drawn.append((number, pack(baseline[place]), at))
        end = self._number + len(times)
        while drawn:
            prompts = [(packed, at) for _, packed, at in drawn]
            taken = self._detector.see_all(prompts, share, pause=True)
            self._number = drawn[taken - 1][0]
            if self._detector.crossed_at is not None:
                self.alarms += 1
                self._begin()
            drawn = drawn[taken:]
        self._number = end

    def _begin(self) -> None:
        """Of the budget, what is left stays."""
        # Prompts seen so far set this seed apart from those of the detectors before it.
        seed = self._seed ^ self._number
        self._detector = Detector(self._settings, self._detector.purse, seed)

    def dump(self) -> tuple[dict[str, Any], bytes]:
        """(JSON state, packed arrays), as a detector's."""
        state, packed = self._detector.dump()
        kept = {
            "seed": self._seed,
            "number": self._number,
            "alarms": self.alarms,
            "promised": self.promised,
            "detector": state,
        }
        return kept, packed

    @classmethod
    def load(
        cls,
        settings: DriftSettings,
        state: dict[str, Any],
        packed: bytes,
        baseline: Rows | None,
    ) -> Control:
        """A control that goes on where the dumped one stood, over the same `baseline`; None: what
        it drew from is gone, and it begins anew with what it has counted. Raises ValueError and
        KeyError."""
        control = cls(settings, state["seed"])
        control._number, control.alarms = state["number"], state["alarms"]
        control._detector = Detector.load(control._settings, state["detector"], packed)
        control._pool = baseline
        if baseline is None:
            control._begin()
        return control


def joined(detector: bytes, control: bytes) -> bytes:
    """The packed arrays of both, to be kept as one: a detector is read from it as from its own."""
    whole = io.BytesIO(detector)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(_MEMBER, control)
    return whole.getvalue()


def parted(packed: bytes) -> bytes:
    """The control's part of what `joined` made. Raises KeyError if there is none."""
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        return archive.read(_MEMBER)
