"""Sketches take anything, forget the text, and keep what tells one topic from another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.laid import MOST
from monitoring.sketch import (
    BYTES,
    CHARACTERS,
    DIMENSIONS,
    MAX_CHARACTERS,
    SCALE,
    WORDS,
    mark_of,
    sketch,
    sketches,
    unpack,
)


def _user(text: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "system", "assistant", "developer"]) | _JSON,
            "content": st.text(st.characters(codec=None, exclude_categories=())) | _JSON,
        }
    )
    | _JSON,
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(_MESSAGES | _JSON | st.binary())
def test_anything_at_all_becomes_a_finite_sketch_of_the_same_size(messages: Any) -> None:
    packed = sketch(messages)
    assert len(packed) == BYTES
    numbers = unpack(packed)
    assert numbers.shape == (DIMENSIONS,)
    assert mark_of(packed) == 0
    assert sketch(messages) == packed


@settings(max_examples=100, deadline=None)
@given(st.lists(_MESSAGES | _JSON, max_size=6))
def test_many_at_once_get_the_sketches_that_each_gets_alone(many: list[Any]) -> None:
    assert sketches(many) == [sketch(messages) for messages in many]


def test_long_texts_are_sketched_by_their_beginning_however_many_come_at_once() -> None:
    long = [_user(f"{chr(0x4E00 + n)}" * 2 * MAX_CHARACTERS) for n in range(20)]
    assert 20 * 3 * MAX_CHARACTERS > 2 * MOST
    assert sketches(long) == [
        sketch(_user(each[0]["content"][:MAX_CHARACTERS] + "?")) for each in long
    ]


def test_each_channel_has_length_one() -> None:
    numbers = unpack(sketch(_user("The parcel never arrived, where is it?")))
    for channel in (numbers[:CHARACTERS], numbers[CHARACTERS : CHARACTERS + WORDS]):
        assert np.linalg.norm(channel / SCALE) == pytest.approx(1.0, abs=0.02)


def test_text_parts_read_like_one_string() -> None:
    parts = [{"type": "text", "text": "hello there"}, {"type": "image_url", "image_url": {}}]
    assert sketch(_user(parts)) == sketch(_user("hello there"))


def test_only_the_last_user_message_gives_the_words() -> None:
    talk = [*_user("first words"), {"role": "assistant", "content": "yes"}, *_user("my refund")]
    lexical = slice(0, CHARACTERS + WORDS)
    assert (unpack(sketch(talk))[lexical] == unpack(sketch(_user("my refund")))[lexical]).all()


def test_numbers_leave_no_trace() -> None:
    assert sketch(_user("card 4111 1111")) == sketch(_user("card 9822 0047"))


def test_another_system_prompt_shows_in_the_descriptors_alone() -> None:
    one = unpack(sketch([{"role": "system", "content": "Route it."}, *_user("hello there")]))
    two = unpack(sketch([{"role": "system", "content": "Route them."}, *_user("hello there")]))
    assert (one[: CHARACTERS + WORDS] == two[: CHARACTERS + WORDS]).all()
    assert not (one == two).all()


def test_texts_of_one_topic_lie_closer_than_texts_of_two() -> None:
    bills = ["my invoice is wrong", "the invoice shows a wrong sum", "wrong invoice, please check"]
    locks = ["the smart lock jams at night", "our smart lock will not open", "lock jams again"]
    a = np.stack([unpack(sketch(_user(t)))[: CHARACTERS + WORDS] / SCALE for t in bills])
    b = np.stack([unpack(sketch(_user(t)))[: CHARACTERS + WORDS] / SCALE for t in locks])
    within = min((a @ a.T)[np.triu_indices(3, 1)].mean(), (b @ b.T)[np.triu_indices(3, 1)].mean())
    assert within > (a @ b.T).mean() + 0.3


@pytest.mark.parametrize("packed", [b"", b"\x02", b"\x01" + bytes(BYTES - 1)])
def test_foreign_bytes_are_named(packed: bytes) -> None:
    with pytest.raises(ValueError, match="expected a sketch of version 2"):
        unpack(packed)
