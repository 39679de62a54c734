"""What few words and many signs say of a version's harm: true at all times, and narrower."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from monitoring import harms
from monitoring.powered import Powered
from registry import Registry
from registry.exchanges import Exchange
from tests.monitoring.scene import Scene

Answer = tuple[float, tuple[float, float], bool]
"""(harm, signs, whether somebody speaks of it)."""


def _stream(
    seed: int, harm: float, hit: float, *, speaks: float = 0.1, answers: int = 800
) -> Iterator[Answer]:
    """The first sign shows in a share `hit` of bad answers and in 2 % of good ones; the second
    says nothing."""
    chance = np.random.default_rng(seed).random
    for _ in range(answers):
        bad = chance() < harm
        signs = (float(chance() < (hit if bad else 0.02)), 0.3 * chance())
        yield float(bad), signs, chance() < speaks


def _heard(stream: Iterator[Answer], *, with_signs: bool = True) -> Powered:
    powered = Powered(2)
    for harm, signs, speaks in stream:
        powered.see(signs)
        if speaks:
            powered.hear(harm, signs if with_signs else None)
    return powered


def _width(powered: Powered) -> float:
    found = powered.estimate()
    return found.high - found.low


@pytest.mark.parametrize(("harm", "hit"), [(0.05, 0.9), (0.3, 0.9)])
def test_the_truth_is_inside_at_all_times_in_19_of_20_streams(harm: float, hit: float) -> None:
    missed = 0
    for seed in range(20):
        powered, inside = Powered(2), True
        for bad, signs, speaks in _stream(seed, harm, hit):
            powered.see(signs)
            if speaks:
                powered.hear(bad, signs)
                found = powered.estimate()
                inside = inside and found.low <= harm <= found.high
        missed += not inside
    assert missed <= 3, "5 % of 20 is 1; more than 3 comes by chance once in 60 times"


def test_good_signs_make_it_narrower_than_words_alone() -> None:
    ratios = [
        _width(_heard(_stream(seed, 0.3, 0.95, answers=1600)))
        / _width(_heard(_stream(seed, 0.3, 0.95, answers=1600), with_signs=False))
        for seed in range(3)
    ]
    assert float(np.mean(ratios)) < 0.85


def test_signs_that_say_nothing_cost_next_to_nothing() -> None:
    for seed in range(4):
        with_signs = _width(_heard(_stream(seed, 0.3, 0.02)))
        assert with_signs <= _width(_heard(_stream(seed, 0.3, 0.02), with_signs=False)) * 1.15


@pytest.mark.parametrize("before", [60, 800])
def test_after_a_change_the_figure_is_of_what_came_since(before: int) -> None:
    powered = Powered(1)
    for bad in (*np.zeros(before), *np.ones(300)):
        powered.see((0.0,))
        powered.hear(float(bad), (0.0,))
    found = powered.estimate()
    assert powered.evidence()["changes"] == 1
    assert found.low > 0.7


def test_words_in_a_burst_count_one_by_one() -> None:
    powered = Powered(2)
    stream = list(_stream(3, 0.3, 0.95))
    for _, signs, _ in stream:
        powered.see(signs)
    for bad, signs, speaks in stream:
        if speaks:
            powered.hear(bad, signs)
    found = powered.estimate()
    assert found.words == sum(speaks for _, _, speaks in stream)
    assert found.low <= 0.3 <= found.high


def test_it_goes_on_exactly_where_it_stood() -> None:
    whole, parts = Powered(2), Powered(2)
    for bad, signs, speaks in _stream(4, 0.2, 0.9, answers=400):
        for powered in (whole, parts):
            powered.see(signs)
            if speaks:
                powered.hear(bad, signs)
        parts = Powered(2, json.loads(json.dumps(parts.dump())))
    assert whole.evidence()["trust"] > 0
    assert parts.dump() == whole.dump()
    assert parts.estimate() == whole.estimate()


def test_a_state_of_another_release_begins_anew() -> None:
    old = Powered(3)
    old.hear(1.0, None)
    assert Powered(2, old.dump()).estimate() == Powered(2).estimate()


def test_the_controller_shows_it_and_its_receipts_and_explanations_hold_it(
    sqlite_registry: Registry,
) -> None:
    scene = Scene(sqlite_registry)
    scene.controller.tick()
    assert scene.gauge("disliked_ratio", tenant="acme", bound="estimate") is None
    assert scene.gauge("disliked_ratio", tenant="acme", bound="high") == 1, "nothing is known"
    rows = [
        Exchange(
            id=f"chatcmpl-x{number}",
            tenant="acme",
            adapter="support",
            digest="a" * 64,
            served="adapter",
            role="live" if number < 100 else "canary",
            status=200,
            latency_ms=5.0,
            valid=number % 5 != 0,
        )
        for number in range(120)
    ]
    scene.registry.exchanges.add(rows)
    for number in range(0, 120, 2):
        scene.registry.exchanges.give_feedback(
            "acme", f"chatcmpl-x{number}", rating=-1.0 if number % 5 == 0 else 1.0
        )
    scene.controller.tick()
    low, estimate, high = (
        scene.gauge("disliked_ratio", tenant="acme", bound=bound)
        for bound in ("low", "estimate", "high")
    )
    assert low is not None and estimate is not None and high is not None
    assert 0 < low < 0.2 < high < 1
    assert low < estimate < high
    scene.controller = scene.new_controller()
    scene.registry.decisions.record("acme", "support", "ask", "asked", by="somebody")
    scene.registry.tenants.update("acme", auto_retrain=False)
    scene.registry.exchanges.give_feedback("acme", "chatcmpl-x1", correction="other")
    scene.controller.tick()
    (receipt,) = scene.receipts("retrain")
    disliked = receipt.evidence["disliked"]
    assert disliked["words"] == 51, "what was said of its time on trial does not count"
    assert disliked["answers"] == 100


def test_a_word_that_is_changed_counts_again_only_if_it_says_the_opposite(
    sqlite_registry: Registry,
) -> None:
    scene = Scene(sqlite_registry)
    scene.controller.tick()
    given = Exchange(
        id="chatcmpl-x", tenant="acme", adapter="support", digest="a" * 64, served="adapter",
        role="live", status=200, latency_ms=5.0,
    )  # fmt: skip
    scene.registry.exchanges.add([given])
    heard: list[tuple[int, float | None]] = []
    for said in ({"rating": 1.0}, {"correction": "other"}, {"rating": -1.0}, {"rating": -1.0}):
        scene.registry.exchanges.give_feedback("acme", "chatcmpl-x", **said)
        scene.controller.tick()
        found = scene.controller._watchers["acme", "support"].powered.estimate()
        heard.append((found.words, found.share))
    (_, praise), (_, blame), *_ = heard
    assert [words for words, _ in heard] == [1, 2, 2, 2]
    assert praise is not None and blame is not None and praise < blame


def test_a_label_that_is_the_answers_own_says_that_it_is_right() -> None:
    assert harms.of_feedback(None, False) == [(harms.DISLIKED, 0.0)]
    assert harms.of_feedback(-1.0, False) == [(harms.DISLIKED, 1.0)]
    assert harms.of_feedback(None, None) == []
