"""What `status` and the demo say of a drift detector's row."""

from __future__ import annotations

from cli.base import default_folder
from cli.demo import cast
from cli.drift import Drift
from monitoring.drift import Detector
from monitoring.settings import ControllerSettings
from monitoring.sketch import sketches
from registry.decisions import DriftState
from serve import meanings

SETTINGS = ControllerSettings(reference=40)


def row(detector: Detector) -> DriftState:
    state, arrays = detector.dump()
    return DriftState(
        tenant="acme", adapter="tickets", epoch=2, state={"detector": state}, arrays=arrays
    )


def prompts(name: str) -> list[bytes]:
    rows = cast.rows(cast.examples_folder() / "acme" / name)
    return sketches([row[:2] for row in rows], meanings.make(default_folder()))


def test_before_the_first_look_there_is_no_reference() -> None:
    assert str(Drift.of(None, SETTINGS)) == "reference 0/40"


def test_a_drift_goes_from_reference_to_established() -> None:
    detector = Detector(SETTINGS.drift)
    ordinary = prompts("heldout.jsonl")
    for packed in ordinary[:20]:
        detector.see(packed)
    assert Drift.of(row(detector), SETTINGS).phase == "reference"
    assert str(Drift.of(row(detector), SETTINGS)) == f"reference {detector.seen}/40"
    for packed in ordinary[20:60]:
        detector.see(packed)
    watching = Drift.of(row(detector), SETTINGS)
    assert (watching.phase, watching.epoch) == ("watching", 2)
    for packed in prompts("shifted_prompts.jsonl"):
        detector.see(packed)
    found = Drift.of(row(detector), SETTINGS)
    assert found.phase == "established"
    value = found.json()
    assert value["statistic"] >= value["threshold"]
    assert {"novelty", "shape", "both"} < set(value["channels"])
    assert str(found).startswith("established ")


def test_a_state_of_an_earlier_release_counts_as_no_reference_yet() -> None:
    kept = row(Detector(SETTINGS.drift))
    kept.state = {"detector": {**kept.state["detector"], "format": 1}}
    assert str(Drift.of(kept, SETTINGS)) == "reference 0/40"
