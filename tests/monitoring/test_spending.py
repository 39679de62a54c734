"""The fleet's hours of training: kept to in any seven days, and said when they stand in the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitoring.explain import explain
from monitoring.ruling import Ruling
from registry import Registry
from registry.job import Job
from tests.monitoring.scene import SETTINGS, Scene
from tests.monitoring.tickets import stream

HOUR, DAY = 3600.0, 86_400.0


def _trained(registry: Registry, begun: float | None, ended: float | None, by: str) -> None:
    with registry.database.write() as session:
        session.add(
            Job(
                tenant="acme",
                adapter="support",
                trigger=by,
                state="running" if ended is None else "succeeded",
                training_file="file-1",
                started_at=begun,
                finished_at=ended,
            )
        )


def _drift(scene: Scene) -> None:
    """Until a retraining is wanted."""
    scene.controller.tick()
    scene.send(stream(1, 160))
    scene.controller.tick()
    scene.send(stream(2, 150, share=0.8))
    scene.correct(6)
    scene.controller.tick()


def test_hours_count_within_the_time_and_of_the_controllers_jobs_alone(
    sqlite_registry: Registry,
) -> None:
    sqlite_registry.tenants.create("acme")
    sqlite_registry.adapters.create("acme", "support", "tiny")
    for begun, ended, by in (
        (0.0, 50.0, "controller"),  # before
        (90.0, 120.0, "controller"),  # 20 of it within
        (150.0, 180.0, "controller"),
        (150.0, 180.0, "api"),
        (190.0, None, "controller"),  # still running
        (None, None, "controller"),  # still waiting
    ):
        _trained(sqlite_registry, begun, ended, by)
    assert sqlite_registry.news.trained_s(100.0, 200.0) == 20 + 30 + 10


def test_when_the_weeks_hours_are_used_up_a_retraining_waits_until_some_are_left(
    sqlite_registry: Registry,
) -> None:
    scene = Scene(sqlite_registry, replace(SETTINGS, train_hours_per_week=2.0))
    now = scene.clock.now = 100 * DAY
    _trained(sqlite_registry, now - 3 * HOUR, now - HOUR, "controller")
    _drift(scene)
    (hold,) = scene.receipts("hold")
    assert hold.rule == "budget"
    assert hold.evidence["reason"] == (
        "retrainings took 2.0 hours in seven days, and 2 are the most"
    )
    assert scene.receipts("retrain") == []
    [told] = explain(sqlite_registry, scene.settings, scene.registry.tenants.get("acme"), now)
    assert told.ruling == Ruling("hold", "budget", hold.evidence["reason"])
    scene.clock.now = now + 7 * DAY
    scene.controller.tick()
    assert [receipt.rule for receipt in scene.receipts("retrain")] == [
        "sustained-drift-with-corrections"
    ]


@pytest.mark.parametrize("hours", [0.0, 2.5])
def test_within_the_hours_nothing_waits(sqlite_registry: Registry, hours: float) -> None:
    scene = Scene(sqlite_registry, replace(SETTINGS, train_hours_per_week=hours))
    now = scene.clock.now = 100 * DAY
    _trained(sqlite_registry, now - 3 * HOUR, now - HOUR, "controller")
    _drift(scene)
    assert len(scene.receipts("retrain")) == 1
