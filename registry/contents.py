"""Contents: which of the store's blobs and folders rows refer to; what none does is taken out.

Content is named by what it holds, so tenants, files and versions may share it: it goes when the
last row that keeps it has gone. Knows all tables by name, and nothing about what they mean.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import structlog
from sqlalchemy import ColumnElement, Select, column, select, table
from sqlalchemy.orm import Session

from registry.database import Database, Revision, queue
from registry.errors import DatabaseUnavailable
from registry.store import Store

Kind = Literal["blob", "folder"]

_log = structlog.get_logger("switchyard.registry")
_AT_ONCE = 20
"""Contents in one transaction: whoever adds rows that keep some waits for it."""


@dataclass(frozen=True)
class Reference:
    """A column with digests that keep what they name in the store. `owned`: its table says whose
    each row is."""

    kind: Kind
    table: str
    column: str
    owned: bool = True

    def where(self, *clauses: ColumnElement[bool]) -> Select[str]:
        """The digests in its rows, each once."""
        digest: ColumnElement[str] = column(self.column)
        some = select(digest).select_from(table(self.table)).distinct()
        return some.where(digest.is_not(None), *clauses)


KEEPS = (
    Reference("blob", "files", "digest"),
    Reference("blob", "engines", "meaning", owned=False),
    Reference("folder", "versions", "digest"),
    Reference("folder", "jobs", "digest"),
    Reference("folder", "jobs", "state_digest"),
    Reference("folder", "checkpoints", "digest", owned=False),
)
"""All there are: what none of these names may be removed."""
MENTIONS = (
    ("aliases", "live"),
    ("aliases", "previous"),
    ("aliases", "canary"),
    ("aliases", "shadow"),
    ("decisions", "digest"),
    ("exchanges", "digest"),
    ("feedback", "digest"),
    ("placements", "digest"),
    ("versions", "parent"),
)
"""Columns with digests that keep nothing: they name versions, whose rows keep their files for as
long as they are there."""


@dataclass(frozen=True, order=True)
class Content:
    """One blob or folder of the store."""

    kind: Kind
    digest: str


class Contents:
    """What rows keep in the store."""

    def __init__(self, database: Database, store: Store) -> None:
        self._database = database
        self._store = store

    def of(self, session: Session, tenant: str) -> list[Content]:
        """What rows of a tenant's refer to."""
        found: set[Content] = set()
        for reference in KEEPS:
            if reference.owned:
                theirs = reference.where(column("tenant") == tenant)
                found |= {Content(reference.kind, digest) for digest in session.scalars(theirs)}
        return sorted(found)

    def drop(self, contents: Iterable[Content]) -> int:
        """Take those out that no row refers to (any more); how many. To be called when the rows
        have gone for good, and not within `whole`. What can't be taken out at the moment is left
        for `sweep`, with a warning."""
        gone = 0
        for some in _pieces(sorted(contents)):
            try:
                gone += self._drop(some)
            except (OSError, DatabaseUnavailable) as error:
                _log.warning("content_not_removed", left=len(some), error=str(error))
        return gone

    def sweep(self, before: float, limit: int = 1000) -> int:
        """Take out what no row refers to and was put there before a time (seconds since the epoch),
        which is what a killed process leaves between its content and its row; how many, `limit` at
        most. Nothing where another registry keeps things, too, or this one didn't before that time:
        whoever is set up with another's store by mistake must not empty it. Raises
        DatabaseUnavailable, and what the store raises."""
        name = self._name()
        since = self._store.claim(name)
        others = [claim for claim in self._store.claims() if claim != name]
        if others:
            _log.warning("store_shared", store=self._store.url, others=others, swept=False)
        if others or since >= before:
            return 0
        there = {
            *(Content("blob", digest) for digest in self._store.blobs()),
            *(Content("folder", digest) for digest in self._store.folders()),
        }
        with self._database.read() as session:
            kept = {
                Content(reference.kind, digest)
                for reference in KEEPS
                for digest in session.scalars(reference.where())
            }
        old: list[Content] = []
        for content in sorted(there - kept):
            put_at = self._store.put_at(content.kind, content.digest)
            if len(old) < limit and put_at is not None and put_at < before:
                old.append(content)
        gone = sum(self._drop(some) for some in _pieces(old))
        return gone + self._store.remove_scraps(before)

    def _name(self) -> str:
        """What this registry is called in its store: a number that it drew once."""
        with self._database.write() as session:
            queue(session, "revisions")
            row = session.get(Revision, "registry")
            if row is None:
                row = Revision(name="registry", value=secrets.randbelow(2**31 - 1) + 1)
                session.add(row)
            return f"{row.value:08x}"

    def _drop(self, contents: list[Content]) -> int:
        with self._database.write() as session:
            # Who adds a row waits, and looks afterwards whether its content is (still) there.
            queue(session, "contents")
            left = [content for content in contents if not _is_kept(session, content)]
            for content in left:
                if content.kind == "blob":
                    self._store.remove_blob(content.digest)
                else:
                    self._store.remove(content.digest)
        return len(left)


def _is_kept(session: Session, content: Content) -> bool:
    return any(
        session.scalar(reference.where(column(reference.column) == content.digest).limit(1))
        for reference in KEEPS
        if reference.kind == content.kind
    )


def _pieces(contents: list[Content]) -> Iterator[list[Content]]:
    for first in range(0, len(contents), _AT_ONCE):
        yield contents[first : first + _AT_ONCE]
