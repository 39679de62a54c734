"""The database behind the registry: connections, transactions, migrations.

SQLite (WAL) or PostgreSQL, chosen by URL. Knows nothing about tenants or adapters.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from registry.errors import SchemaOutdated

JsonObject = dict[str, Any]

_WRITE = "switchyard_write"
_MIGRATION_LOCK = 0x5377_7963  # any constant of our own: PostgreSQL's advisory locks are numbers


class Base(DeclarativeBase):
    """Base of every row class. Times are float seconds since the epoch, UTC."""

    type_annotation_map = {JsonObject: JSON, list[Any]: JSON}  # noqa: RUF012


class Revision(Base):
    """A counter that moves with every change that routing must see."""

    __tablename__ = "revisions"

    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)


def now() -> float:
    """Seconds since the epoch, UTC: the one clock of the registry."""
    return time.time()


class Database:
    """One database; `read()` and `write()` are its transactions.

    Rows that leave a transaction are detached and stay readable. A SQLite write transaction takes
    the write lock when it begins, so that two writers queue instead of failing half-way.
    """

    def __init__(self, url: str) -> None:
        self.url = _with_driver(url)
        parsed = make_url(self.url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine: Engine = create_engine(
            self.url,
            pool_pre_ping=not self.is_sqlite,
            connect_args={"timeout": 30} if self.is_sqlite else {"connect_timeout": 5},
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _sqlite_connect)
            event.listen(self.engine, "begin", _sqlite_begin)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read transaction: one consistent view."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction: committed when the block ends, rolled back if it raises."""
        engine = self.engine.execution_options(**{_WRITE: True})
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the schema to this code's revision; safe to call from several processes at once."""
        engine = self.engine.execution_options(**{_WRITE: True})
        with engine.begin() as connection:
            if not self.is_sqlite:  # SQLite's write lock, taken at BEGIN, does the same
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def require_current(self) -> None:
        """Raise SchemaOutdated unless the schema is at this code's revision."""
        expected = ScriptDirectory.from_config(_alembic_config()).get_current_head()
        with self.engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found != expected:
            raise SchemaOutdated(found, str(expected))

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()


def bump(session: Session, name: str = "routing") -> None:
    """Note, in the same transaction, that something changed that routers must see."""
    row = session.get(Revision, name, with_for_update=True)
    if row is None:
        session.add(Revision(name=name, value=1))
    else:
        row.value += 1


def _with_driver(url: str) -> str:
    """`postgresql://` and `postgres://` mean psycopg 3 here."""
    for scheme in ("postgresql://", "postgres://"):
        if url.startswith(scheme):
            return "postgresql+psycopg://" + url.removeprefix(scheme)
    return url


def _sqlite_connect(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN comes too late to take the write lock; SQLAlchemy's page on pysqlite
    # ("Serializable isolation / Savepoints") gives this way to emit it ourselves.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _sqlite_begin(connection: Any) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
