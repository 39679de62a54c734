"""How many records a process has time for."""

from __future__ import annotations

import pytest

from router.leisure import Leisure


def test_all_that_are_allowed_while_there_is_time_to_spare() -> None:
    leisure = Leisure(500.0, 0.02)
    assert leisure.rate(0.0, 0.0) == 500.0
    assert leisure.rate(1.0, 0.8) == 500.0


def test_a_busy_process_writes_what_its_share_of_a_core_allows() -> None:
    leisure = Leisure(500.0, 0.02)
    for _ in range(60):
        leisure.spent(10, 10 * 200e-6)
    leisure.rate(0.0, 0.0)
    assert leisure.rate(1.0, 0.95) == pytest.approx(0.02 / 200e-6, rel=0.01)
    assert leisure.rate(2.0, 1.05) == 500.0, "and all again when it is over"


def test_costly_records_never_stop_altogether_and_cheap_ones_keep_their_limit() -> None:
    costly, cheap = Leisure(500.0, 0.0), Leisure(500.0, 1.0)
    for leisure in (costly, cheap):
        leisure.rate(0.0, 0.0)
    assert costly.rate(1.0, 1.0) == 1.0
    assert cheap.rate(1.0, 1.0) == 500.0


def test_a_clock_that_stood_still_says_nothing() -> None:
    leisure = Leisure(500.0, 0.02)
    leisure.rate(5.0, 1.0)
    assert leisure.rate(5.0, 1.0) == 500.0


def test_a_batch_of_none_costs_nothing() -> None:
    leisure = Leisure(500.0, 0.02)
    leisure.spent(0, 0.0)
    leisure.rate(0.0, 0.0)
    assert 1.0 < leisure.rate(1.0, 1.0) < 500.0
