"""The verdict by simulation: how often it claims what is not there, and sees what is.

Seeds are fixed, so that the figures are the same every time; docs/training.md states them.
"""

import math

import numpy as np
import pytest

from train.paired import LEVEL, cluster_sums, holm, interval, items_needed, sign_flip, tail
from train.verdict import decide

ROWS = 300
RUNS = 400


def differences(seed, rows, wins, losses, *, runs=RUNS, talk=1, alike=0.0):
    """(runs, rows) of −1, 0 and 1. In conversations of `talk` rows each row goes its
    conversation's way with chance `alike`, its own otherwise."""
    rng = np.random.default_rng(seed)
    together = np.repeat(rng.random((runs, -(-rows // talk))), talk, axis=1)[:, :rows]
    own = rng.random((runs, rows))
    fate = np.where(rng.random((runs, rows)) < alike, together, own)
    return (fate < wins).astype(float) - (fate > 1 - losses)


def scores(difference):
    """(ours, theirs): where they don't differ, both are right."""
    return (difference >= 0).astype(float).tolist(), (difference <= 0).astype(float).tolist()


def verdicts(drawn, *, clusters=None, others=(), slices=0):
    """A verdict a run. `others` are further metrics, drawn likewise; slices take turns by row."""
    rows = drawn.shape[1]
    inside = {f"slice {k}": [row % slices == k for row in range(rows)] for k in range(slices)}
    found = []
    for run, difference in enumerate(drawn):
        ours, theirs = scores(difference)
        metrics = {}
        for number, other in enumerate(others):
            mine, base = scores(other[run])
            metrics[f"metric {number}"] = {"adapter": mine, "base": base}
        found.append(
            decide(
                ours,
                {"base": theirs},
                clusters=clusters,
                slices=inside,
                metrics=metrics,
                resamples=0,
            )
        )
    return found


def share(found, verdict="promote"):
    return sum(one.verdict == verdict for one in found) / len(found)


def talks(rows, talk):
    return [row // talk for row in range(rows)]


def test_without_a_difference_promote_is_rare():
    assert share(verdicts(differences(1, 200, 0.15, 0.15))) <= LEVEL


def test_without_a_difference_promote_is_rare_in_conversations():
    drawn = differences(2, 200, 0.15, 0.15, talk=5, alike=0.8)
    assert share(verdicts(drawn, clusters=talks(200, 5))) <= 0.05


def test_rows_of_a_conversation_taken_for_strangers_would_break_the_promise():
    drawn = differences(2, 200, 0.15, 0.15, talk=5, alike=0.8)
    assert share(verdicts(drawn)) > 0.05


def test_without_a_difference_three_metrics_on_four_slices_add_no_false_claim():
    drawn, *others = (differences(seed, ROWS, 0.15, 0.15) for seed in (3, 4, 5))
    found = verdicts(drawn, others=others, slices=4)
    assert share(found) <= LEVEL
    assert sum("worse_on" in one.reasons for one in found) / RUNS <= 0.05


def test_no_gain_on_the_parent_is_no_promotion_however_far_the_base_is_behind():
    promoted = 0
    for difference in differences(6, 200, 0.15, 0.15):
        ours, parent = scores(difference)
        promoted += decide(ours, {"base": [0.0] * 200}, parent, resamples=0).verdict == "promote"
    assert promoted / RUNS <= LEVEL


def test_ten_points_on_300_rows_are_seen():
    assert share(verdicts(differences(7, ROWS, 0.2, 0.1))) >= 0.8


def test_ten_points_on_300_rows_are_seen_in_conversations():
    drawn = differences(8, ROWS, 0.17, 0.07, talk=3, alike=0.4)
    assert share(verdicts(drawn, clusters=talks(ROWS, 3))) >= 0.8


def test_ten_points_on_300_rows_are_seen_beside_three_metrics_on_four_slices():
    drawn, *others = (differences(seed, ROWS, 0.2, 0.1) for seed in (9, 10, 11))
    assert share(verdicts(drawn, others=others, slices=4)) >= 0.8


def test_a_slice_that_loses_thirty_points_costs_the_promotion():
    drawn = differences(12, ROWS, 0.35, 0.05)
    drawn[:, ::4] = differences(13, len(drawn[0, ::4]), 0.05, 0.35)
    found = verdicts(drawn, slices=4)
    assert share(found, "reject") >= 0.8


def test_a_gain_that_matters_is_seldom_rejected():
    """Power is 80 % at `min_effect`, so a true gain of it goes unseen, and is rejected, in at most
    a fifth of the runs."""
    assert share(verdicts(differences(14, 500, 0.1, 0.05)), "reject") <= 0.2


def test_no_difference_on_many_rows_is_rejected_rather_than_left_open():
    assert share(verdicts(differences(15, 800, 0.08, 0.08, runs=200)), "reject") >= 0.9


@pytest.mark.parametrize(("gain", "spread"), [(0.05, 0.15), (0.1, 0.3), (0.1, 0.12), (0.05, 0.05)])
def test_as_many_items_as_are_asked_for_have_the_power(gain, spread):
    needed = items_needed(gain, spread)
    drawn = differences(16, needed, (spread + gain) / 2, (spread - gain) / 2, runs=4000)
    wins, losses = (drawn > 0).sum(axis=1), (drawn < 0).sum(axis=1)
    pairs, counts = np.unique(np.stack([wins, losses]), axis=1, return_counts=True)
    seen = sum(
        int(count)
        for (won, lost), count in zip(pairs.T.tolist(), counts, strict=True)
        if tail(won, lost) <= LEVEL
    )
    assert 0.74 <= seen / 4000 <= 0.86


def test_holm_over_twelve_tests_claims_one_falsely_as_seldom_as_one_test_does():
    drawn = differences(17, 75 * 12, 0.15, 0.15, runs=1000).reshape(1000, 12, 75)
    alone = family = 0
    for tests in drawn:
        p = {number: sign_flip(test)[0] for number, test in enumerate(tests)}
        alone += min(p.values()) <= LEVEL
        family += min(holm(p).values()) <= LEVEL
    assert family / 1000 <= LEVEL + 2 * math.sqrt(LEVEL / 1000)
    assert alone / 1000 > 0.1


@pytest.mark.parametrize(("rows", "talk", "alike"), [(60, 1, 0.0), (200, 5, 0.8), (60, 4, 0.5)])
def test_the_interval_covers_the_truth_in_about_95_of_100(rows, talk, alike):
    drawn = differences(18, rows, 0.25, 0.1, talk=talk, alike=alike)
    inside = 0
    for difference in drawn:
        low, high = interval(*cluster_sums(difference, talks(rows, talk)), resamples=2000)
        inside += low <= 0.15 <= high
    assert 0.92 <= inside / RUNS <= 0.985


def retrainings(seed, learned, *, apart):
    """Verdicts on a retraining of 40 corrections beside 2,000 rows, of 200 that measure. Its parent
    gave the corrected answers wrong; of the old rows 93 % are right, and 6 % differ. `apart`: 10
    corrections measure by themselves; else as many as a draw of all brings."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RUNS):
        new = 10 if apart else int(rng.binomial(40, 0.1))
        old = 200 - new
        parent = (rng.random(old) < 0.93).astype(float)
        flipped = rng.random(old) < np.where(parent == 1, 0.03, 0.03 * 0.93 / 0.07)
        adapter = np.where(flipped, 1 - parent, parent)
        inside = [False] * old + [True] * new
        found.append(
            decide(
                [*adapter.tolist(), *(rng.random(new) < learned).astype(float).tolist()],
                {"base": (rng.random(200) < 0.3).astype(float).tolist()},
                [*parent.tolist(), *[0.0] * new],
                slices={"not new": [not one for one in inside]} if apart else {},
                gain_on=("new", inside) if apart else None,
                resamples=0,
            )
        )
    return found


def test_a_retraining_that_learned_most_of_what_was_new_is_seen_to():
    assert share(retrainings(21, 0.7, apart=True)) >= 0.75
    assert share(retrainings(22, 0.7, apart=False)) <= 0.15, "lost among the others"


def test_one_that_learned_nothing_is_not():
    assert share(retrainings(23, 0.05, apart=True)) <= LEVEL
