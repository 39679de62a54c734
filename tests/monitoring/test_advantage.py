"""Whether an adapter still helps, by what its base answers beside it."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from monitoring.advantage import ADAPTER, BASE, Advantage
from monitoring.explain import explain
from monitoring.harms import DISLIKED, INVALID
from monitoring.ruling import Situation, rule
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.exchanges import Exchange
from tests.monitoring.scene import Scene

Part = tuple[int, float, float]
"""(answers, share of the adapter's that are bad, share of the base's)."""


def _watched(seed: int, *parts: Part, state_every: int = 0) -> Advantage:
    """One answer in five is the base's."""
    chance = np.random.default_rng(seed).random
    advantage = Advantage(0.05)
    for count, ours, theirs in parts:
        for number in range(count):
            side = BASE if chance() < 0.2 else ADAPTER
            advantage.see(side, INVALID, float(chance() < (theirs if side == BASE else ours)))
            if state_every and number % state_every == 0:
                advantage = Advantage(0.05, json.loads(json.dumps(advantage.dump())))
    return advantage


def test_an_advantage_is_measured_with_its_interval() -> None:
    figures = _watched(1, (1500, 0.05, 0.45)).evidence()[INVALID]
    assert figures["helped"]
    assert figures["low"] < 0.4 < figures["high"]
    assert figures["low"] > 0.1


def test_one_that_helps_is_seldom_said_to_have_stopped() -> None:
    stopped = [_watched(seed, (2000, 0.05, 0.2)).stopped for seed in range(4)]
    assert stopped.count(None) >= 3


@pytest.mark.parametrize("ours", [0.02, 0.3])
def test_one_whose_advantage_goes_to_nothing_has_stopped(ours: float) -> None:
    assert _watched(3, (600, ours, ours + 0.6), (5000, ours, ours)).stopped == INVALID
    worse = _watched(3, (600, ours, ours + 0.6), (600, ours + 0.6, ours + 0.6)).evidence()
    assert abs(worse[INVALID]["lately"]) < 0.25


def test_one_that_never_helped_has_nothing_to_stop() -> None:
    advantage = _watched(4, (2500, 0.05, 0.05))
    assert advantage.stopped is None
    assert not advantage.evidence()[INVALID]["helped"]


def test_help_in_one_channel_is_help() -> None:
    advantage = Advantage(0.05)
    for number in range(2000):
        side = BASE if number % 2 else ADAPTER
        bad = side == BASE and number < 500
        advantage.see(side, INVALID, float(bad))
        advantage.see(side, DISLIKED, float(side == BASE))
    assert advantage.evidence()[INVALID]["gone"] >= advantage.threshold
    assert advantage.stopped is None, "people still like its answers better"


def test_what_came_before_it_helped_can_not_be_gone() -> None:
    advantage = _watched(6, (3000, 0.02, 0.02), (1000, 0.02, 0.7))
    assert advantage.evidence()[INVALID]["helped"]
    assert advantage.stopped is None


def test_it_goes_on_exactly_where_it_stood() -> None:
    parts = ((300, 0.1, 0.6), (300, 0.1, 0.1))
    assert _watched(7, *parts, state_every=11).dump() == _watched(7, *parts).dump()


def test_it_asks_for_a_retraining_as_worse_answers_do() -> None:
    settings = ControllerSettings(min_corrections=5)
    found = rule(Situation(stopped=INVALID, corrections=2, can_go_back=True), settings)
    assert (found.kind, found.rule) == ("hold", "waiting-for-corrections")
    found = rule(Situation(stopped=INVALID, corrections=6, can_go_back=True), settings)
    assert (found.kind, found.rule) == ("retrain", "stopped-helping")


def test_an_adapter_that_stopped_helping_is_retrained_and_its_receipt_says_why(
    sqlite_registry: Registry,
) -> None:
    scene, numbers = Scene(sqlite_registry), itertools.count()
    scene.controller.tick()
    chance = np.random.default_rng(8).random

    def answer(count: int, ours: float, theirs: float) -> None:
        rows = []
        for number in range(count):
            control = number % 2 == 1
            rows.append(
                Exchange(
                    id=f"chatcmpl-b{next(numbers)}",
                    tenant="acme",
                    adapter="support",
                    digest=None if control else "a" * 64,
                    served="base" if control else "adapter",
                    role="control" if control else "live",
                    status=200,
                    latency_ms=5.0,
                    valid=bool(chance() >= (theirs if control else ours)),
                )
            )
        scene.registry.exchanges.add(rows)
        scene.controller.tick()

    answer(400, 0.3, 0.9)
    scene.registry.exchanges.give_feedback("acme", "chatcmpl-b1", rating=-1.0)
    scene.registry.exchanges.give_feedback("acme", "chatcmpl-b2", rating=1.0)
    assert scene.gauge("adapter_stopped_helping", tenant="acme") == 0
    low = scene.gauge("adapter_advantage_ratio", tenant="acme", bound="low")
    assert low is not None
    assert low > 0.3
    answer(3000, 0.3, 0.3)
    assert scene.gauge("adapter_stopped_helping", tenant="acme") == 1
    assert [hold.rule for hold in scene.receipts("hold")] == ["waiting-for-corrections"]
    scene.correct(6)
    scene.controller = scene.new_controller()
    scene.controller.tick()
    (receipt,) = scene.receipts("retrain")
    assert receipt.rule == "stopped-helping"
    assert "the base gives no more invalid answers" in receipt.evidence["reason"]
    against = receipt.evidence["against_base"]
    assert against[INVALID]["helped"]
    assert abs(against[INVALID]["lately"]) < 0.3
    assert against[DISLIKED]["pairs"] == 1
    (told,) = explain(
        scene.registry, scene.settings, scene.registry.tenants.get("acme"), scene.clock()
    )
    lines = {line.what: line.said for line in told.lines}
    assert lines["base, invalid answers"].endswith("the adapter no longer helps")
