"""The paired test, and what follows from it."""

import json
import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.paired import LEVEL, tail
from train.verdict import compare, decide


def scores(right, wrong):
    return [1.0] * right + [0.0] * wrong


def test_the_tail_is_the_coins_own():
    assert tail(5, 0) == 1 / 32
    assert tail(0, 5) == 1.0
    assert tail(1, 1) == 0.75


@pytest.mark.parametrize("wins", range(6))
@pytest.mark.parametrize("losses", range(6))
def test_the_tail_agrees_with_counting_every_throw(wins, losses):
    throws = [sum(coins) for coins in product((0, 1), repeat=wins + losses)]
    assert tail(wins, losses) == sum(heads >= wins for heads in throws) / len(throws)


def test_a_clear_gain_is_promoted_with_its_figures():
    verdict = decide(
        scores(95, 5), {"base_zero_shot": scores(0, 100), "base_few_shot": scores(20, 80)}
    )
    assert verdict.verdict == "promote"
    assert verdict.reasons["baseline"] == "base_few_shot"
    assert verdict.reasons["against_base_few_shot"]["wins"] == 75
    assert "95 % on 100 held-out rows" in verdict.reasons["summary"]


def test_no_gain_at_all_is_rejected():
    verdict = decide(scores(0, 60), {"base_zero_shot": scores(0, 60)})
    assert verdict.verdict == "reject"
    assert verdict.reasons["summary"] == (
        "the base scores 0 %, the adapter 0 %: "
        "not one of 60 rows is better, which rules out a gain of 5 points"
    )


def test_no_gain_on_few_rows_rules_none_out():
    verdict = decide(scores(0, 50), {"base_zero_shot": scores(0, 50)})
    assert verdict.verdict == "insufficient"
    assert verdict.reasons["rows_needed"] == 155


