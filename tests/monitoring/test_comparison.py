"""The comparison of challenger and champion: what it promises, by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from monitoring.comparison import CHALLENGER, CHAMPION, Reading, compare

Outcomes = list[tuple[str, float]]


def _traffic(
    seed: int, count: int, *, share: float, champion: float, challenger: float
) -> Outcomes:
    """Requests split by chance, each harmed with its side's probability."""
    random = np.random.default_rng(seed)
    found = []
    for chosen, luck in random.random((count, 2)):
        new = chosen < share
        harmed = luck < (challenger if new else champion)
        found.append((CHALLENGER if new else CHAMPION, float(harmed)))
    return found


def _first(outcomes: Outcomes, risk: float) -> int | None:
    """Challenger's outcomes until harm was proven; looked at after every tenth request."""
    for end in range(10, len(outcomes) + 1, 10):
        reading = compare(outcomes[:end], 0.05)
        if reading.is_worse(risk):
            return reading.outcomes
    return None


def test_one_that_is_as_good_is_seldom_called_worse() -> None:
    # A running maximum: what was ever seen is in the last reading. 400 trials, risk 5 %: 20 would
    # be the most on average; 33 would come of the same risk once in 400 times.
    called = sum(
        compare(_traffic(seed, 1500, share=0.3, champion=0.2, challenger=0.2), 0.05).is_worse(0.05)
        for seed in range(400)
    )
    assert called <= 32


def test_one_that_harms_by_the_margin_is_seldom_called_fine() -> None:
    called = sum(
        compare(_traffic(seed, 1500, share=0.5, champion=0.05, challenger=0.10), 0.05).is_fine(0.05)
        for seed in range(400)
    )
    assert called <= 32


@pytest.mark.parametrize(("share", "most"), [(0.01, 14), (0.1, 14), (0.5, 40)])
def test_one_that_always_fails_is_found_after_a_dozen_answers(share: float, most: int) -> None:
    outcomes = _traffic(1, round(30 / share), share=share, champion=0.01, challenger=1.0)
    found = _first(outcomes, 0.0025)
    assert found is not None
    assert found <= most


def test_one_without_harm_is_proven_fine() -> None:
    reading = compare([(CHAMPION, 0.0), (CHALLENGER, 0.0)] * 110, 0.05)
    assert reading.is_fine(0.05)
    assert not reading.is_worse(0.05)
    assert reading.pairs == 110


def test_traffic_that_turns_bad_for_both_is_nobodys_harm() -> None:
    outcomes = _traffic(3, 1000, share=0.3, champion=0.01, challenger=0.01)
    outcomes += _traffic(4, 1000, share=0.3, champion=0.6, challenger=0.6)
    assert not compare(outcomes, 0.05).is_worse(0.01)


def test_outcomes_of_one_side_alone_say_nothing() -> None:
    assert compare([(CHALLENGER, 1.0)] * 50, 0.05) == Reading(None, 1.0, 50, 0, 0.0, 0.0)


@pytest.mark.parametrize("outcome", [("other", 0.0), (CHAMPION, 1.5), (CHALLENGER, -0.1)])
def test_what_is_no_outcome_is_refused(outcome: tuple[str, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        compare([outcome], 0.05)


def test_evidence_is_the_same_however_often_one_looks() -> None:
    outcomes = _traffic(7, 300, share=0.3, champion=0.1, challenger=0.4)
    logs = [compare(outcomes[:end], 0.05).worse for end in range(1, 301)]
    assert logs == sorted(logs)
    assert all(b - a < 1 for a, b in itertools.pairwise(logs))
