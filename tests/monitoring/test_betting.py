"""The bets: fair when nothing changed, held down, quick to rise and to fall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from monitoring.betting import WAGERS, Bets, Ranks, chance, chances, payoffs


def p_value(scores: NDArray[np.int64], chance: float) -> float:
    """Where the last ranks among all of them, by comparing each."""
    newest = scores[-1]
    return float(((scores > newest).sum() + (1 - chance) * (scores == newest).sum()) / len(scores))


def _ranked(scores: NDArray[np.int64], chance: float) -> float:
    """The last one's rank among all of them."""
    ranks = Ranks.none(1, 11)
    ranks.add(scores[:-1, None])
    return float(ranks.rank(scores[-1:, None], np.array([chance]))[0, 0])


@given(st.lists(st.integers(0, 10), min_size=1, max_size=30), st.floats(0, 1, exclude_max=True))
def test_a_p_value_lies_above_zero_and_not_above_one(scores: list[int], chance: float) -> None:
    assert 0.0 < _ranked(np.array(scores), chance) <= 1.0


def test_the_highest_score_has_the_smallest_p_value() -> None:
    assert _ranked(np.array([1, 2, 3, 9]), 0.999) < 0.01
    assert _ranked(np.array([1, 2, 3, 0]), 0.0) == 1.0


def test_p_values_of_exchangeable_scores_are_uniform_even_with_ties() -> None:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(20):
        scores = rng.integers(0, 6, size=240)
        found += [_ranked(scores[:n], chance(1, n)) for n in range(40, 240)]
    counts, _ = np.histogram(found, bins=10, range=(0, 1))
    expected = len(found) / 10
    assert ((counts - expected) ** 2 / expected).sum() < 33.7  # χ² of 9 degrees, 1 in 10,000


@given(st.integers(0, 2**34), st.integers(0, 2**40))
def test_a_chance_is_one_of_the_chances(seed: int, number: int) -> None:
    assert chance(seed, number) == chances(seed, np.array([number]))[0]
    assert 0.0 <= chance(seed, number) < 1.0


@pytest.mark.parametrize("together", [1, 7, 60])
def test_ranks_of_counts_are_those_of_the_scores_themselves(together: int) -> None:
    scores = np.random.default_rng(4).integers(0, 50, size=(60, 2))
    ranks, drawn = Ranks.none(2, 50), chances(2, np.arange(60))
    for start in range(0, 60, together):
        these = slice(start, start + together)
        found = ranks.rank(scores[these], drawn[these])
        ranks.add(scores[these])
        for number, row in enumerate(found, start):
            for channel in (0, 1):
                expected = p_value(scores[: number + 1, channel], chance(2, number))
                assert row[channel] == pytest.approx(expected)


def test_no_bet_pays_more_than_it_costs_when_nothing_changed() -> None:
    grid = (np.arange(200_000) + 0.5) / 200_000
    assert (payoffs(grid).mean(axis=0) <= 1 + 1e-9).all()


def _place(bets: Bets, p: NDArray[np.float64], stake: float) -> None:
    bets.fortunes = bets.place(p, np.full(p.shape, stake))[-1]


def test_evidence_grows_with_small_p_values_and_falls_after_them() -> None:
    bets = Bets.none(1)
    _place(bets, np.full((30, 1), 0.005), 1e-5)
    high = bets.evidence()[0]
    assert high > 1.0
    _place(bets, chances(5, np.arange(60))[:, None], 1e-5)
    assert bets.evidence()[0] < high / 7


def test_fortunes_of_fair_bets_cross_no_oftener_than_was_staked() -> None:
    rng = np.random.default_rng(6)
    streams, prompts, stake = 400, 500, 1e-4
    after = Bets.none(streams).place(
        rng.random((prompts, streams)), np.full((prompts, streams), stake)
    )
    crossed = (after.mean(axis=2) >= 1.0).any(axis=0)
    assert crossed.sum() <= streams * prompts * stake


def test_many_bets_at_once_leave_what_one_after_another_do() -> None:
    p, stakes = chances(1, np.arange(40)).reshape(20, 2), np.full((20, 2), 1e-3)
    assert Bets.none(2).place(p, stakes).shape == (20, 2, WAGERS)
    once, again = Bets.none(2), Bets.none(2)
    once.fortunes = once.place(p, stakes)[-1]
    for row in range(20):
        again.fortunes = again.place(p[row : row + 1], stakes[row : row + 1])[-1]
    assert (once.fortunes == again.fortunes).all()
