"""Tokens before anybody counted them."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.estimate import Estimator, weigh

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def estimate(estimator: Estimator, size: int = 400, **fields: object) -> tuple[int, int]:
    return estimator.estimate("acme", size, _fields.decode(json.dumps(fields).encode()))


def test_four_bytes_are_a_token_until_the_tenants_own_are_known() -> None:
    estimator = Estimator()
    assert estimate(estimator, 400) == (101, 256)
    for _ in range(200):
        estimator.learn("acme", 400, 200, 10)
    prompt, completion = estimate(estimator, 400)
    assert 195 <= prompt <= 205
    assert completion == 16
    assert estimator.estimate("lex", 400, {}) == (101, 256)


def test_a_character_weighs_less_than_its_bytes_but_more_than_a_letter() -> None:
    assert weigh(b"parcel") == 6
    assert weigh("ü".encode()) == 3
    assert weigh("漢".encode()) == 5
    with pytest.raises(UnicodeDecodeError):
        weigh(b"\xff")


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_requests_own_bound_is_its_completion_times_its_choices(name: str) -> None:
    estimator = Estimator()
    assert estimate(estimator, **{name: 30})[1] == 30
    assert estimate(estimator, **{name: 30}, n=3)[1] == 90
    assert estimate(estimator, n=2)[1] == 512
    assert estimate(estimator, max_tokens=10, max_completion_tokens=20)[1] == 20


@pytest.mark.parametrize("wrong", [None, -1, 0, "many", 1.5, [], {"a": 1}, True])
def test_a_bound_that_is_no_number_counts_as_absent(wrong: object) -> None:
    assert estimate(Estimator(), max_tokens=wrong, n=wrong)[1] == 256


def test_what_nobody_counted_teaches_nothing() -> None:
    estimator = Estimator()
    for _ in range(100):
        estimator.learn("acme", 400, 0, 0)
    assert estimate(estimator) == (101, 256)


def test_a_tenants_habits_are_bounded() -> None:
    estimator = Estimator()
    for _ in range(500):
        estimator.learn("acme", 10**7, 1, 10**6)
    assert estimate(estimator, 6400) == (101, 4096)
    for _ in range(500):
        estimator.learn("acme", 1, 10**6, 1)
    assert estimate(estimator, 100) == (201, 16)


@given(
    learned=st.lists(st.tuples(*[st.integers(-5, 10**9)] * 3), max_size=20),
    size=st.integers(0, 10**9),
    bound=st.integers(-(10**30), 10**30),
    n=st.integers(-(10**30), 10**30),
)
def test_an_estimate_is_always_a_bounded_positive_number(
    learned: list[tuple[int, int, int]], size: int, bound: int, n: int
) -> None:
    estimator = Estimator()
    for seen in learned:
        estimator.learn("acme", *seen)
    prompt, completion = estimate(estimator, size, max_tokens=bound, n=n)
    assert 1 <= prompt <= 10_000_000
    assert 1 <= completion <= 10_000_000
