"""A snapshot: everything that routing needs to know, in memory, at one moment.

Read in one transaction, so it is consistent; immutable, so requests can share it without locks. A
router keeps its last one when the database is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select

from registry.aliases import Alias
from registry.database import Database, Revision, now
from registry.engines import Engine, Placement
from registry.tenants import ApiKey, Tenant
from registry.versions import Version


@dataclass(frozen=True)
class Snapshot:
    """`keys` maps a key's SHA-256 (hex) to its row; expiry is for the reader to check."""

    revision: int = 0
    taken_at: float = 0.0
    keys: Mapping[str, ApiKey] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    aliases: Mapping[tuple[str, str], Alias] = field(default_factory=dict)
    """By (tenant, alias name)."""
    versions: Mapping[str, Version] = field(default_factory=dict)
    """By digest; rejected ones are left out: they must never be routable."""
    served: Mapping[str, Version] = field(default_factory=dict)
    """The same by served name."""
    engines: tuple[Engine, ...] = ()
    placements: Mapping[tuple[str, str], Placement] = field(default_factory=dict)
    """By (engine id, digest)."""


def revision(database: Database) -> int:
    """The routing revision: cheap to ask for, and moved by every change that a snapshot shows."""
    with database.read() as session:
        row = session.get(Revision, "routing")
        return row.value if row else 0


def take(database: Database) -> Snapshot:
    """Read a snapshot."""
    with database.read() as session:
        row = session.get(Revision, "routing")
        versions = [*session.scalars(select(Version).where(Version.state != "rejected"))]
        return Snapshot(
            revision=row.value if row else 0,
            taken_at=now(),
            keys={
                key.hash: key
                for key in session.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None)))
            },
            tenants={tenant.name: tenant for tenant in session.scalars(select(Tenant))},
            aliases={(a.tenant, a.name): a for a in session.scalars(select(Alias))},
            versions={version.digest: version for version in versions},
            served={version.served_name: version for version in versions},
            engines=tuple(session.scalars(select(Engine).order_by(Engine.id))),
            placements={(p.engine_id, p.digest): p for p in session.scalars(select(Placement))},
        )
