"""The ledger against the two lists that it stands for, written down as plainly as can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.ledger import COLD, HOST, SLOT, Ledger

VERSIONS = st.sampled_from("abcdefgh")
STEPS = st.lists(st.tuples(st.sampled_from(["use", "acknowledged", "forget"]), VERSIONS))


@given(slots=st.integers(1, 4), more=st.integers(0, 4), steps=STEPS)
def test_does_what_two_lists_least_recently_used_first_do(
    slots: int, more: int, steps: list[tuple[str, str]]
) -> None:
    host = slots + more
    ledger = Ledger(slots, host)
    in_slots: list[str] = []
    in_memory: list[str] = []
    for verb, version in steps:
        was = SLOT if version in in_slots else HOST if version in in_memory else COLD
        assert ledger.where(version) == was
        if verb == "use":
            assert ledger.use(version) == was
            in_memory = [v for v in in_memory if v != version] + [version]
            in_slots = [v for v in in_slots if v != version] + [version]
        elif verb == "forget":
            ledger.forget(version)
            in_memory = [v for v in in_memory if v != version]
            in_slots = [v for v in in_slots if v != version]
        else:
            ledger.acknowledged(version)
            if version not in in_memory:
                in_memory.append(version)
        in_memory = in_memory[-host:]
        in_slots = [v for v in in_slots if v in in_memory][-slots:]
        assert ledger.in_slots == len(in_slots)
        for each in "abcdefgh":
            assert (ledger.where(each) == SLOT) == (each in in_slots)
            assert (ledger.where(each) == COLD) == (each not in in_memory)


def test_an_engine_with_less_memory_than_slots_holds_what_fits_its_memory() -> None:
    ledger = Ledger(slots=4, host=2)
    for version in "abc":
        ledger.use(version)
    assert [ledger.where(version) for version in "abc"] == [COLD, SLOT, SLOT]
    assert ledger.in_slots == 2
