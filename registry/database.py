"""The database behind the registry: connections, transactions, migrations.

SQLite (WAL) or PostgreSQL, chosen by URL. Knows nothing about tenants or adapters.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import JSON, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from registry.errors import DatabaseUnavailable, SchemaOutdated

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
            hide_parameters=True,  # an error's text would else show tenants' texts and key hashes
            connect_args={"timeout": 30} if self.is_sqlite else {"connect_timeout": 5},
        )
        if self.is_sqlite:
            event.listen(self.engine, "connect", _sqlite_connect)
            event.listen(self.engine, "begin", _sqlite_begin)
        else:
            event.listen(self.engine, "connect", _postgres_connect)
        # PostgreSQL's default shows each statement what was committed meanwhile: not one view.
        one_view = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reader = self.engine.execution_options(**one_view)
        self._whole: ContextVar[Session | None] = ContextVar("whole", default=None)
        self._shown = f"{parsed.get_backend_name()}://{parsed.host or ''}/{parsed.database or ''}"

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A read transaction: one consistent view; within `whole` a part of that. Raises
        DatabaseUnavailable."""
        joined = self._whole.get()
        if joined is not None:
            yield joined
            return
        with (
            self._available(),
            Session(self._reader, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A write transaction: committed when the block ends, rolled back if it raises; within
        `whole` a part of that. Raises DatabaseUnavailable.
        """
        joined = self._whole.get()
        if joined is not None:
            yield joined
            joined.flush()
            return
        engine = self.engine.execution_options(**{_WRITE: True})
        with (
            self._available(),
            Session(engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def whole(self) -> Iterator[None]:
        """One write transaction for all that this thread reads and writes in the block: all of it
        is kept, or nothing. Raises DatabaseUnavailable."""
        with self.write() as session:
            before = self._whole.set(session)
            try:
                yield
            finally:
                self._whole.reset(before)

    def migrate(self) -> None:
        """Bring the schema to this code's revision; safe to call from several processes at once."""
        engine = self.engine.execution_options(**{_WRITE: True})
        with self._available(), engine.begin() as connection:
            if not self.is_sqlite:  # SQLite's write lock, taken at BEGIN, does the same
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            config = _alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def require_current(self) -> None:
        """Raise SchemaOutdated unless the schema is at this code's revision."""
        expected = ScriptDirectory.from_config(_alembic_config()).get_current_head()
        with self._available(), self.engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        if found != expected:
            raise SchemaOutdated(found, str(expected))

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()

    @contextmanager
    def _available(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            # SQLite says only DatabaseError of a file that is damaged or no database.
            if not isinstance(error, OperationalError) and type(error) is not DatabaseError:
                raise  # a mistake of ours: a broken constraint, a wrong statement
            reason = " ".join(str(error.orig).split())
            raise DatabaseUnavailable(self._shown, reason) from error


def bump(session: Session, name: str = "routing") -> None:
    """Note, in the same transaction, that something changed that routers must see."""
    row = session.get(Revision, name, with_for_update=True)
    if row is None:
        queue(session, "revisions")
        row = session.get(Revision, name, with_for_update=True)
    if row is None:
        session.add(Revision(name=name, value=1))
    else:
        row.value += 1


def queue(session: Session, what: str) -> None:
    """Wait for other transactions that look whether `what` is there before they add it.

    Until this one ends. SQLite's write transactions wait for one another anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0))))


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
    # secure_delete: text that was forgotten must not stay in the file's free pages.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON", "secure_delete=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _postgres_connect(connection: Any, _record: Any) -> None:
    from psycopg.types.string import StrDumper  # only here: SQLite's users need no psycopg

    class WithoutNul(StrDumper):
        """PostgreSQL's text has no NUL, and a client may send one: it becomes U+FFFD."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd"))

    connection.adapters.register_dumper(str, WithoutNul)


def _sqlite_begin(connection: Any) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
