"""The database: its schema, its transactions, and what is said when it is not there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, inspect, text

import registry.registry  # noqa: F401 - every noun, so that the metadata is whole
from registry import Registry
from registry.database import Base, Database, _alembic_config
from registry.decisions import DriftState
from registry.errors import DatabaseUnavailable, SchemaOutdated
from registry.exchanges import _columns
from registry.tenants import Tenant
from tests.registry.making import make_exchange

MIGRATE = "import sys; from registry.database import Database; Database(sys.argv[1]).migrate()"


def schema(database: Database) -> dict[str, Any]:
    """Tables with their columns, keys and indexes, as the database sees them."""
    inspector = inspect(database.engine)
    return {
        table: {
            "columns": sorted(  # later migrations can only append: the order says nothing
                (column["name"], str(column["type"]), column["nullable"])
                for column in inspector.get_columns(table)
            ),
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "foreign": sorted(
                (
                    *key["constrained_columns"],
                    key["referred_table"],
                    str(key.get("options", {}).get("ondelete")),
                )
                for key in inspector.get_foreign_keys(table)
            ),
            "unique": sorted(
                tuple(unique["column_names"]) for unique in inspector.get_unique_constraints(table)
            ),
            "indexes": sorted(str(index["name"]) for index in inspector.get_indexes(table)),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def test_migrating_from_nothing_gives_the_schema_that_the_code_declares(
    empty_database_url: str,
) -> None:
    database = Database(empty_database_url)
    database.migrate()
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    migrated = schema(database)
    with database.engine.begin() as connection:
        Base.metadata.drop_all(connection)
        Base.metadata.create_all(connection)
    assert migrated == schema(database)
    database.close()


def test_migrating_again_changes_nothing(database_url: str) -> None:
    database = Database(database_url)
    before = schema(database)
    database.migrate()
    assert schema(database) == before
    database.require_current()
    database.close()


def test_several_processes_may_migrate_at_once(empty_database_url: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, empty_database_url],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outcomes = [(p.communicate(timeout=240)[1], p.returncode) for p in processes]
    assert outcomes == [("", 0)] * 4
    database = Database(empty_database_url)
    database.require_current()
    database.close()


def test_a_schema_that_was_never_made_is_said_to_be_outdated(
    empty_database_url: str, store_url: str
) -> None:
    with pytest.raises(SchemaOutdated) as error:
        Registry.open(empty_database_url, store_url)
    head = ScriptDirectory.from_config(_alembic_config()).get_current_head()
    assert str(error.value) == (
        "the registry's schema is at revision none, this version of Switchyard expects "
        f"{head}: run `switchyard registry migrate`"
    )


def test_a_schema_of_another_version_is_said_to_be_outdated(
    database_url: str, store_url: str
) -> None:
    database = Database(database_url)
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(SchemaOutdated, match="is at revision 9999"):
        Registry.open(database_url, store_url)


def test_a_registry_can_be_opened_on_nothing_and_closed_twice(
    empty_database_url: str, store_url: str
) -> None:
    opened = Registry.open(empty_database_url, store_url, migrate=True)
    opened.tenants.create("acme")
    opened.close()
    opened.close()


def test_a_transaction_that_fails_leaves_nothing(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError), registry.database.write() as session:
        session.add(Tenant(name="acme"))
        session.flush()
        raise ZeroDivisionError
    assert registry.tenants.all() == []


def test_what_belongs_together_is_kept_whole_or_not_at_all(registry: Registry) -> None:
    with pytest.raises(RuntimeError), registry.whole():
        registry.tenants.create("acme")
        registry.adapters.create("acme", "support", "tiny")
        assert [tenant.name for tenant in registry.tenants.all()] == ["acme"], "seen from within"
        raise RuntimeError
    assert registry.tenants.all() == []
    with registry.whole():
        registry.tenants.create("acme")
        registry.adapters.create("acme", "support", "tiny")
    assert [adapter.name for adapter in registry.adapters.all("acme")] == ["support"]
    registry.tenants.create("lex")  # and from here on by itself
    assert len(registry.tenants.all()) == 2


def test_another_thread_has_no_part_in_what_is_kept_whole(registry: Registry) -> None:
    registry.tenants.create("acme")
    with ThreadPoolExecutor(1) as pool, registry.whole():
        registry.adapters.create("acme", "support", "tiny")
        seen = pool.submit(registry.adapters.all, "acme").result()
    assert seen == []


def test_sqlite_keeps_readers_and_writer_apart_and_its_foreign_keys(
    sqlite_registry: Registry,
) -> None:
    with sqlite_registry.database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    with sqlite_registry.database.write():
        assert sqlite_registry.tenants.all() == [], "a reader is not held up by a writer"


def test_an_unreachable_postgresql_is_named_without_its_password(store_url: str) -> None:
    url = "postgresql://switchyard:hush@127.0.0.1:1/registry"
    with pytest.raises(DatabaseUnavailable) as error:
        Registry.open(url, store_url)
    message = str(error.value)
    assert message.startswith("the registry's database postgresql://127.0.0.1/registry can't be")
    assert "refused" in message
    assert "SWITCHYARD_REGISTRY_DATABASE_URL" in message
    assert "hush" not in message
    assert "\n" not in message


def test_a_postgresql_that_goes_away_is_named_and_found_again(
    postgres_server: Any, postgres_template: str, store_url: str
) -> None:
    name = f"gone_{os.urandom(6).hex()}"
    create = f"CREATE DATABASE {name} TEMPLATE {postgres_template}"
    postgres_server.execute(create)
    opened = Registry.open(postgres_server.url(name), store_url)
    opened.tenants.create("acme")
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    for act in (opened.snapshot, lambda: opened.tenants.create("lex")):
        with pytest.raises(DatabaseUnavailable, match=f'database "{name}" does not exist'):
            act()
    postgres_server.execute(create)
    assert opened.tenants.all() == []
    opened.close()
    postgres_server.execute(f"DROP DATABASE {name}")


def test_a_connection_that_the_server_cut_is_replaced_without_a_word(
    postgres_server: Any, postgres_template: str, store_url: str
) -> None:
    name = f"cut_{os.urandom(6).hex()}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE {postgres_template}")
    opened = Registry.open(postgres_server.url(name), store_url)
    opened.tenants.create("acme")
    postgres_server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    assert [tenant.name for tenant in opened.tenants.all()] == ["acme"]
    opened.close()
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_sqlite_file_that_is_no_database_is_named(tmp_path: Path, store_url: str) -> None:
    path = tmp_path / "registry.db"
    path.write_text("This is a letter, not a database. " * 100)
    with pytest.raises(DatabaseUnavailable, match=rf"{path} can't be used: file is not a database"):
        Registry.open(f"sqlite:///{path}", store_url)


def test_a_folder_in_place_of_the_sqlite_file_is_named(store_url: str) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.raises(DatabaseUnavailable, match="unable to open database file"),
    ):
        Registry.open(f"sqlite:///{folder}", store_url)


def test_an_error_shows_no_values(registry: Registry) -> None:
    """A failing statement's parameters may be a tenant's text or a key's hash."""
    from sqlalchemy.exc import IntegrityError

    with pytest.raises(IntegrityError) as error, registry.database.write() as session:
        session.execute(
            text(
                "INSERT INTO api_keys (id, tenant, name, hash, hint) VALUES ('1', :t, '', :h, '')"
            ),
            {"t": None, "h": "hush"},
        )
    assert "hush" not in str(error.value).split("DETAIL")[0]


