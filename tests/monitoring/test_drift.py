"""The drift test: quiet within its budget, quick on a new product line, cut anywhere the same."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.drift import OTHER_BASE, Detector, DriftSettings
from monitoring.sketch import pack, sketch, unpack
from tests.monitoring.tickets import pool, prompt, stream

ACME = Path(__file__).parents[2] / "examples" / "acme"


def _run(detector: Detector, sketches: Any, began: int = 0) -> Detector:
    for second, packed in enumerate(sketches):
        detector.see(packed, at=float(began + second))
    return detector


def _delay(seed: int, share: float, ordinary: int, reference: int = 200) -> int | None:
    detector = Detector(DriftSettings(reference=reference))
    for number, packed in enumerate(stream(seed, reference + ordinary + 300, share,
                                           reference + ordinary)):  # fmt: skip
        detector.see(packed)
        if detector.established:
            return number - reference - ordinary
    return None


def test_a_fleet_keeps_its_budget_of_false_alarms() -> None:
    tenants, prompts, alarms, staked = 20, 700, 0, 0.0
    budget = DriftSettings(false_alarms_per_week=4.0)
    hour = 3600.0
    for seed in range(tenants):
        detector = Detector(budget)
        for number, packed in enumerate(stream(seed, budget.reference + prompts)):
            detector.see(packed, at=number * hour / 6, share=1 / tenants)
        alarms += detector.crossings
        staked += detector.purse.spent
    weeks = (budget.reference + prompts) / 6 / 168
    assert staked <= budget.false_alarms_per_week * (weeks + 2 / 7)
    assert alarms <= staked


def test_four_hundred_more_ordinary_prompts_raise_no_alarm() -> None:
    for seed in range(10):
        detector = _run(Detector(DriftSettings()), stream(100 + seed, 600))
        assert detector.crossed_at is None, detector.evidence()


@pytest.mark.parametrize("ordinary", [50, 400])
def test_a_new_product_line_at_half_of_traffic_is_found_within_150_prompts(ordinary: int) -> None:
    for seed in range(8):
        delay = _delay(seed, 0.55, ordinary)
        assert delay is not None
        assert 0 <= delay <= 150


def test_it_says_about_when_drift_began() -> None:
    detector = Detector(DriftSettings())
    for at, packed in enumerate([*stream(5, 400), *stream(6, 200, share=0.55)]):
        detector.see(packed, float(at))
    assert detector.established
    assert detector.calm_at is not None and detector.crossed_at is not None
    assert 350 < detector.calm_at < 400 + 150
    again = Detector.load(detector.settings, *detector.dump())
    assert again.calm_at == detector.calm_at


def test_a_changed_system_prompt_shows_in_the_shape() -> None:
    detector = _run(Detector(DriftSettings()), stream(1, 300))
    pirate = {"role": "system", "content": "You are a pirate."}
    for number in range(80):
        text = f"I cannot log in{'!' * number}"
        detector.see(sketch([pirate, {"role": "user", "content": text}]))
    found = detector.evidence()
    assert detector.established
    assert found["channels"]["shape"] > found["threshold"]


def test_a_short_burst_raises_the_evidence_but_is_not_sustained() -> None:
    detector = _run(Detector(DriftSettings()), stream(2, 400))
    _run(detector, pool(new=True)[:9])
    risen = detector.statistic
    _run(detector, stream(3, 120))
    assert risen > detector.statistic
    assert not detector.established


def test_a_burst_that_is_over_is_no_change_any_more_and_the_next_one_is_news() -> None:
    detector = _run(Detector(DriftSettings(sustained_for=100)), stream(2, 400))
    for burst in (1, 2):
        _run(detector, pool(new=True)[100 * burst : 100 * burst + 12])
        assert detector.crossed_at is not None
        assert detector.crossings == burst
        _run(detector, stream(3 + burst, 200))
        assert detector.crossed_at is None
        assert not detector.established
    again = Detector.load(detector.settings, *detector.dump())
    assert again.crossings == 2


def test_prompts_that_were_none_leave_the_bag_as_it_was() -> None:
    for chosen in (DriftSettings(), DriftSettings(sustained_for=1000)):
        first, second = (_run(Detector(chosen), stream(2, 400)) for _ in range(2))
        before = second.seen
        _run(second, pool(new=True)[:60])
        assert second.established is (chosen.sustained_for == 20)
        assert first._watch is not None and second._watch is not None
        second.forgive(second.seen - before)
        assert second._watch._ranks.total == first._watch._ranks.total
        assert (second._watch._ranks.above == first._watch._ranks.above).all()


def test_a_client_in_a_loop_is_not_drift() -> None:
    detector = _run(Detector(DriftSettings()), stream(4, 300))
    before = detector.statistic
    packed = sketch(prompt("a prompt that nobody ever sent before, over and over again"))
    _run(detector, [packed] * 200)
    assert detector.seen == 300 - (detector.dropped - 199) + 1
    assert detector.statistic < max(before + 4, detector.threshold)


def test_unreadable_sketches_are_dropped_and_counted() -> None:
    detector = _run(Detector(DriftSettings()), [b"", b"\x09garbage", pool()[0]])
    assert (detector.seen, detector.dropped) == (1, 2)


_SMALL = DriftSettings(reference=40, reference_span_s=50.0, sustained_for=5)
_BRIEF = DriftSettings(reference=40, reference_span_s=50.0, sustained_for=90, bag=70)
"""The topic is learnt afresh every 50 prompts, and drift is seldom established."""


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 170), st.integers(0, 170), st.sampled_from([0.0, 0.4]))
def test_cut_anywhere_and_resumed_it_tells_the_same(
    seed: int, first: int, second: int, share: float
) -> None:
    sketches = [*stream(seed, 170, share, 90)]
    whole = _run(Detector(_SMALL), sketches)
    cuts = sorted((first, second))
    resumed = Detector(_SMALL)
    for start, end in zip([0, *cuts], [*cuts, len(sketches)], strict=True):
        state, arrays = _run(resumed, sketches[start:end], start).dump()
        resumed = Detector.load(_SMALL, json.loads(json.dumps(state)), arrays)
    assert resumed.evidence() == whole.evidence()
    assert resumed.dump() == whole.dump()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32), st.lists(st.integers(0, 300), max_size=3), st.sampled_from([0.0, 0.4])
)
def test_many_prompts_at_once_tell_what_one_after_another_does(
    seed: int, cuts: list[int], share: float
) -> None:
    prompts = [(packed, float(at)) for at, packed in enumerate(stream(seed, 300, share, 90))]
    one_by_one, together = Detector(_BRIEF, seed=seed), Detector(_BRIEF, seed=seed)
    for packed, at in prompts:
        one_by_one.see(packed, at)
    for start, end in pairwise([0, *sorted(cuts), len(prompts)]):
        together.see_all(prompts[start:end])
    assert together.dump() == one_by_one.dump()


def test_with_pause_nothing_is_taken_in_after_the_alarm() -> None:
    prompts = [(packed, None) for packed in stream(1, 300, 0.9, 90)]
    detector = Detector(_SMALL)
    taken = detector.see_all(prompts, pause=True)
    assert detector.crossed_at is not None
    assert detector.seen == detector.crossed_at
    assert detector.seen + detector.dropped == taken < 300
    single = Detector(_SMALL)
    for packed, at in prompts[:taken]:
        single.see(packed, at)
    assert single.purse.spent == detector.purse.spent


def test_sketches_of_another_base_are_dropped_until_it_is_the_base() -> None:
    detector = _run(Detector(_SMALL), stream(1, 80))
    others = [pack(unpack(packed), mark=7) for packed in pool(new=True)]
    before, dropped = detector.seen, detector.dropped
    _run(detector, [*others[: OTHER_BASE - 1], pool()[-1]], 80)
    assert (detector.seen, detector.dropped) == (before + 1, dropped + OTHER_BASE - 1)
    _run(detector, others, 200)
    assert detector.watching
    assert detector.crossed_at is None  # all of another kind, and all that there is
    assert Detector.load(_SMALL, *detector.dump()).dump() == detector.dump()


def _ranks_of_ties(seed: int, cut: int | None = None) -> list[float]:
    """The evidence while every prompt looks like every other one, so that chance ranks them."""
    settings = DriftSettings(reference=40, repeats=0)
    detector = Detector(settings, seed=seed)
    found = []
    for number in range(120):
        if number == cut:
            detector = Detector.load(settings, *detector.dump())
        detector.see(pool()[0], float(number))
        found.append(detector.statistic)
    return found


def test_detectors_of_other_seeds_break_ties_each_in_their_own_way() -> None:
    one, two = _ranks_of_ties(1), _ranks_of_ties(2)
    assert one != two
    assert _ranks_of_ties(1, cut=90) == one


def test_a_state_of_another_format_is_refused() -> None:
    state, arrays = Detector(_SMALL).dump()
    with pytest.raises(ValueError, match="take a new reference"):
        Detector.load(_SMALL, {**state, "format": 99}, arrays)


def test_what_is_kept_of_an_adapter_fits_in_256_kib() -> None:
    detector = _run(Detector(DriftSettings(reference=400)), stream(5, 400 + 640))
    state, arrays = detector.dump()
    assert len(arrays) + len(json.dumps(state)) <= 256 * 1024


def _sketches(name: str) -> list[bytes]:
    found = []
    for line in (ACME / f"{name}.jsonl").read_text().splitlines():
        try:
            messages = json.loads(line)["messages"]
            asked = [m for m in messages if m["role"] != "assistant"]
        except (ValueError, KeyError, TypeError):
            continue  # the data holds a few bad rows on purpose
        found.append(sketch(asked))
    return found


def test_the_shift_of_the_acme_example_is_found_and_its_ordinary_tickets_are_not() -> None:
    ordinary, shifted = _sketches("train"), _sketches("shifted_prompts")
    Random(1).shuffle(ordinary)
    detector = _run(Detector(DriftSettings()), ordinary[:600])
    assert detector.crossed_at is None, detector.evidence()
    _run(detector, shifted[:200])
    assert detector.established, detector.evidence()


@pytest.mark.parametrize(("span_s", "alarmed"), [(0.0, True), (86_400.0, False)])
def test_a_rhythm_of_the_day_is_ordinary_once_the_reference_holds_both(
    span_s: float, alarmed: bool
) -> None:
    detector = Detector(DriftSettings(reference=100, reference_span_s=span_s))
    rng = Random(5)
    for number in range(1200):
        at = number * 172.8  # five hundred a day
        share = 0.6 if at % 86_400.0 > 64_800.0 else 0.1  # at night, of another sort of tickets
        detector.see(rng.choice(pool(new=rng.random() < share)), at=at)
    assert (detector.crossings > 0) is alarmed, detector.evidence()
