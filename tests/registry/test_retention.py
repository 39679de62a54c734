"""Forgetting: by age, for one tenant, the text alone, or all of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry import Registry
from registry.database import Database
from registry.errors import NotFound
from registry.exchanges import Exchange
from registry.retention import Forgotten
from tests.registry.making import make_exchange


@pytest.fixture
def served(registry: Registry) -> Registry:
    """Two tenants with ten exchanges each, with text, a second apart from 1000 on."""
    for tenant in ("acme", "lex"):
        registry.tenants.create(tenant)
        registry.exchanges.add([make_exchange(n, tenant, f"Ticket {n}") for n in range(10)])
    return registry


def with_text(registry: Registry, tenant: str | None = None) -> int:
    """How many exchanges hold any."""
    rows = registry.exchanges.since(0, tenant=tenant)
    return sum(row.messages is not None or row.answer is not None for row in rows)


def test_old_exchanges_can_be_forgotten_for_one_tenant_or_all(served: Registry) -> None:
    assert served.retention.forget_before(1005.0, "acme") == 5
    assert served.retention.forget_before(1008.0) == 3 + 8
    assert len(served.exchanges.since(0)) == 4


def test_what_was_said_of_an_exchange_goes_with_it(served: Registry) -> None:
    for number in (1, 8):
        served.exchanges.give_feedback("acme", f"chatcmpl-acme-{number}", correction="billing")
    served.retention.forget_before(1005.0)
    [left] = served.corrections.of("acme", "tickets")
    assert left.exchange_id == "chatcmpl-acme-8"


def test_forgetting_goes_in_steps_the_oldest_first(served: Registry) -> None:
    assert served.retention.forget_before(1002.0, limit=3) == 3
    assert served.retention.forget_before(1002.0, limit=3) == 1
    assert min(row.created_at for row in served.exchanges.since(0)) == 1002.0


def test_old_text_goes_and_its_row_stays(served: Registry) -> None:
    assert served.retention.forget_text_before(1004.0, limit=5) == 5
    assert served.retention.forget_text_before(1004.0) == 3
    assert served.retention.forget_text_before(1004.0) == 0
    assert served.retention.forget_text_before(1006.0, since=1005.0) == 2
    rows = served.exchanges.since(0)
    assert len(rows) == 20 and with_text(served) == 20 - 8 - 2
    assert all(row.sketch for row in rows)


def test_an_exchange_without_text_has_none_to_forget(registry: Registry) -> None:
    registry.tenants.create("acme")
    registry.exchanges.add([make_exchange(1)])
    registry.exchanges.add([{**vars(make_exchange(2)), "messages": None, "answer": None}])
    assert registry.retention.forget_text_before(9e9) == 0


def test_a_tenants_exchanges_and_feedback_can_be_deleted(served: Registry) -> None:
    served.exchanges.give_feedback("acme", "chatcmpl-acme-1", correction="billing")
    assert served.retention.forget("acme") == Forgotten(10, 1)
    assert served.exchanges.since(0, tenant="acme") == []
    assert len(served.exchanges.since(0)) == with_text(served, "lex") == 10
    assert served.corrections.of("acme", "tickets") == []


@pytest.mark.parametrize("text_only", [False, True])
def test_a_deletion_goes_in_steps_so_that_others_may_write_meanwhile(
    served: Registry, monkeypatch: pytest.MonkeyPatch, text_only: bool
) -> None:
    for number in range(3):
        served.exchanges.give_feedback("acme", f"chatcmpl-acme-{number}", correction="billing")
    left: list[int] = []
    write = Database.write

    @contextmanager
    def watched(database: Database) -> Iterator[Session]:
        with write(database) as session:
            yield session
        with database.read() as session:
            left.append(session.scalar(remaining) or 0)

    there = Exchange.answer.is_not(None) if text_only else Exchange.id.is_not(None)
    remaining = select(func.count()).where(there, Exchange.tenant == "acme")
    with monkeypatch.context() as patch:
        patch.setattr(Database, "write", watched)
        assert served.retention.forget("acme", text_only=text_only, at_once=4) == Forgotten(10, 3)
    assert left == [6, 2, 0, 0]
    assert with_text(served, "lex") == 10


def test_who_follows_misses_nothing_after_a_deletion(served: Registry) -> None:
    """The newest rows go: were their numbers given again, what comes next would be behind."""
    served.exchanges.give_feedback("lex", "chatcmpl-lex-1", rating=1.0)
    read = served.exchanges.last_number()
    [heard] = served.outcomes.said_since(0, "lex", "tickets")
    served.retention.forget("lex")
    served.exchanges.add([make_exchange(n, tenant) for tenant in ("acme", "lex") for n in (20, 21)])
    served.exchanges.give_feedback("lex", "chatcmpl-lex-21", rating=1.0)
    assert len(served.exchanges.since(read)) == 4
    assert len(served.outcomes.said_since(heard.number, "lex", "tickets")) == 1


def test_of_a_tenants_exchanges_the_text_alone_can_be_deleted(served: Registry) -> None:
    served.exchanges.give_feedback("acme", "chatcmpl-acme-1", rating=-1.0, correction="billing")
    served.exchanges.give_feedback("acme", "chatcmpl-acme-2", rating=1.0)  # keeps no text itself
    assert served.retention.forget("acme", text_only=True) == Forgotten(10, 1)
    assert served.retention.forget("acme", text_only=True) == Forgotten(0, 0)
    assert (with_text(served, "acme"), with_text(served, "lex")) == (0, 10)
    assert served.corrections.of("acme", "tickets") == []
    [figures] = served.exchanges.served("acme", "tickets", since=0.0)
    assert (figures.requests, figures.ratings, figures.rating) == (10, 2, 0.0)


def test_nobodys_exchanges_can_not_be_deleted(registry: Registry) -> None:
    with pytest.raises(NotFound, match="tenant 'ghost' does not exist"):
        registry.retention.forget("ghost")


def test_text_that_was_forgotten_is_not_in_the_file_any_more(
    sqlite_registry: Registry, tmp_path: Path
) -> None:
    def file() -> bytes:
        with sqlite_registry.database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return b"".join(path.read_bytes() for path in tmp_path.glob("registry.db*"))

    sqlite_registry.tenants.create("acme")
    text = "The quick brown fox. " * 200
    sqlite_registry.exchanges.add([make_exchange(n, text=text) for n in range(3)])
    assert b"quick brown fox" in file()
    sqlite_registry.retention.forget("acme", text_only=True)
    assert b"quick brown fox" not in file()
