"""The control: replays the reference, cannot drift, and is counted against what it staked."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from monitoring.control import EVERY, Control, joined, parted
from monitoring.drift import Detector, DriftSettings
from monitoring.metrics import Metrics
from monitoring.sketch import unpack
from registry import Registry
from tests.monitoring.scene import Scene
from tests.monitoring.tickets import pool, stream

SETTINGS = DriftSettings(reference=40)
BASELINE = np.stack([unpack(packed) for packed in pool()[:100]])


def test_a_stream_without_drift_raises_no_more_alarms_than_promised() -> None:
    alarms, promised = 0, 0.0
    for seed in range(12):
        control = Control(SETTINGS, seed)
        control.see_all(BASELINE, [number * 60.0 for number in range(600 * EVERY)], 0.5)
        alarms += control.alarms
        promised += control.promised
    assert promised > 1.0
    assert alarms <= promised


def test_after_a_false_alarm_the_control_begins_anew_with_what_is_left_of_its_budget() -> None:
    generous = DriftSettings(reference=40, false_alarms_per_week=2000.0)
    control = Control(generous, 3)
    before = 0.0
    for number in range(300 * EVERY):
        control.see_all(BASELINE, [number * 60.0], 1.0)
        assert control.promised >= before
        before = control.promised
    assert 1 < control.alarms <= control.promised


def _again(control: Control, settings: DriftSettings, baseline: Any) -> Control:
    """As after a restart."""
    state, packed = control.dump()
    return Control.load(settings, json.loads(json.dumps(state)), packed, baseline)


def test_cut_anywhere_and_resumed_it_counts_the_same() -> None:
    generous = DriftSettings(reference=40, false_alarms_per_week=2000.0)
    whole, resumed = Control(generous, 3), Control(generous, 3)
    for number in range(200 * EVERY):
        whole.see_all(BASELINE, [number * 60.0], 1.0)
        resumed.see_all(BASELINE, [number * 60.0], 1.0)
        if number % 301 == 0:
            resumed = _again(resumed, generous, BASELINE)
    assert whole.alarms > 0
    assert resumed.dump() == whole.dump()


def test_many_prompts_at_once_count_as_one_after_another() -> None:
    generous = DriftSettings(reference=40, false_alarms_per_week=2000.0)
    whole, single = Control(generous, 3), Control(generous, 3)
    times = [number * 60.0 for number in range(200 * EVERY)]
    whole.see_all(BASELINE, times, 1.0)
    for at in times:
        single.see_all(BASELINE, [at], 1.0)
    assert whole.alarms > 0
    assert single.dump() == whole.dump()


def test_over_another_reference_it_begins_anew_and_keeps_its_counts() -> None:
    control = Control(SETTINGS, 5)
    for number in range(60 * EVERY):
        control.see_all(BASELINE, [number * 60.0], 1.0)
    resumed, promised = _again(control, SETTINGS, None), control.promised
    other = BASELINE[::-1].copy()
    for number in range(60 * EVERY, 90 * EVERY):
        control.see_all(other, [number * 60.0], 1.0)
        resumed.see_all(other, [number * 60.0], 1.0)
    assert control.promised > promised > 0
    assert resumed.dump() == control.dump()


@pytest.mark.parametrize("reference", [200, 400])
def test_what_is_kept_of_a_tenant_and_held_in_memory_fits_in_256_kib(reference: int) -> None:
    settings = DriftSettings(reference=reference)
    detector, control = Detector(settings, seed=1), Control(settings, 2)
    prompts = enumerate(stream(5, settings.reference + settings.bag))
    detector.see_all([(packed, number * 60.0) for number, packed in prompts])
    assert detector.baseline is not None
    control.see_all(detector.baseline, [number * 60.0 for number in range(500 * EVERY)], 1.0)
    (state, arrays), (control_state, control_arrays) = detector.dump(), control.dump()
    row = joined(arrays, control_arrays)
    assert parted(row) == control_arrays
    assert Detector.load(settings, state, row).dump() == (state, arrays)
    held = sum(_held([detector, control]).values())
    assert 160 * 1024 < held <= 256 * 1024  # more than the bags alone: nothing was overlooked
    assert len(row) + len(json.dumps([state, control_state])) <= 256 * 1024


def _held(things: list[Any]) -> dict[int, int]:
    """Bytes of all arrays that are reached from `things`, each once, by the identity of each."""
    sizes: dict[int, int] = {}
    while things:
        thing = things.pop()
        if isinstance(thing, np.ndarray):
            while isinstance(thing.base, np.ndarray):
                thing = thing.base
            sizes[id(thing)] = thing.nbytes
        elif isinstance(thing, list | tuple):
            things += thing
        elif type(thing).__module__.startswith("monitoring."):
            things += vars(thing).values()
    return sizes


def test_after_a_restart_only_what_comes_then_is_counted(sqlite_registry: Registry) -> None:
    scene = Scene(sqlite_registry)
    scene.controller.tick()
    scene.send(stream(1, 1000))
    scene.controller.tick()
    before = scene.gauge("drift_control_promised_total")
    scene.metrics = Metrics()
    scene.controller = scene.new_controller()
    scene.controller.startup()
    assert before is not None and before > 0
    scene.controller.tick()
    assert scene.gauge("drift_control_promised_total") == 0, "the process before counted it"
    scene.send(stream(2, 100))
    scene.controller.tick()
    after = scene.gauge("drift_control_promised_total")
    assert after is not None and 0 < after < before
    kept = sqlite_registry.decisions.drift_state("acme", "support")
    assert kept is not None
    assert before + after == pytest.approx(kept.state["control"]["promised"])
