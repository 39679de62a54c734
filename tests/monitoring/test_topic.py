"""The topic's witness: exact ranks, however many at a time; a bag that begins again."""

from __future__ import annotations

import numpy as np
import pytest

from monitoring.betting import chances
from monitoring.channels import Channels, Rows
from monitoring.sketch import unpacked
from monitoring.topic import Topic, rows_of
from tests.monitoring.test_betting import p_value
from tests.monitoring.tickets import pool

BASELINE = unpacked(pool()[:40])
CHANNELS = Channels(BASELINE)
OPENING, LATER = (
    rows_of(rows, CHANNELS.standardised(rows))
    for rows in (unpacked(pool()[40:80]), unpacked(pool()[80:140]))
)


def _witness(bag: Rows) -> list[float]:
    """Scores of all in a bag, by the definition, on one scale."""
    wide = bag.astype(object)  # Python's own whole numbers: nothing is rounded
    usual = rows_of(BASELINE, CHANNELS.standardised(BASELINE)).astype(object)
    total, expected = wide.sum(axis=0), usual.sum(axis=0)
    return [
        int((row * total).sum() * len(usual) - (row * expected).sum() * len(bag)) for row in wide
    ]


def _topic() -> Topic:
    topic = Topic(CHANNELS, len(OPENING), 120)
    topic.open(OPENING)
    return topic


@pytest.mark.parametrize("together", [1, 11, 60])
def test_a_prompt_ranks_where_its_witness_does(together: int) -> None:
    topic, drawn = _topic(), chances(3, np.arange(len(LATER)))
    found: list[float] = []
    for start in range(0, len(LATER), together):
        rows = LATER[start : start + together]
        ranking = topic.rank(rows, drawn[start : start + together])
        topic.keep(ranking, len(rows))
        found += ranking.p.tolist()
    for number, p in enumerate(found):
        scores = np.array(_witness(np.concatenate([OPENING, LATER[: number + 1]])))
        assert p == pytest.approx(p_value(scores, drawn[number]))


def test_what_was_only_ranked_leaves_no_trace() -> None:
    topic, drawn = _topic(), chances(3, np.arange(9))
    topic.keep(topic.rank(LATER[:9], drawn), 4)
    again = _topic()
    again.keep(again.rank(LATER[:4], drawn[:4]), 4)
    assert (topic.arrays() == again.arrays()).all()
    assert (topic.rank(LATER[4:9], drawn[4:]).p == again.rank(LATER[4:9], drawn[4:]).p).all()


def test_a_full_bag_begins_again_at_the_opening() -> None:
    topic, drawn = _topic(), chances(3, np.arange(60))
    room = topic.room
    topic.keep(topic.rank(LATER, drawn), len(LATER))
    assert topic.room == room - len(LATER)
    topic.restart()
    assert topic.room == room
    assert (topic.arrays() == OPENING).all()
    assert (topic.rank(LATER[:5], drawn[:5]).p == _topic().rank(LATER[:5], drawn[:5]).p).all()