def test_signals_come_with_0004_and_go_with_it(database_url: str) -> None:
    database = Database(database_url)
    with database.engine.execution_options(switchyard_write=True).begin() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        columns = {column["name"] for column in inspect(connection).get_columns("exchanges")}
        indexes = {index["name"] for index in inspect(connection).get_indexes("exchanges")}
        assert "ttft_ms" in columns and "ix_exchanges_tenant" in indexes
        assert not columns & {"valid", "refused", "repetition", "prefill_ms", "cost"}
        assert "ix_exchanges_window" not in indexes
        command.upgrade(config, "head")
    columns = [name for name, _, _ in schema(database)["exchanges"]["columns"]]
    assert {"valid", "refused", "repetition", "prefill_ms", "cost"} <= {*columns}
    database.close()


def test_a_watch_that_was_ahead_of_the_numbers_sees_again_after_0009(
    database_url: str, store_url: str
) -> None:
    """Before, SQLite gave the numbers of deleted rows again, and what had them was never seen."""
    opened = Registry.open(database_url, store_url)
    opened.tenants.create("acme")
    opened.exchanges.add([make_exchange(n) for n in range(9)])
    opened.exchanges.give_feedback("acme", "chatcmpl-acme-1", rating=1.0)
    cursor = opened.exchanges.last_number()
    [heard] = opened.outcomes.said_since(0, "acme", "tickets")
    memory = {"memory": {"said": heard.number}}
    opened.decisions.save_drift_state(
        DriftState(tenant="acme", adapter="tickets", cursor=cursor, state=memory)
    )
    opened.retention.forget("acme")
    with opened.database.engine.execution_options(switchyard_write=True).begin() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0008")
        table = Table("exchanges", MetaData(), autoload_with=connection)  # as it was then
        row = _columns(make_exchange(20, text="Where is it now?"))
        connection.execute(table.insert().values({k: v for k, v in row.items() if k in table.c}))
    opened.database.migrate()
    [kept] = opened.exchanges.since(0)
    assert kept.id == "chatcmpl-acme-20", "nothing is lost"
    opened.exchanges.add([make_exchange(21)])
    opened.exchanges.give_feedback("acme", "chatcmpl-acme-21", rating=1.0)
    assert "chatcmpl-acme-21" in [row.id for row in opened.exchanges.since(cursor)]
    assert opened.outcomes.said_since(heard.number, "acme", "tickets")
    opened.close()


def test_texts_of_feedback_from_before_0014_age_with_their_requests(
    database_url: str, store_url: str
) -> None:
    opened = Registry.open(database_url, store_url)
    opened.tenants.create("acme")
    opened.exchanges.add([make_exchange(n, text="Where is it now?") for n in (1, 2)])
    opened.exchanges.give_feedback("acme", "chatcmpl-acme-1", correction="delivery")
    with opened.database.engine.execution_options(switchyard_write=True).begin() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0013")
        assert "text_at" not in {c["name"] for c in inspect(connection).get_columns("feedback")}
    opened.database.migrate()
    assert opened.retention.forget_said_before(1001.0) == 0
    assert opened.retention.forget_said_before(1001.5) == 1
    opened.close()
