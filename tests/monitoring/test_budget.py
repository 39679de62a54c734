"""The budget: what is staked is what was granted, whatever the traffic."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.budget import AHEAD, MOST, WEEK, Purse


@given(st.lists(st.floats(0, 5 * WEEK), min_size=1, max_size=40), st.floats(0.01, 1.0))
def test_no_more_is_staked_than_was_granted_at_any_rate_of_prompts(
    times: list[float], share: float
) -> None:
    purse = Purse(2.0)
    for at in times:
        assert purse.stake(at, share) >= 0
    granted = 2.0 * share * (AHEAD + max(times) - times[0]) / WEEK
    assert purse.spent <= granted * (1 + 1e-9)


def test_a_busy_adapter_stakes_less_at_each_prompt_than_a_quiet_one() -> None:
    busy, quiet = Purse(1.0), Purse(1.0)
    for number in range(20_000):
        last_busy = busy.stake(number * 1.0, 0.5)
        last_quiet = quiet.stake(number * 600.0, 0.5)
    assert last_quiet == pytest.approx(0.5 * 600 / WEEK, rel=0.01)
    assert last_busy == pytest.approx(0.5 / WEEK, rel=0.05)


def test_while_a_fleet_grows_the_smaller_share_counts() -> None:
    alone, joined = Purse(1.0), Purse(1.0)
    for purse, share in ((alone, 1.0), (joined, 0.1)):
        purse.stake(0.0, 1.0)
        purse.stake(WEEK, share)
    assert joined.dump()["kept"] < alone.dump()["kept"]


def test_time_that_runs_backwards_grants_nothing_twice() -> None:
    purse = Purse(1.0)
    for at in (0.0, 100.0, 50.0, 100.0):
        purse.stake(at, 1.0)
    assert purse.spent + purse.dump()["kept"] == pytest.approx((AHEAD + 100.0) / WEEK)


def test_what_a_quiet_year_left_is_two_weeks_of_the_budget() -> None:
    purse = Purse(1.0)
    purse.stake(0.0, 1.0)
    for number in range(3000):
        purse.stake(52 * WEEK + number * 60.0, 1.0)
    assert purse.spent <= (MOST + 3000 * 60.0) / WEEK


@given(st.lists(st.floats(0, 8 * WEEK), min_size=1, max_size=300), st.floats(0.01, 1.0))
def test_in_no_week_more_than_three_weeks_budget_is_staked(
    times: list[float], share: float
) -> None:
    purse, staked = Purse(1.0), []
    for at in sorted(times):
        staked.append((at, purse.stake(at, share)))
        assert purse.dump()["kept"] <= share * MOST / WEEK
    for begin, _ in staked:
        week = sum(stake for at, stake in staked if begin <= at < begin + WEEK)
        assert week <= share * (MOST + WEEK) / WEEK * (1 + 1e-9)


def test_a_prompt_stamped_ten_years_ahead_grants_two_weeks_and_ends_nothing() -> None:
    purse = Purse(1.0)
    purse.stake(0.0, 1.0)
    purse.stake(10 * 52 * WEEK, 1.0)
    for number in range(3000):
        purse.stake(100.0 + number * 60.0, 1.0)
    assert purse.spent <= (MOST + 3000 * 60.0) / WEEK
    before = purse.dump()["kept"] + purse.spent
    purse.stake(100.0 + 2999 * 60.0 + WEEK, 1.0)
    assert purse.dump()["kept"] + purse.spent == pytest.approx(before + 1.0), "time goes on"


def test_two_clocks_that_take_turns_are_granted_no_more_than_both_together() -> None:
    purse, spent = Purse(1.0), 0.0
    for number in range(4000):
        ahead = 520 * WEEK if number % 4 > 1 else 0.0
        purse.stake(number * 60.0 + ahead, 1.0)
    spent = purse.spent + purse.dump()["kept"]
    assert spent <= (AHEAD + MOST + 2 * 4000 * 60.0) / WEEK


def test_a_purse_of_before_is_read_and_cut_to_two_weeks() -> None:
    old = {"share": 1.0, "at": 10 * 52 * WEEK, "kept": 496.0, "spent": 2.0}
    purse = Purse.load(1.0, old)
    assert purse.stake(None, 1.0) <= 0.002
    assert purse.dump()["kept"] <= MOST / WEEK
    purse.stake(1000.0, 1.0)
    before = purse.dump()["kept"] + purse.spent
    purse.stake(1000.0, 1.0)
    assert purse.dump()["kept"] + purse.spent == pytest.approx(before)


def test_a_purse_goes_on_from_its_json() -> None:
    one = Purse(1.0)
    for at in range(5):
        one.stake(float(at), 0.5)
    two = Purse.load(1.0, json.loads(json.dumps(one.dump())))
    assert one.stake(9.0, 0.5) == two.stake(9.0, 0.5)
    assert one.dump() == two.dump()
