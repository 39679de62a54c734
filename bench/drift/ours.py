"""Our side: the controller's detector over a stream, with the fleet's budget shared evenly."""

from __future__ import annotations

import time
from typing import Any

from bench.drift.streams import DAY, Stream
from monitoring import budget
from monitoring.drift import BLOCK, Detector, DriftSettings

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
    prompts = [
        (sketches[text], float(at)) for text, at in zip(stream.texts, stream.times, strict=True)
    ]
    detector = Detector(settings(reference))
    found: list[list[float]] = []
    highest = 0.0
    for number, prompt in enumerate(prompts):
        detector.see_all([prompt], 1 / LARGE)
        if detector.statistic > highest and number >= stream.first:
            highest = detector.statistic
            found.append([number - stream.first, round(highest, 9)])
    # What it costs is told of another one, which takes many at a time as the controller does.
    begun = time.process_time()
    Detector(settings(reference)).see_all(prompts, 1 / LARGE)
    spent = (time.process_time() - begun) / len(prompts)
    return {"records": found, "cpu_us": round(spent * 1e6, 1)}


def alarms(
    sketches: list[bytes], stream: Stream, reference: int, fleet: int, seed: int
) -> dict[str, Any]:
    """Whether the alarm went, as one tenant of `fleet`; weeks watched; the highest statistic at any
    `BLOCK`'s end. `seed`: of the chances that break ties, the tenant's own."""
    detector = Detector(settings(reference), seed=seed)
    prompts = [
        (sketches[text], float(at)) for text, at in zip(stream.texts, stream.times, strict=True)
    ]
    highest = 0.0
    for start in range(0, len(prompts), BLOCK):
        detector.see_all(prompts[start : start + BLOCK], 1 / fleet)
        highest = max(highest, detector.statistic)
    return {
        "crossed": detector.crossings > 0,
        "sustained": detector.established,
        "weeks": float(stream.times[-1] - stream.times[0]) / WEEK,
        "highest": round(highest, 3),
    }
