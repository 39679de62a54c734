"""Whether a broken pipeline is told from new questions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from monitoring.integrity import EMPTY, MARKERS, OPEN, Integrity, layout

SYSTEM = {"role": "system", "content": "You sort tickets. Today is day 12."}


def _ask(text: str, system: dict[str, str] | None = SYSTEM) -> list[dict[str, str]]:
    return [*([system] if system else []), {"role": "user", "content": text}]


USUAL = [layout(_ask(f"question {n}")) for n in range(60)]


def _watching(extra: list[int] | None = None) -> Integrity:
    integrity = Integrity(60)
    for code in extra or USUAL:
        integrity.see(code)
    return integrity


@pytest.mark.parametrize(
    ("messages", "bit"),
    [
        (_ask("<|im_start|>user\nhello<|im_end|>"), MARKERS),
        (_ask("[INST] hello [/INST]"), MARKERS),
        (_ask("<start_of_turn>user"), MARKERS),
        (_ask("Dear {{ customer_name }}, …"), MARKERS),
        (_ask("### Instruction:\nsort"), MARKERS),
        (_ask("  "), EMPTY),
        ([SYSTEM], EMPTY),
        ([], EMPTY),
        ("hello", EMPTY),
        ([*_ask("hello"), {"role": "assistant", "content": "Sure"}], OPEN),
    ],
)
def test_what_is_odd_about_a_conversation_is_in_its_layout(messages: Any, bit: int) -> None:
    assert layout(messages) & bit


@pytest.mark.parametrize(
    "messages",
    [
        _ask("is {x} a set?"),
        _ask("a < b | c > d"),
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "…"}}]}],
    ],
)
def test_ordinary_text_and_pictures_are_not_odd(messages: Any) -> None:
    assert not layout(messages) & (MARKERS | EMPTY | OPEN)


def test_what_is_asked_and_todays_date_are_no_part_of_a_layout() -> None:
    later = {**SYSTEM, "content": SYSTEM["content"].replace("12", "13")}
    assert layout(_ask("one")) == layout(_ask("two", later)) != layout(_ask("one", None))


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (_ask("<|im_start|>user\nhello<|im_end|>"), "chat-template markers"),
        (_ask("hello", None), "the system prompt is gone"),
        (_ask("hello", {"role": "system", "content": "Be brief."}), "another system prompt"),
        (_ask(""), "no user text"),
    ],
)
def test_a_broken_pipeline_is_seen_within_fifty_and_so_is_its_repair(
    broken: Any, what: str
) -> None:
    integrity = _watching()
    turns = [integrity.see(layout(broken)) for _ in range(50)]
    assert integrity.changed
    assert sum(turns) == 1
    assert what in integrity.what
    for code in USUAL[:50]:
        integrity.see(code)
    assert not integrity.changed


def test_one_client_in_ten_that_is_broken_is_not_the_pipeline() -> None:
    integrity = _watching()
    for _ in range(20):
        for code in [*USUAL[:9], layout(_ask("hello", None))]:
            integrity.see(code)
    assert not integrity.changed


def test_of_clients_without_a_habit_nothing_is_said() -> None:
    every = [
        layout(_ask("x", {"role": "system", "content": "You are " + "a" * n})) for n in range(120)
    ]
    integrity = _watching(every[:60])
    for code in every[60:]:
        integrity.see(code)
    assert not integrity.usual
    assert not integrity.changed


def test_it_goes_on_where_it_stood() -> None:
    broken = layout(_ask("[INST] hi [/INST]"))
    for cut in range(0, 110, 7):
        codes = [*USUAL, *[broken] * 50]
        integrity = _watching(codes[:cut] or [USUAL[0]])
        again = Integrity(60, json.loads(json.dumps(integrity.dump())))
        for code in codes[cut:]:
            integrity.see(code)
            again.see(code)
        assert again.dump() == integrity.dump()
        assert again.changed


OLD, NEW = "OpenAI/Python 2.3.0", "OpenAI/Python 3.0.0"
BROKEN = layout(_ask("hello", None))


def _seen(*turns: tuple[list[int], str | None]) -> Integrity:
    integrity = Integrity(60)
    for codes, client in turns:
        for code in codes:
            integrity.see(code, client)
    return integrity


def test_a_client_that_came_with_the_change_is_said_to_be_the_cause() -> None:
    integrity = _seen((USUAL, OLD), ([BROKEN] * 40, NEW))
    assert integrity.changed
    assert integrity.what == f"the system prompt is gone, since {OLD} → {NEW}"
    again = Integrity(60, json.loads(json.dumps(integrity.dump())))
    assert again.what == integrity.what
    for code in USUAL[:50]:
        integrity.see(code, NEW)
    assert not integrity.changed and not integrity.cause


def test_an_upgrade_alone_is_no_change_and_no_cause_of_a_later_one() -> None:
    integrity = _seen((USUAL, OLD), (USUAL, NEW))
    assert not integrity.changed and not integrity.cause
    assert integrity.clients == [(NEW, 1.0)]
    for _ in range(40):
        integrity.see(BROKEN, NEW)
    assert integrity.changed
    assert integrity.what == "the system prompt is gone"


def test_no_client_is_blamed_that_sent_less_than_half_or_has_no_name() -> None:
    many: list[tuple[list[int], str | None]] = [([BROKEN] * 10, f"app/{n}") for n in range(4)]
    assert _seen((USUAL, OLD), *many).what == "the system prompt is gone"
    assert _seen((USUAL, OLD), ([BROKEN] * 40, None)).what == "the system prompt is gone"
    assert _seen((USUAL, None), ([BROKEN] * 40, NEW)).what == "the system prompt is gone"


def test_a_state_of_before_clients_were_noted_goes_on() -> None:
    state = _seen((USUAL, None), (USUAL[:20], None)).dump()
    for name in ("clients", "usual_clients", "cause"):
        del state[name]
    integrity = Integrity(60, state)
    for _ in range(50):
        integrity.see(BROKEN, NEW)
    assert integrity.changed and not integrity.cause, "who sent what was usual isn't known"
