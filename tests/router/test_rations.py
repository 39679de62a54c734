"""Rations: quiet tenants are written whole beside noisy ones, trials too, all within the rate."""

from __future__ import annotations

from router.rations import Rations

ONE = ("one", False)


def _second(rations: Rations, start: float, sends: dict[str, int]) -> dict[str, int]:
    """How many of each tenant's were taken, sent evenly over one second."""
    at = sorted((start + n / count, name) for name, count in sends.items() for n in range(count))
    taken = dict.fromkeys(sends, 0)
    for now, name in at:
        taken[name] += rations.take((name, False), now)
    return taken


def _settled(sends: dict[str, int]) -> dict[str, int]:
    rations = Rations(100.0, 100.0)
    for second in range(20):
        taken = _second(rations, second, sends)
    return taken


def test_a_noisy_tenant_does_not_have_a_quiet_ones_dropped() -> None:
    taken = _settled({"noisy": 2000, "quiet": 5, "other": 20})
    assert taken["quiet"] == 5
    assert taken["other"] == 20
    assert 70 <= taken["noisy"] <= 76


def test_noisy_tenants_share_evenly_whatever_they_send() -> None:
    taken = _settled({"one": 400, "two": 2000})
    assert sum(taken.values()) <= 101
    assert taken["one"] >= 49


def test_one_alone_may_have_all() -> None:
    assert 99 <= _settled({"one": 1000})["one"] <= 101


def test_a_burst_after_quiet_is_taken_whole() -> None:
    rations = Rations(100.0, 100.0)
    rations.rate = 5.0
    assert sum(rations.take(ONE, 1.0) for _ in range(150)) == 100


def test_a_busy_tenants_trials_are_taken_beside_its_own_traffic() -> None:
    rations = Rations(100.0, 100.0)
    taken = 0
    for number in range(20_000):  # 2,000 a second, of which 1 % are the canary's
        trial = number % 100 == 0
        took = rations.take(("one", trial), number / 2000)
        taken += took and trial
    assert taken == 200


def test_what_was_sure_is_made_up_for_by_whoever_sends_most() -> None:
    rations = Rations(10.0, 10.0)
    for number in range(40):
        rations.take((f"tenant-{number}", False), 0.0)  # the first of each is sure
    assert not rations.take(ONE, 0.0) or not rations.take(ONE, 0.0)
    assert rations.take(ONE, 9.0)


def test_who_sends_nothing_for_a_minute_has_no_part_any_more() -> None:
    rations = Rations(10.0, 10.0)
    for name in range(1000):
        rations.take((f"tenant-{name}", False), 0.0)
    assert 8 <= sum(_second(rations, 100.0 + n, {"one": 500})["one"] for n in range(3)) / 3 <= 14
