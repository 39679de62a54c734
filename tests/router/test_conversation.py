"""One number for one conversation, another for another, from what requests say anyway."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import conversation

ROLES = st.sampled_from(["assistant", "user", "tool"])
TEXT = st.text(max_size=40)


def fields(**given: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in given.items()}


def key(
    sticky: str = "conversation", header: bytes | None = None, request: str = "r1", **given: Any
) -> int:
    return conversation.key(fields(**given), header, sticky, request)


def chat(system: str | None, *turns: str) -> list[dict[str, str]]:
    head = [] if system is None else [{"role": "system", "content": system}]
    return head + [
        {"role": "user" if number % 2 == 0 else "assistant", "content": turn}
        for number, turn in enumerate(turns)
    ]


@given(
    system=st.none() | TEXT,
    first=TEXT,
    more=st.lists(st.tuples(ROLES, TEXT), max_size=20),
)
def test_a_conversation_keeps_its_number_as_it_grows(
    system: str | None, first: str, more: list[tuple[str, str]]
) -> None:
    messages = chat(system, first)
    begin = key(messages=messages, request="first")
    for number, (role, content) in enumerate(more):
        messages = [*messages, {"role": role, "content": content}]
        assert key(messages=messages, request=f"r{number}") == begin


@given(one=TEXT, other=TEXT)
def test_another_first_question_or_system_prompt_is_another_conversation(
    one: str, other: str
) -> None:
    same = one == other
    assert (key(messages=chat("s", one)) == key(messages=chat("s", other))) == same
    assert (key(messages=chat(one, "q")) == key(messages=chat(other, "q"))) == same


def test_conversations_are_spread_evenly() -> None:
    """Chi-square over 64 cells, 10,000 conversations: 63 degrees of freedom, p = 0.001 at 103."""
    ways: list[Callable[[int], int]] = [
        lambda n: key(messages=chat("You sort mail.", f"ticket {n}")),
        lambda n: key(sticky="user", user=f"user-{n}"),
        lambda n: key(header=b"%d" % n),
        lambda n: key(sticky="none", request=f"r{n}"),
        lambda n: conversation.rough(fields(prompt=f"ticket {n}"), None),
    ]
    for made in ways:
        counts = Counter(made(number) >> 58 for number in range(10_000))
        expected = 10_000 / 64
        assert sum((counts[cell] - expected) ** 2 / expected for cell in range(64)) < 103


def test_a_header_says_which_conversation_it_is() -> None:
    one = key(header=b"c-1", messages=chat("s", "q"))
    assert one == key(header=b"c-1", messages=chat("s", "something else"))
    assert one != key(header=b"c-2", messages=chat("s", "q"))


def test_by_user_the_users_name_comes_first_then_the_header_then_the_chat() -> None:
    messages = chat("s", "q")
    named = key("user", b"c-1", user="u", messages=messages)
    assert named == key("user", b"c-2", user="u", messages=chat("s", "other"))
    assert named == key("user", safety_identifier="u")
    assert named != key("user", b"c-1", user="v", messages=messages)
    assert key("user", b"c-1", messages=messages) == key("conversation", b"c-1")
    assert key("user", messages=messages) == key("conversation", messages=messages)


def test_by_nothing_each_request_stands_for_itself() -> None:
    messages = chat("s", "q")
    one = key("none", b"c-1", "r1", user="u", messages=messages)
    assert one != key("none", b"c-1", "r2", user="u", messages=messages)


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"null", b"7", b'"text"', b"[", b"[7]", b'[{"role": 7}]', b"\xff\xfe", b"[" * 5000,
     b"[[]]", b'[{"role"'],
)  # fmt: skip
def test_what_is_broken_stands_for_itself_and_raises_nothing(raw: bytes) -> None:
    given = {"messages": msgspec.Raw(raw), "user": msgspec.Raw(raw)}
    for sticky in ("conversation", "user"):
        one = conversation.key(given, None, sticky, "r1")
        other = conversation.key(given, None, sticky, "r2")
        named = sticky == "user" and raw == b'"text"'
        assert (one == other) == named


@given(raw=st.binary(max_size=60))
def test_any_bytes_give_some_number(raw: bytes) -> None:
    given = {"messages": msgspec.Raw(raw), "user": msgspec.Raw(raw)}
    for sticky in ("conversation", "user", "none"):
        assert 0 <= conversation.key(given, None, sticky, "r") < 2**64


def test_an_empty_user_or_header_is_none() -> None:
    messages = chat("s", "q")
    assert key("user", user="", messages=messages) == key("user", messages=messages)
    assert key("conversation", b"", messages=messages) == key("conversation", messages=messages)


def test_roughly_by_the_prompts_beginning() -> None:
    long = "x" * 600
    assert conversation.rough(fields(prompt=long + "a"), None) == conversation.rough(
        fields(prompt=long + "b"), None
    )
    assert conversation.rough(fields(prompt="a"), None) != conversation.rough(
        fields(prompt="b"), None
    )
    assert conversation.rough({}, None) == 0
    assert conversation.rough({}, b"c-1") == conversation.rough(fields(prompt="a"), b"c-1") != 0
