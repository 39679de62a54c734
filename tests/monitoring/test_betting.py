"""The bets: fair when nothing changed, held down, quick to rise and to fall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.betting import WAGERS, Bets, Ranks, chance, rank_p_value


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


def test_ranks_of_counts_are_those_of_the_scores_themselves() -> None:
    rng = np.random.default_rng(4)
    ranks = Ranks.none(2, 50)
    scores = rng.integers(0, 50, size=(60, 2))
    for number, bins in enumerate(scores):
        found = ranks.rank(bins, chance(2, number))
        for channel in (0, 1):
            kept = scores[: number + 1, channel].astype(float)
            assert found[channel] == pytest.approx(rank_p_value(kept, chance(2, number)))


def test_no_bet_pays_more_than_it_costs_when_nothing_changed() -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    bets = Bets(np.zeros((len(grid), WAGERS)))
    bets.place(grid, 1e-6)
    assert (bets.fortunes.mean(axis=0) <= 1e-6 * (1 + 1e-9)).all()


def test_evidence_grows_with_small_p_values_and_falls_after_them() -> None:
    bets = Bets.none(1)
    for _ in range(30):
        bets.place(np.array([0.005]), 1e-5)
    high = bets.evidence()[0]
    assert high > 1.0
    for number in range(60):
        bets.place(np.array([chance(5, number)]), 1e-5)
    assert bets.evidence()[0] < high / 7


def test_fortunes_of_fair_bets_cross_no_oftener_than_was_staked() -> None:
    rng = np.random.default_rng(6)
    streams, prompts, stake = 400, 500, 1e-4
    bets = Bets.none(streams)
    crossed = np.zeros(streams, dtype=bool)
    for p in rng.random((prompts, streams)):
        bets.place(p, stake)
        crossed |= bets.evidence() >= 1.0
    assert crossed.sum() <= streams * prompts * stake
