"""The controller's settings as they are kept for others: whole, harmless, read across releases."""

from __future__ import annotations

import dataclasses
import json

import pytest

from monitoring.controller import Controller
from monitoring.metrics import Metrics
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.rooms import CONTROLLER

OTHER = ControllerSettings(
    reference=300,
    cooldown_s=0.1 + 0.2,
    rollout_weights="0.2,0.4",
    keep_text_days=0,
    metrics_host="10.1.2.3",
    metrics_port=9,
)


def test_a_controller_that_starts_says_what_it_decides_by(sqlite_registry: Registry) -> None:
    for settings, at in ((ControllerSettings(), 10.0), (OTHER, 20.0)):
        Controller(sqlite_registry, settings, Metrics(), clock=lambda at=at: at).startup()
        room = sqlite_registry.rooms.get(CONTROLLER)
        assert room is not None
        assert (room.settings, room.started_at) == (settings.json(), at)


def test_they_come_back_as_they_were_without_an_address() -> None:
    kept = json.loads(json.dumps(OTHER.json()))
    assert "10.1.2.3" not in kept.values()
    own = ControllerSettings()
    places = {"metrics_host": own.metrics_host, "metrics_port": own.metrics_port}
    assert ControllerSettings.of_json(kept) == dataclasses.replace(OTHER, **places)


def test_no_setting_is_a_secret() -> None:
    told = " ".join(OTHER.json())
    assert not any(word in told for word in ("key", "secret", "password", "token", "url"))


@pytest.mark.parametrize(
    "foreign",
    [
        {"reference_of_tomorrow": {"prompts": 3}},
        {"reference": 100_000},
        {"reference": None},
        {"reference": "many"},
        {"reference": 200.5},
        {"rollout_weights": "2,1"},
        {"rollout_weights": [0.1]},
    ],
    ids=str,
)
def test_what_another_release_says_otherwise_is_left_at_its_default(
    foreign: dict[str, object],
) -> None:
    kept = {"cooldown_s": 7.0, **foreign}
    assert ControllerSettings.of_json(kept) == ControllerSettings(cooldown_s=7.0)


def test_what_an_older_release_did_not_know_has_its_default() -> None:
    assert ControllerSettings.of_json({}) == ControllerSettings()
