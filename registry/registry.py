"""One object that gives access to all of the registry, handed to whoever needs it."""

from __future__ import annotations

from contextlib import AbstractContextManager

from registry import snapshot
from registry.adapters import Adapters
from registry.aliases import Aliases
from registry.contents import Contents
from registry.corrections import Corrections
from registry.database import Database
from registry.decisions import Decisions
from registry.engines import Engines
from registry.exchanges import Exchanges
from registry.files import Files
from registry.history import History
from registry.jobs import Jobs
from registry.news import News
from registry.outcomes import Outcomes
from registry.ranges import LONGEST_REASON, check_text
from registry.retention import Retention
from registry.rooms import Rooms
from registry.signals import Signals
from registry.snapshot import Snapshot
from registry.store import Store
from registry.tenants import Tenants
from registry.versions import Version, Versions


class Registry:
    """The nouns, a database and a store. Methods block: call them off an event loop's thread."""

    def __init__(self, database: Database, store: Store) -> None:
        self.database = database
        self.store = store
        self.contents = Contents(database, store)
        self.tenants = Tenants(database, self.contents)
        self.adapters = Adapters(database)
        self.versions = Versions(database)
        self.aliases = Aliases(database)
        self.engines = Engines(database)
        self.jobs = Jobs(database)
        self.files = Files(database, self.contents)
        self.exchanges = Exchanges(database)
        self.corrections = Corrections(database)
        self.outcomes = Outcomes(database)
        self.signals = Signals(database)
        self.retention = Retention(database)
        self.decisions = Decisions(database)
        self.rooms = Rooms(database)
        self.history = History(database)
        self.news = News(database)

    @classmethod
    def open(cls, database_url: str, store_url: str, *, migrate: bool = False) -> Registry:
        """Connect; with `migrate` bring the schema up to date first.

        Raises SchemaOutdated when the schema is another revision's, DatabaseUnavailable.
        """
        database = Database(database_url)
        try:
            if migrate:
                database.migrate()
            else:
                database.require_current()
            return cls(database, Store(store_url))
        except BaseException:
            database.close()
            raise

    def revision(self) -> int:
        """Moves whenever a new snapshot would differ in what routing must see."""
        return snapshot.revision(self.database)

    def snapshot(self) -> Snapshot:
        """All that routing needs, at one moment."""
        return snapshot.take(self.database)

    def whole(self) -> AbstractContextManager[None]:
        """For steps of several rows: all that is written in the block is kept, or nothing of it.
        Hold it no longer than rows need: other writers wait. Raises DatabaseUnavailable."""
        return self.database.whole()

    def upload(self, tenant: str, filename: str, data: bytes, purpose: str = "fine-tune") -> str:
        """Keep a tenant's file; its id. Raises NotFound when there is no such tenant."""
        self.tenants.get(tenant)
        digest = self.store.put_blob(data)
        file = self.files.add(tenant, filename, digest, len(data), purpose)
        self.store.put_blob(data)  # another's may have been deleted, and the same bytes with it
        return file.id

    def content(self, tenant: str, file_id: str) -> bytes:
        """A tenant's file, verified. Raises NotFound, ContentCorrupted."""
        return self.store.blob(self.files.get(tenant, file_id).digest)

    def roll_back(
        self, tenant: str, alias: str, by: str, to: str | None = None
    ) -> dict[str, str | None]:
        """Put the version that was live before back, or the one with the digest `to`, with a
        receipt. {"tenant", "alias", "from", "to"}; raises what `Aliases.roll_back` does."""
        before = self.aliases.get(tenant, alias).live
        flipped, digest = self.aliases.roll_back(tenant, alias, to)
        evidence = {"alias": alias, "from": before, "to": digest}
        self.decisions.record(
            tenant,
            flipped.adapter,
            "rollback",
            "asked for",
            by=by,
            digest=digest,
            evidence=evidence,
        )
        return {"tenant": tenant, **evidence}

    def decline(self, digest: str, by: str, because: str = "") -> Version:
        """A person's no to a version on its way to traffic: it is rejected and off all traffic, and
        a receipt says who said so and why; all of it at once. One that is rejected stays as it is.

        Raises NotFound, NotServable (it is not on its way), InvalidValue.
        """
        check_text("because", because, LONGEST_REASON)
        said = f"declined it: {because}" if because else "declined it"
        version = self.versions.get(digest)
        with self.whole():
            # Aliases first, as `flip` has it: two transactions that lock in turns would not end.
            taken = self.aliases.take_off(version.tenant, version.adapter, digest)
            if self.versions.decline(digest, f"a person {said}"):
                self.decisions.record(
                    version.tenant,
                    version.adapter,
                    "reject",
                    "declined",
                    by=by,
                    digest=digest,
                    job_id=version.job_id,
                    evidence={"reason": f"{by} {said}", "taken_off": taken},
                )
        return self.versions.get(digest)

    def close(self) -> None:
        """Give back the database's connections."""
        self.database.close()
