"""Exchanges and feedback: said twice is said once, and a reader that follows misses nothing."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry import Registry
from registry.errors import NotFound
from registry.exchanges import Served
from tests.registry.making import make_exchange


@pytest.fixture
def served(registry: Registry) -> Registry:
    """A registry with two tenants, so that there can be exchanges."""
    registry.tenants.create("acme")
    registry.tenants.create("lex")
    return registry


def test_a_batch_is_kept_in_order_and_can_be_followed(served: Registry) -> None:
    assert served.exchanges.last_number() == 0
    served.exchanges.add([make_exchange(n) for n in range(3)])
    served.exchanges.add([make_exchange(3), make_exchange(0, "lex")])
    rows = served.exchanges.since(0)
    assert [row.id for row in rows] == [
        "chatcmpl-acme-0",
        "chatcmpl-acme-1",
        "chatcmpl-acme-2",
        "chatcmpl-acme-3",
        "chatcmpl-lex-0",
    ]
    assert served.exchanges.last_number() == rows[-1].number
    assert [row.number for row in served.exchanges.since(0, limit=2)] == [
        row.number for row in rows[:2]
    ]
    assert [row.id for row in served.exchanges.since(rows[2].number, tenant="acme")] == [
        "chatcmpl-acme-3"
    ]


def test_a_batch_that_is_written_again_is_kept_once(served: Registry) -> None:
    served.exchanges.add([make_exchange(1), make_exchange(2)])
    served.exchanges.add([make_exchange(2), make_exchange(3), make_exchange(3)])
    assert len(served.exchanges.since(0)) == 3
    served.exchanges.add([])


def test_a_deleted_tenants_exchanges_do_not_hold_up_the_others(served: Registry) -> None:
    served.tenants.delete("lex")
    served.exchanges.add([make_exchange(1), make_exchange(1, "lex"), make_exchange(2)])
    assert [row.id for row in served.exchanges.since(0)] == ["chatcmpl-acme-1", "chatcmpl-acme-2"]


def test_text_with_signs_that_a_database_might_not_take_is_kept(served: Registry) -> None:
    text = "NUL \x00, emoji 🚂, quotes ' \" ; and \\ and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢"
    row = make_exchange(1, text=text)
    row.answer = text
    served.exchanges.add([row])
    [kept] = served.exchanges.since(0)
    assert kept.messages == {"messages": [{"role": "user", "content": text}]}
    assert kept.answer is not None
    assert kept.answer.replace("\ufffd", "\x00") == text
    assert kept.sketch == b"\x00\x01"


def test_a_reader_that_follows_many_writers_misses_nothing(served: Registry) -> None:
    """Numbers are drawn before a transaction ends: a later one must not come into sight first."""
    done = threading.Event()

    def write(writer: int) -> None:
        for batch in range(10):
            first = writer * 1000 + batch * 3
            served.exchanges.add([make_exchange(first + n) for n in range(3)])

    def write_all() -> None:
        try:
            with ThreadPoolExecutor(4) as pool:
                [*pool.map(write, range(4))]
        finally:
            done.set()

    writing = threading.Thread(target=write_all)
    writing.start()
    seen: list[str] = []
    cursor = 0
    while True:
        last = done.is_set()
        for row in served.exchanges.since(cursor):
            seen.append(row.id)
            cursor = row.number
        if last:
            break
    writing.join()
    assert len(seen) == 120
    assert len({*seen}) == 120


def test_feedback_said_again_adds_to_what_was_said(served: Registry) -> None:
    served.exchanges.add([make_exchange(n, text="Where is my parcel?") for n in (1, 2)])
    give = served.exchanges.give_feedback
    first = give("acme", "chatcmpl-acme-1", rating=-1.0, label="wrong")
    give("acme", "chatcmpl-acme-2", rating=1.0)
    again = give("acme", "chatcmpl-acme-1", correction="delivery")
    assert again.id == first.id
    assert (again.rating, again.label, again.correction) == (-1.0, "wrong", "delivery")
    third = give("acme", "chatcmpl-acme-1", rating=-0.5)
    assert (third.rating, third.label, third.correction) == (-0.5, "wrong", "delivery")
    assert len(served.corrections.of("acme", "tickets")) == 1


def test_what_is_changed_comes_into_sight_again_and_what_is_not_does_not(served: Registry) -> None:
    served.exchanges.add([make_exchange(n) for n in (1, 2)])
    give = served.exchanges.give_feedback
    first = give("acme", "chatcmpl-acme-1", rating=-1.0)
    other = give("acme", "chatcmpl-acme-2", rating=-1.0)
    same = give("acme", "chatcmpl-acme-1", rating=-1.0)
    assert (same.number, same.created_at) == (first.number, first.created_at)
    changed = give("acme", "chatcmpl-acme-1", correction="delivery")
    assert changed.number > other.number and changed.id == first.id
    assert give("acme", "chatcmpl-acme-1", correction="delivery").number == changed.number
    [said] = served.outcomes.said_since(other.number, "acme", "tickets")
    assert (said.rating, said.corrected) == (-1.0, True)


def test_feedback_from_many_at_once_is_one_row(served: Registry) -> None:
    served.exchanges.add([make_exchange(1, text="Where is my parcel?")])
    with ThreadPoolExecutor(8) as pool:
        ids = {
            *pool.map(
                lambda n: (
                    served.exchanges.give_feedback(
                        "acme", "chatcmpl-acme-1", correction=f"answer {n}"
                    ).id
                ),
                range(8),
            )
        }
    assert len(ids) == 1
    [row] = served.corrections.of("acme", "tickets")
    assert row.id in ids


def test_feedback_belongs_to_the_adapter_and_version_that_answered(served: Registry) -> None:
    exchange = make_exchange(1)
    served.exchanges.add([make_exchange(1)])
    feedback = served.exchanges.give_feedback("acme", exchange.id, rating=1.0)
    assert (feedback.tenant, feedback.adapter, feedback.digest) == (
        "acme",
        "tickets",
        exchange.digest,
    )


def test_nobody_rates_another_tenants_exchange(served: Registry) -> None:
    served.exchanges.add([make_exchange(1)])
    with pytest.raises(NotFound, match="completion 'chatcmpl-acme-1' does not exist"):
        served.exchanges.give_feedback("lex", "chatcmpl-acme-1", rating=-1.0)
    with pytest.raises(NotFound):
        served.exchanges.give_feedback("acme", "chatcmpl-nothing", rating=-1.0)


def test_a_correction_without_its_prompt_is_no_example(served: Registry) -> None:
    served.exchanges.add([make_exchange(n) for n in range(2)])
    prompt = {"messages": [{"role": "user", "content": "Where is my parcel?"}]}
    for n, messages in enumerate([None, prompt]):
        served.exchanges.give_feedback(
            "acme", f"chatcmpl-acme-{n}", correction="delivery", messages=messages
        )
    [row] = served.corrections.of("acme", "tickets")
    assert (row.exchange_id, row.messages) == ("chatcmpl-acme-1", prompt)


def test_corrections_that_no_training_can_learn_from_say_why(served: Registry) -> None:
    rows = [make_exchange(n, text="Where is my parcel?" if n else None) for n in range(4)]
    rows[1].role = "control"
    rows[2].adapter = None
    served.exchanges.add(rows)
    give = served.exchanges.give_feedback
    said = [give("acme", f"chatcmpl-acme-{n}", correction="delivery") for n in range(4)]
    whys = [served.corrections.why_unusable(row) for row in said]
    assert [bool(why) for why in whys] == [True, True, True, False]
    assert "'messages'" in str(whys[0]) and "control" in str(whys[1])
    assert served.corrections.unusable("acme", "tickets") == {whys[0]: 1, whys[1]: 1}
    [row] = served.corrections.of("acme", "tickets")
    assert row.id == said[3].id


def test_where_answers_are_labels_a_label_is_a_correction_or_agrees(served: Registry) -> None:
    kinds = {"tickets": {"labels": ["billing", "delivery"]}, "letters": {"kind": "text"}}
    for name, answers in kinds.items():
        served.adapters.create("acme", name, "switchyard-tiny", answers=answers)
    rows = [make_exchange(n, text=f"Ticket {n}") for n in range(5)]  # answered "billing"
    rows[3].adapter = "letters"
    rows[4].answer = None
    served.exchanges.add(rows)
    for n, label in enumerate(["billing", " delivery", "wrong", "delivery", "delivery"]):
        served.exchanges.give_feedback("acme", f"chatcmpl-acme-{n}", label=label)
    said = served.outcomes.said_since(0, "acme", "tickets")
    assert [word.corrected for word in said] == [False, True, None, None]
    [row] = served.corrections.of("acme", "tickets")
    assert (row.exchange_id, row.better) == ("chatcmpl-acme-1", "delivery")
    assert served.corrections.of("acme", "letters") == []
    assert served.history.judged(0.0) == {"acme": (1, 2)}
    served.corrections.mark_used([row.id], "ftjob-1")
    again = served.exchanges.give_feedback("acme", "chatcmpl-acme-1", rating=-1.0)
    assert (again.better, again.used_in_job) == ("delivery", "ftjob-1")
    agreed = served.exchanges.give_feedback("acme", "chatcmpl-acme-1", label="billing")
    assert (agreed.corrected, agreed.better) == (False, None)


def test_corrections_are_used_by_one_job(served: Registry) -> None:
    served.exchanges.add([make_exchange(n, text=f"Ticket {n}") for n in range(4)])
    for n in range(4):
        served.exchanges.give_feedback("acme", f"chatcmpl-acme-{n}", correction="delivery")
    rows = served.corrections.of("acme", "tickets")
    served.corrections.mark_used([row.id for row in rows[:3]], "ftjob-1")
    left = served.corrections.of("acme", "tickets")
    assert [row.exchange_id for row in left] == ["chatcmpl-acme-3"]
    assert len(served.corrections.of("acme", "tickets", unused=False)) == 4
    assert served.corrections.of("acme", "other") == []


def test_what_each_version_served_is_summed_up_since_a_time(served: Registry) -> None:
    rows = [make_exchange(number) for number in range(8)]
    rows[0].created_at = 1.0  # before the time that is asked for
    rows[1].fallback = "previous"
    rows[2].status, rows[2].latency_ms = 502, 9000.0
    rows[3].role = "shadow"
    rows[4].digest, rows[4].served, rows[4].fallback = None, "base", "base"
    rows[5].latency_ms = 37.5
    rows[6].adapter = "letters"
    served.exchanges.add(rows)
    served.exchanges.add([make_exchange(9, "lex")])
    served.exchanges.give_feedback("acme", rows[1].id, rating=1.0)
    served.exchanges.give_feedback("acme", rows[5].id, rating=-0.5)
    served.exchanges.give_feedback("acme", rows[7].id, correction="billing")
    version, base = served.exchanges.served("acme", "tickets", since=1000.0)
    assert version == Served(rows[1].digest, 4, 1, 1, 1, pytest.approx(62.5 / 3), 2, 0.25)
    assert base == Served(None, 1, 0, 1, 0, 12.5, 0, None)
    assert served.exchanges.served("acme", "nothing", since=0.0) == []


def test_a_correction_that_is_corrected_waits_for_a_job_again(served: Registry) -> None:
    served.exchanges.add([make_exchange(1, text="Where is my parcel?")])
    for said, waits in (("delivery", True), ("delivery", False), ("billing", True)):
        row = served.exchanges.give_feedback("acme", "chatcmpl-acme-1", correction=said)
        assert (row.used_in_job is None) == waits, said
        served.corrections.mark_used([row.id], "ftjob-1")
    assert served.corrections.of("acme", "tickets") == []