def test_no_gain_in_few_conversations_rules_none_out_however_many_rows_they_have():
    talks = [row // 6 for row in range(120)]
    verdict = decide(scores(0, 120), {"base_zero_shot": scores(0, 120)}, clusters=talks)
    assert verdict.verdict == "insufficient"


def test_worse_than_its_parent_is_rejected_however_good_against_the_base():
    verdict = decide(scores(70, 30), {"base_zero_shot": scores(0, 100)}, parent=scores(95, 5))
    assert verdict.verdict == "reject"
    assert "parent" in verdict.reasons["summary"]


def test_as_good_as_its_parent_replaces_it_on_no_account():
    def against_equals(n):
        good = scores(n - 2, 2)
        return decide(good, {"base_zero_shot": scores(0, n)}, parent=good)

    assert against_equals(40).verdict == "insufficient"
    assert against_equals(40).reasons["rows_needed"] == 155
    assert against_equals(100).verdict == "reject"
    assert "its parent scores 98 %" in against_equals(100).reasons["summary"]


def test_a_difference_that_would_have_shown_and_did_not_is_rejected():
    base = scores(400, 400) + scores(50, 50)
    adapter = scores(400, 400) + scores(0, 50) + scores(50, 0)  # 50 wins, 50 losses on 900 rows
    verdict = decide(adapter, {"base_zero_shot": base})
    assert verdict.verdict == "reject"
    assert "900 rows would have shown a gain of 5 points" in verdict.reasons["summary"]
    assert verdict.reasons["against_base_zero_shot"]["smallest_visible"] < 0.05
    assert decide(adapter, {"base_zero_shot": base}, min_effect=0.01).verdict == "insufficient"


def test_a_slice_that_gets_worse_is_rejected_however_good_the_whole():
    base, adapter = scores(0, 80) + scores(20, 0), scores(80, 20)
    inside = [False] * 80 + [True] * 20
    assert decide(adapter, {"base_zero_shot": base}).verdict == "promote"
    verdict = decide(adapter, {"base_zero_shot": base}, slices={"german": inside})
    assert (verdict.verdict, verdict.reasons["worse_on"]) == ("reject", "german")
    assert verdict.reasons["slices"]["german"]["against_base_zero_shot"]["losses"] == 20


def test_a_metric_that_gets_worse_is_rejected_and_a_better_one_earns_nothing():
    base, adapter = scores(0, 100), scores(80, 20)
    worse = {"valid": {"adapter": scores(50, 50), "base_zero_shot": scores(100, 0)}}
    assert decide(adapter, {"base_zero_shot": base}, metrics=worse).reasons["worse_on"] == "valid"
    better = {"valid": {"adapter": scores(100, 0), "base_zero_shot": scores(0, 100)}}
    same = decide(base, {"base_zero_shot": base}, metrics=better)
    assert same.verdict == "reject"


def test_rows_of_few_conversations_count_as_few():
    verdict = decide(
        scores(100, 0),
        {"base_zero_shot": scores(0, 100)},
        clusters=[row // 20 for row in range(100)],
    )
    assert verdict.verdict == "insufficient"
    assert verdict.reasons["rows_needed"] == 200
    assert "5 conversations" in verdict.reasons["summary"]


def test_wins_that_all_come_from_five_conversations_may_be_chance():
    base, adapter = scores(0, 100), scores(25, 75)
    talks = [row // 5 for row in range(100)]
    assert decide(adapter, {"base_zero_shot": base}).verdict == "promote"
    assert decide(adapter, {"base_zero_shot": base}, clusters=talks).verdict == "insufficient"


def test_the_figures_hold_what_a_reader_needs():
    reasons = decide(scores(95, 5), {"base_zero_shot": scores(20, 80)}, scores(60, 40)).reasons
    found = reasons["against_parent"]
    assert found["interval"][0] < found["gain"] < found["interval"][1]
    assert found["p"] < found["p_holm"] + 1e-12
    assert {"n", "wins", "losses", "gain", "p", "design_effect"} <= set(found)
    assert json.loads(json.dumps(reasons)) == reasons


def test_few_rows_show_nothing():
    verdict = decide(scores(9, 0), {"base_zero_shot": scores(0, 9)})
    assert verdict.verdict == "insufficient"
    assert "too few" in verdict.reasons["summary"]


def test_without_a_baseline_there_is_nothing_to_say():
    assert decide(scores(50, 0), {}).verdict == "insufficient"
    assert decide([], {}).verdict == "insufficient"


def test_a_small_gain_says_how_many_rows_would_settle_it():
    base = [0.0] * 8 + [1.0] * 42
    adapter = [1.0] * 6 + [0.0] * 2 + [1.0] * 39 + [0.0] * 3
    verdict = decide(adapter, {"base_zero_shot": base})
    assert verdict.verdict == "insufficient"
    assert verdict.reasons["rows_needed"] > 50


def test_scores_between_nothing_and_one_are_compared_by_sign():
    result = compare([0.9, 0.8, 0.7], [0.5, 0.8, 0.9])
    assert (result.wins, result.losses) == (1, 1)


def test_unpaired_scores_are_refused():
    with pytest.raises(ValueError, match="2 scores against 1"):
        compare([1.0, 1.0], [1.0])


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=10, max_size=80))
def test_swapping_the_sides_swaps_the_result(pairs):
    left, right = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    there, back = compare(left, right), compare(right, left)
    assert (there.better, there.worse) == (back.worse, back.better)


def test_promote_is_rare_where_there_is_no_difference():
    rng = random.Random(1)
    promoted = 0
    for _ in range(400):
        adapter = [float(rng.random() < 0.6) for _ in range(100)]
        base = [float(rng.random() < 0.6) for _ in range(100)]
        promoted += decide(adapter, {"base_zero_shot": base}, resamples=0).verdict == "promote"
    assert promoted / 400 <= LEVEL


def test_rows_needed_is_what_the_normal_approximation_says():
    # Connor 1987, worked: 15 % discordant, 5 points of difference, 80 % power.
    result = compare(
        scores(10, 0) + scores(0, 5) + scores(85, 0), scores(0, 10) + scores(5, 0) + scores(85, 0)
    )
    assert result.settled_by(0.05) == 469


OLD, NEW = 190, 10
INSIDE = [False] * OLD + [True] * NEW


def retrained(old, new, gain_on=("new", INSIDE)):
    """A parent that knows 180 of 190 old rows and none of 10 new ones; so many are right now, and
    those that are wrong are others."""
    return decide(
        [*scores(old, OLD - old)[::-1], *scores(new, NEW - new)],
        {"base_zero_shot": scores(20, OLD + NEW - 20)},
        [*scores(180, 10), *scores(0, NEW)],
        slices={"not new": [not new for new in INSIDE]},
        gain_on=gain_on,
        resamples=0,
    )


def test_what_a_retraining_was_to_learn_is_not_lost_among_all_that_was_known_before():
    assert retrained(180, 8, gain_on=None).verdict == "insufficient", "18 rows better, 10 worse"
    verdict = retrained(180, 8)
    assert verdict.verdict == "promote"
    assert verdict.reasons["gain_on"]["against_parent"]["wins"] == 8
    assert (
        "its parent 0 % on 10 rows of 'new', the adapter 80 % there" in (verdict.reasons["summary"])
    )


def test_what_was_learned_at_the_price_of_what_was_known_is_rejected():
    verdict = retrained(165, 10)
    assert verdict.verdict == "reject"
    assert verdict.reasons["worse_on"] == "not new"


def test_nothing_learned_or_too_few_rows_to_tell_is_no_promotion():
    verdict = retrained(190, 0)
    assert verdict.verdict == "insufficient"
    assert "0 % against its parent's 0 % on 10 rows of 'new'" in verdict.reasons["summary"]
    few = [False] * (OLD + 1) + [True] * (NEW - 1)
    verdict = retrained(180, 10, gain_on=("new", few))
    assert verdict.verdict == "insufficient"
    assert (
        "9 held-out rows of 'new', which the adapter was to learn, are too few"
        in (verdict.reasons["summary"])
    )


def test_a_first_version_has_nobody_to_be_better_than():
    verdict = decide(
        scores(180, 20), {"base_zero_shot": scores(20, 180)}, gain_on=("new", INSIDE), resamples=0
    )
    assert verdict.verdict == "promote"
