"""The control: replays the reference, cannot drift, and is counted against what it staked."""

from __future__ import annotations

import numpy as np

from monitoring.control import EVERY, Control
from monitoring.drift import DriftSettings
from monitoring.sketch import unpack
from tests.monitoring.tickets import pool

SETTINGS = DriftSettings(reference=40)
BASELINE = np.stack([unpack(packed) for packed in pool()[:100]])


def test_a_stream_without_drift_raises_no_more_alarms_than_promised() -> None:
    alarms, promised = 0, 0.0
    for seed in range(12):
        control = Control(SETTINGS, BASELINE, seed)
        for number in range(600 * EVERY):
            control.see(number * 60.0, 0.5)
        alarms += control.alarms
        promised += control.promised
    assert promised > 1.0
    assert alarms <= promised


def test_after_a_false_alarm_the_control_begins_anew_with_what_is_left_of_its_budget() -> None:
    generous = DriftSettings(reference=40, false_alarms_per_week=2000.0)
    control = Control(generous, BASELINE, 3)
    before = 0.0
    for number in range(300 * EVERY):
        control.see(number * 60.0, 1.0)
        assert control.promised >= before
        before = control.promised
    assert 1 < control.alarms <= control.promised
