"""The drift benchmark's judging, and that its streams hold what they say."""

from __future__ import annotations

import numpy as np
import pytest

from bench.drift.run import delay, median_interval, threshold
from bench.drift.streams import AFTER, CHANGES, DAY, PER_DAY, changing, quiet
from bench.drift.texts import GROUPS, KINDS, Texts

EACH = 40


def texts() -> Texts:
    """Forty numbered texts in each group of each kind, and eighty foreign ones."""
    own = len(KINDS) * GROUPS * EACH
    numbers = np.arange(own)
    rest = np.full(2 * own + 80, -1)
    return Texts(
        words=[f"text {n}" for n in range(3 * own + 80)],
        kind=np.concatenate([numbers // (GROUPS * EACH), rest]),
        group=np.concatenate([numbers // EACH % GROUPS, rest]),
        styled=numbers + own,
        longer=numbers + 2 * own,
        foreign=np.arange(3 * own, 3 * own + 80),
    )


def test_a_quiet_tenant_sends_texts_of_one_kind_and_repeats_some() -> None:
    made = texts()
    stream = quiet(made, 5, 1500)
    assert len(stream.texts) == stream.first + 1500
    assert set(made.kind[stream.texts]) == {5 % len(KINDS)}
    assert 0.5 * PER_DAY < stream.first < 2 * PER_DAY
    assert stream.times[stream.first - 1] < DAY <= stream.times[stream.first]
    assert stream.changed is None
    assert len(set(made.group[stream.texts])) == GROUPS - 1
    assert (stream.texts[1:] == stream.texts[:-1]).any()


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_begins_where_it_is_said_to_and_takes_its_share(change: str) -> None:
    made = texts()
    stream = changing(made, change, 2)
    at = stream.changed
    assert at is not None
    before = set(made.group[stream.texts[:at]])
    new = np.array([made.kind[t] != 2 or made.group[t] not in before for t in stream.texts])
    assert not new[:at].any()
    assert len(stream.texts) - at == AFTER
    settled = new[-500:].mean()
    assert abs(settled - CHANGES[change]) < 0.1


def test_the_same_seed_gives_the_same_stream() -> None:
    one, two = (changing(texts(), "slow", 7) for _ in range(2))
    assert (one.texts == two.texts).all()
    assert (one.times == two.times).all()


def test_one_in_forty_quiet_streams_lies_above_the_threshold() -> None:
    records = [[[3, 0.5], [9, float(highest)]] for highest in range(80)]
    level = threshold(records)
    assert sum(points[-1][1] > level for points in records) == 2
    assert threshold([[[0, 1.0]], [[0, 4.0]], []]) == 4.0


def test_a_delay_counts_from_the_change_and_an_alarm_before_it_is_none() -> None:
    points = [[10, 1.0], [50, 2.0], [60, 5.0]]
    assert delay(points, 1.5, 40) == 10
    assert delay(points, 4.0, 60) == 0
    assert delay(points, 0.5, 40) is None
    assert delay(points, 9.0, 40) is None


def test_a_medians_interval_leaves_out_the_ends_only_of_enough_values() -> None:
    twelve = [float(n) for n in range(12)]
    assert median_interval(twelve) == (2.0, 9.0)
    assert median_interval([3.0, 1.0, 2.0]) == (1.0, 3.0)
    assert median_interval([7.0]) == (7.0, 7.0)
