"""The bets: fair when nothing changed, held down, quick to rise and to fall."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitoring.betting import EXPONENTS, SMALLEST_P, EDetector, chance, rank_p_value


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=30), st.floats(0, 1, exclude_max=True))
def test_a_p_value_lies_above_zero_and_not_above_one(scores: list[int], chance: float) -> None:
    assert 0.0 < rank_p_value(np.array(scores, dtype=float), chance) <= 1.0


def test_the_highest_score_has_the_smallest_p_value() -> None:
    assert rank_p_value(np.array([1.0, 2.0, 3.0, 9.0]), 0.999) < 0.01
    assert rank_p_value(np.array([1.0, 2.0, 3.0, 0.0]), 0.0) == 1.0


def test_p_values_of_exchangeable_scores_are_uniform_even_with_ties() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(20):
        scores = rng.integers(0, 6, size=240).astype(float)
        found += [rank_p_value(scores[:n], chance(1, n)) for n in range(40, 240)]
    counts, _ = np.histogram(found, bins=10, range=(0, 1))
    expected = len(found) / 10
    assert ((counts - expected) ** 2 / expected).sum() < 33.7  # χ² of 9 degrees, 1 in 10,000


def test_no_bet_pays_more_than_it_costs_when_nothing_changed() -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    for exponent in EXPONENTS:
        assert np.mean(exponent * np.maximum(grid, SMALLEST_P) ** (exponent - 1)) <= 1.0


def test_evidence_grows_with_small_p_values_and_falls_after_them() -> None:
    detector = EDetector(ceiling=12.0)
    for _ in range(30):
        detector.bet(0.01)
    high = detector.log_evidence
    assert 11.0 < high <= 12.0
    for number in range(60):
        detector.bet(chance(5, number))
    assert detector.log_evidence < high - 2


def test_a_detector_goes_on_from_its_json() -> None:
    one = EDetector(ceiling=20.0)
    for p in (0.2, 0.01, 0.6):
        one.bet(p)
    two = EDetector(20.0, json.loads(json.dumps(one.dump())))
    fresh = EDetector(20.0, json.loads(json.dumps(EDetector(20.0).dump())))
    for detector in (one, two):
        detector.bet(0.05)
    fresh.bet(0.05)
    assert one.log_evidence == two.log_evidence
    assert math.isfinite(fresh.log_evidence)
