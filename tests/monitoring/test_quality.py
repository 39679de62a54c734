"""Whether answers that got worse are found, and how often they are when they did not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from monitoring.harms import DISLIKED, FAILED, INVALID, REFUSED
from monitoring.quality import Quality, QualitySettings

SETTINGS = QualitySettings(outcomes_per_false_alarm=2000)


def _stream(seed: int, *parts: tuple[int, float]) -> list[float]:
    """Harms with a probability that changes: (how many, probability)…"""
    random = np.random.default_rng(seed)
    return [float(x < p) for count, p in parts for x in random.random(count)]


def _down_at(harms: list[float], channel: str = INVALID) -> int | None:
    quality = Quality(SETTINGS)
    for number, harm in enumerate(harms):
        quality.see(channel, harm)
        if quality.down:
            return number
    return None


@pytest.mark.parametrize("usual", [0.0, 0.02, 0.2, 0.6])
def test_what_stays_as_it_was_seldom_alarms(usual: float) -> None:
    alarms = sum(_down_at(_stream(seed, (1200, usual))) is not None for seed in range(20))
    assert alarms <= 3, "at most one in 2,000 outcomes on average: 10 of 20 streams were allowed"


def test_a_rise_within_the_margin_is_let_be() -> None:
    alarms = [_down_at(_stream(seed, (200, 0.05), (1000, 0.08))) for seed in range(10)]
    assert alarms.count(None) >= 9


@pytest.mark.parametrize(("to", "within"), [(1.0, 15), (0.5, 40), (0.3, 120)])
def test_a_fall_is_found_whenever_it_begins(to: float, within: int) -> None:
    for healthy in (300, 2000):
        found = _down_at(_stream(5, (healthy, 0.02), (400, to)))
        assert found is not None
        assert healthy <= found <= healthy + within


def test_peoples_words_need_a_smaller_reference() -> None:
    found = _down_at(_stream(5, (60, 0.1), (200, 0.9)), DISLIKED)
    assert found is not None
    assert found >= 60


def test_the_channel_is_named_and_has_its_figures() -> None:
    quality = Quality(SETTINGS)
    for harm in _stream(5, (300, 0.02), (100, 0.6)):
        quality.see(REFUSED, harm)
        quality.see(INVALID, 0.0)
        quality.see(FAILED, 1.0)
    assert quality.down == REFUSED
    figures = quality.evidence()
    assert figures.keys() == {REFUSED, INVALID}
    assert figures[REFUSED]["usual"] < 0.05 < 0.4 < figures[REFUSED]["lately"]
    assert figures[INVALID]["evidence"] < quality.threshold / 2


def test_one_that_was_always_bad_can_not_get_worse() -> None:
    assert _down_at(_stream(1, (200, 0.97), (500, 1.0))) is None


def test_it_goes_on_where_it_stood() -> None:
    harms = _stream(2, (250, 0.05), (60, 0.5))
    whole, parts = Quality(SETTINGS), Quality(SETTINGS)
    for harm in harms:
        whole.see(INVALID, harm)
        parts.see(INVALID, harm)
        parts = Quality(SETTINGS, json.loads(json.dumps(parts.dump())))
    assert parts.dump() == whole.dump()
    assert parts.down == INVALID
