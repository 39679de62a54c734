"""Is a difference chance, how large is it, what could be seen: against counting, and by drawing."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.paired import (
    cluster_sums,
    design_effect,
    holm,
    interval,
    items_needed,
    sign_flip,
    smallest_difference,
    tail,
)

DIFFERENCES = st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=1, max_size=60)
CLUSTERED = st.lists(
    st.tuples(st.sampled_from([-1.0, 0.0, 1.0]), st.integers(0, 8)), min_size=1, max_size=40
)
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def two_sided(wins, losses):
    """Exact p of McNemar's test (1947; the binomial form: Agresti 2013, §11.1.1)."""
    return min(1.0, 2 * tail(max(wins, losses), min(wins, losses)))


@pytest.mark.parametrize("wins", range(13))
@pytest.mark.parametrize("losses", range(13))
def test_two_tails_are_mcnemars_two_sided_binomial(wins, losses):
    n = wins + losses
    at_least_as_far = sum(
        math.comb(n, k) for k in range(n + 1) if abs(2 * k - n) >= abs(wins - losses)
    )
    assert two_sided(wins, losses) == pytest.approx(at_least_as_far / 2**n)


def test_mcnemar_of_a_table_in_a_book():
    # Agresti, Categorical Data Analysis, 2013, table 11.1: 86 and 150 discordant of 1,600.
    assert two_sided(86, 150) == pytest.approx(3.7e-5, rel=0.03)


@given(DIFFERENCES)
def test_one_item_a_cluster_is_mcnemar(differences):
    better, worse = sign_flip(cluster_sums(differences)[0])
    wins, losses = differences.count(1.0), differences.count(-1.0)
    assert better == pytest.approx(tail(wins, losses))
    assert worse == pytest.approx(tail(losses, wins))


@given(DIFFERENCES, st.integers(0, 200))
def test_ties_change_nothing(differences, ties):
    assert sign_flip(differences) == sign_flip([*differences, *[0.0] * ties])


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_the_sign_flip_agrees_with_flipping_every_sign(sums):
    totals = [
        sum(sign * value for sign, value in zip(signs, sums, strict=True))
        for signs in product((-1, 1), repeat=len(sums))
    ]
    better, worse = sign_flip([float(value) for value in sums])
    assert better == pytest.approx(np.mean([total >= sum(sums) for total in totals]))
    assert worse == pytest.approx(np.mean([total <= sum(sums) for total in totals]))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30))
def test_swapping_the_sides_swaps_the_tails(differences):
    better, worse = sign_flip(differences)
    assert sign_flip([-d for d in differences]) == pytest.approx((worse, better))
    assert better + worse > 1 - 1e-9


@given(CLUSTERED)
def test_swapping_the_sides_negates_the_interval(pairs):
    sums, sizes = cluster_sums([d for d, _ in pairs], [c for _, c in pairs])
    low, high = interval(sums, sizes, resamples=400)
    assert interval(-sums, sizes, resamples=400) == pytest.approx((-high, -low), abs=1e-12)
    assert low <= high


@given(CLUSTERED, st.randoms())
def test_neither_order_nor_names_of_clusters_matter(pairs, rng):
    differences, clusters = [d for d, _ in pairs], [c for _, c in pairs]
    there = sorted(cluster_sums(differences, clusters)[0])
    shuffled = [(d, f"talk {c}") for d, c in pairs]
    rng.shuffle(shuffled)
    again = cluster_sums([d for d, _ in shuffled], [c for _, c in shuffled])
    assert sorted(again[0]) == there
    assert again[1].sum() == len(pairs)


def test_clusters_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="1 clusters for 2 items"):
        cluster_sums([1.0, 0.0], ["a"])


def test_a_long_text_metric_is_tested_in_time_and_near_its_normal_approximation():
    differences = np.random.default_rng(3).normal(0.01, 0.2, 1500)
    better, _ = sign_flip(differences)
    z = differences.sum() / math.sqrt((differences**2).sum())
    assert better == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), rel=0.1)


def test_the_interval_is_the_same_for_a_seed_and_moves_with_it():
    sums = np.random.default_rng(0).integers(-1, 2, 80).astype(float)
    again = interval(sums, np.ones(80))
    assert interval(sums, np.ones(80)) == again
    assert interval(sums + 1e-9, np.ones(80), seed=1) != again


def test_an_interval_of_nothing_is_refused_and_of_one_cluster_is_everything():
    with pytest.raises(ValueError, match="0 clusters"):
        interval(np.empty(0), np.empty(0))
    assert interval(np.array([3.0]), np.array([4.0])) == (-1.0, 1.0)


def test_holm_as_worked_by_hand():
    # 4 · 0.005, then 3 · 0.01, then 2 · 0.03, then 0.04 held up to 0.06 by the one before.
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    assert holm(p) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(holm(p)) == list(p)
    assert holm({}) == {}


@given(P_VALUES)
def test_holm_keeps_the_order_and_lies_between_the_p_and_bonferronis(values):
    adjusted = holm(dict(enumerate(values)))
    for one, p in enumerate(values):
        assert p <= adjusted[one] <= min(1.0, len(values) * p)
        for other, q in enumerate(values):
            assert p > q or adjusted[one] <= adjusted[other]


@given(P_VALUES, st.integers(0, 11), st.floats(0, 1))
def test_holm_is_monotone(values, which, factor):
    """Evidence that grows stronger anywhere makes no claim weaker."""
    stronger = list(values)
    stronger[which % len(values)] *= factor
    before, after = holm(dict(enumerate(values))), holm(dict(enumerate(stronger)))
    assert all(after[i] <= before[i] for i in before)


def test_items_needed_as_worked_by_hand():
    # (1.95996 √0.15 + 0.84162 √(0.15 − 0.0025))² / 0.0025 = 468.6; docs say "about 470".
    assert items_needed(0.05, 0.15) == 469
    assert items_needed(0.05, 0.15, design_effect=2) == 938
    assert items_needed(0.05, 0.0) == items_needed(0.05, 0.05) == 155
    with pytest.raises(ValueError, match=r"expected in \(0, 1\]"):
        items_needed(0.0, 0.15)


@given(st.integers(20, 5000), st.floats(0, 1), st.floats(1, 5))
def test_the_smallest_difference_is_what_so_many_items_are_needed_for(items, spread, effect):
    found = smallest_difference(items, spread, design_effect=effect)
    if found is None:
        assert items_needed(1.0, spread, design_effect=effect) > items
    else:
        assert items_needed(found, spread, design_effect=effect) <= items
        if found > 1e-3:
            assert items_needed(found - 1e-4, spread, design_effect=effect) >= items


def test_so_few_items_show_nothing():
    assert smallest_difference(3, 0.2) is None


def test_the_design_effect_of_copies_is_their_number_and_of_strangers_none():
    apart = np.random.default_rng(5).integers(-1, 2, 300).astype(float)
    assert design_effect(apart) == 1.0
    assert design_effect(np.repeat(apart, 4), np.repeat(np.arange(300), 4)) == pytest.approx(4)
    assert design_effect(apart, np.arange(300)) == 1.0
    assert design_effect(np.zeros(6), [0, 0, 0, 1, 1, 1]) == 1.0
    assert 1.0 <= design_effect(apart, np.arange(300) // 3) < 1.3
