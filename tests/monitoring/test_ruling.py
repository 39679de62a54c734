"""The retraining rule, with values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitoring.ruling import Situation, rule
from monitoring.settings import ControllerSettings

READY = Situation(
    established=True,
    corrections=40,
    active_job=None,
    candidate=None,
    since_retrain_s=None,
    auto_retrain=True,
    training_file=True,
)


def test_sustained_drift_with_enough_corrections_retrains() -> None:
    assert rule(READY, ControllerSettings()).kind == "retrain"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"auto_retrain": False}, "tenant-policy"),
        ({"active_job": "ftjob-1"}, "job-active"),
        ({"candidate": "support@0123456789ab"}, "candidate-waiting"),
        ({"training_file": False}, "no-training-file"),
        ({"corrections": 39}, "waiting-for-corrections"),
        ({"since_retrain_s": 3599.0}, "cooldown"),
    ],
)
def test_each_obstacle_holds_and_is_named(change: dict[str, object], name: str) -> None:
    ruling = rule(replace(READY, **change), ControllerSettings())  # type: ignore[arg-type]
    assert (ruling.kind, ruling.rule) == ("hold", name)
    assert ruling.reason


def test_without_sustained_drift_nothing_is_decided() -> None:
    assert rule(replace(READY, established=False), ControllerSettings()).kind == "none"
