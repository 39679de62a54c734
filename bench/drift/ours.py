"""Our side: the controller's detector over a stream, with the fleet's budget shared evenly."""

from __future__ import annotations

import time
from typing import Any

from bench.drift.streams import DAY, Stream
from monitoring import budget
from monitoring.drift import Detector, DriftSettings

BUDGET = 1.0
"""False alarms a week, all tenants of the fleet together."""
WEEK = 7 * DAY
LARGE = 400
AHEAD = budget.AHEAD / WEEK
"""Weeks' worth of it that a fleet begins with."""


def settings(reference: int) -> DriftSettings:
    """A reference of the whole first day."""
    return DriftSettings(reference=reference, reference_span_s=DAY, false_alarms_per_week=BUDGET)


def records(sketches: list[bytes], stream: Stream, reference: int) -> dict[str, Any]:
    """[prompts since the first day, statistic] each time that it was higher than ever; CPU time.

    As one tenant of `LARGE`: evidence is held at a ceiling just above the alarm, and a threshold
    can be set afterwards only where streams without a change stay below it.
    """
    detector = Detector(settings(reference))
    found: list[list[float]] = []
    highest = 0.0
    begun = time.process_time()
    for number, (text, at) in enumerate(zip(stream.texts, stream.times, strict=True)):
        detector.see(sketches[text], at=float(at), share=1 / LARGE)
        if detector.statistic > highest and number >= stream.first:
            highest = detector.statistic
            found.append([number - stream.first, round(highest, 9)])
    spent = (time.process_time() - begun) / len(stream.texts)
    return {"records": found, "cpu_us": round(spent * 1e6, 1)}


def alarms(sketches: list[bytes], stream: Stream, reference: int, fleet: int) -> dict[str, Any]:
    """Whether the alarm went, as one tenant of `fleet`; weeks watched; the highest statistic."""
    detector = Detector(settings(reference))
    highest = 0.0
    for text, at in zip(stream.texts, stream.times, strict=True):
        detector.see(sketches[text], at=float(at), share=1 / fleet)
        highest = max(highest, detector.statistic)
    return {
        "crossed": detector.crossed_at is not None,
        "sustained": detector.established,
        "weeks": float(stream.times[-1] - stream.times[0]) / WEEK,
        "highest": round(highest, 3),
    }
