"""What was kept long enough goes: first the text, then the exchange."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from monitoring import forgetting
from monitoring.controller import Controller
from monitoring.forgetting import DAY_S, Forgetting
from monitoring.metrics import Metrics
from monitoring.settings import ControllerSettings
from registry import Registry
from tests.registry.making import make_exchange

SETTINGS = ControllerSettings(keep_text_days=2, keep_exchanges_days=5)


def days_of(registry: Registry, *, with_text: bool = False) -> list[int]:
    """The days from which there are exchanges."""
    rows = registry.exchanges.since(0)
    return [int(row.created_at // DAY_S) for row in rows if row.answer or not with_text]


def fill(registry: Registry, days: int) -> None:
    """An exchange with text at each day's noon."""
    registry.tenants.create("acme")
    rows = [make_exchange(day, text="Hello") for day in range(days)]
    for day, row in enumerate(rows):
        row.created_at = (day + 0.5) * DAY_S
    registry.exchanges.add(rows)


def test_text_goes_before_its_exchange_does(sqlite_registry: Registry) -> None:
    fill(sqlite_registry, 10)
    today = [8.0 * DAY_S]
    forgetful = Forgetting(sqlite_registry, SETTINGS, clock=lambda: today[0])
    forgetful.tick()
    assert days_of(sqlite_registry) == [*range(3, 10)]
    assert days_of(sqlite_registry, with_text=True) == [*range(6, 10)]
    today[0] += 60.0
    sqlite_registry.exchanges.add([{**vars(make_exchange(99, text="Old")), "created_at": 1.0}])
    forgetful.tick()
    assert 0 in days_of(sqlite_registry), "it looks every ten minutes"
    today[0] += DAY_S
    forgetful.tick()
    assert days_of(sqlite_registry) == [*range(4, 10)]
    assert days_of(sqlite_registry, with_text=True) == [*range(7, 10)]


def test_texts_of_feedback_go_and_what_they_say_of_answers_stays(
    sqlite_registry: Registry,
) -> None:
    fill(sqlite_registry, 3)
    sqlite_registry.retention.forget("acme", text_only=True)
    give = sqlite_registry.exchanges.give_feedback
    prompt = {"messages": [{"role": "user", "content": "Hello"}]}
    said = [
        give("acme", f"chatcmpl-acme-{n}", correction="billing", messages=prompt) for n in range(2)
    ]
    sqlite_registry.corrections.mark_used([said[0].id], "ftjob-1")
    today = [said[1].created_at + 1.5 * DAY_S]
    settings = replace(SETTINGS, keep_exchanges_days=0)
    forgetful = Forgetting(sqlite_registry, settings, clock=lambda: today[0], at_once=1)
    forgetful.tick()
    kept = sqlite_registry.corrections.of("acme", "tickets", unused=False)
    assert [row.id for row in kept] == [row.id for row in said]
    today[0] += DAY_S
    forgetful.tick()
    assert sqlite_registry.corrections.of("acme", "tickets", unused=False) == []
    outcomes = sqlite_registry.outcomes.of("acme", "tickets", since=0.0)
    assert [outcome.corrected for outcome in outcomes] == [True, True, None]
    assert sqlite_registry.history.judged(0.0) == {"acme": (0, 2)}


def test_a_prompt_is_kept_no_longer_for_what_was_said_of_it_late(
    sqlite_registry: Registry,
) -> None:
    fill(sqlite_registry, 3)
    give = sqlite_registry.exchanges.give_feedback
    rated = give("acme", "chatcmpl-acme-0", rating=-1.0)
    assert rated.messages is None, "nothing can be learned from it"
    give("acme", "chatcmpl-acme-1", correction="billing")
    assert sqlite_registry.corrections.of("acme", "tickets")
    give("acme", "chatcmpl-acme-1", correction="delivery")  # which renews nothing
    forgetful = Forgetting(sqlite_registry, SETTINGS, clock=lambda: 3.6 * DAY_S)
    forgetful.tick()
    assert sqlite_registry.corrections.of("acme", "tickets") == []
    [said] = sqlite_registry.outcomes.said_since(rated.number, "acme", "tickets")
    assert said.corrected


def test_what_was_said_while_its_request_was_being_forgotten_goes_next_time(
    sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_registry, 1)
    read = sqlite_registry.exchanges.get("acme", "chatcmpl-acme-0")
    today = [3.0 * DAY_S]
    forgetful = Forgetting(sqlite_registry, SETTINGS, clock=lambda: today[0])
    forgetful.tick()
    monkeypatch.setattr(sqlite_registry.exchanges, "get", lambda *_: read)
    sqlite_registry.exchanges.give_feedback("acme", "chatcmpl-acme-0", correction="billing")
    assert sqlite_registry.corrections.of("acme", "tickets")
    today[0] += 3600.0
    forgetful.tick()
    assert sqlite_registry.corrections.of("acme", "tickets") == []


def test_what_no_row_names_is_swept_every_hour_and_hinders_no_forgetting(
    sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sqlite_registry, 2)
    store = sqlite_registry.store
    kept = sqlite_registry.upload("acme", "kept.jsonl", b"kept")
    orphan = store.put_blob(b"PATIENT RECORD 42")
    today = [time.time() + 0.5 * DAY_S]
    forgetful = Forgetting(sqlite_registry, SETTINGS, clock=lambda: today[0])
    forgetful.tick()
    assert store.holds_blob(orphan), "its row may be on the way"
    today[0] += DAY_S
    with monkeypatch.context() as away:
        away.setattr(store, "folders", lambda: Path("/nowhere").read_bytes())
        sqlite_registry.exchanges.add([make_exchange(99, text="Old")])
        forgetful.tick()
    assert store.holds_blob(orphan)
    assert days_of(sqlite_registry) == []
    today[0] += 3600.0
    forgetful.tick()
    assert not store.holds_blob(orphan)
    assert sqlite_registry.content("acme", kept) == b"kept"


def test_nothing_goes_where_everything_is_kept_for_ever(sqlite_registry: Registry) -> None:
    fill(sqlite_registry, 3)
    settings = replace(SETTINGS, keep_text_days=0, keep_exchanges_days=0)
    Forgetting(sqlite_registry, settings, clock=lambda: 1e6 * DAY_S).tick()
    assert days_of(sqlite_registry, with_text=True) == [0, 1, 2]


def test_more_than_one_tick_may_take_is_left_for_the_next(sqlite_registry: Registry) -> None:
    fill(sqlite_registry, 2 * forgetting._STEPS + 7)
    forgetful = Forgetting(sqlite_registry, SETTINGS, clock=lambda: 100.0 * DAY_S, at_once=2)
    forgetful.tick()
    assert len(days_of(sqlite_registry)) == 7
    forgetful.tick()
    assert days_of(sqlite_registry) == []


def test_the_controller_forgets(sqlite_registry: Registry) -> None:
    fill(sqlite_registry, 4)
    Controller(sqlite_registry, SETTINGS, Metrics(), clock=lambda: 7.0 * DAY_S).tick()
    assert days_of(sqlite_registry) == [2, 3]
    assert days_of(sqlite_registry, with_text=True) == []
