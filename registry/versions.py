"""Versions: immutable sets of adapter files, and how far each has come on its way to traffic.

candidate → shadow → canary → live → retired      (a retired version may come back: rollback)
    │            └───────┴──→ rejected            (a human may make it a candidate again)
    ├───────────────────────→ rejected
    └──→ held ──→ any of the above                (a human, or an alias, may want it after all)

A held version was not promoted, but the engine serves it rightly: it answers to its own name, and
no alias stands for it. That is what becomes of a checkpoint, and of a tenant's own fine-tune.

Naming a candidate in an alias as its shadow or canary makes it one. None of them meets traffic
before the engine's effect and parity check (`certificate`); asking for it to be live (`force`)
makes a candidate of it again, for the swapper to take.
"""

from __future__ import annotations

from sqlalchemy import ForeignKeyConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.adapters import Adapter
from registry.database import Base, Database, JsonObject, bump, now, queue
from registry.errors import AlreadyExists, InvalidTransition, NotFound, NotServable
from registry.names import served_name

TRANSITIONS: dict[str, frozenset[str]] = {
    "candidate": frozenset({"shadow", "canary", "live", "held", "rejected"}),
    "shadow": frozenset({"candidate", "canary", "live", "rejected"}),
    "canary": frozenset({"candidate", "live", "rejected"}),
    "live": frozenset({"retired", "rejected"}),
    "retired": frozenset({"live", "candidate"}),
    "held": frozenset({"candidate", "shadow", "canary", "live", "rejected"}),
    "rejected": frozenset({"candidate"}),
}


ON_ITS_WAY = ("candidate", "shadow", "canary")
"""States of a version that may still go live by itself."""


class Version(Base):
    """One trained adapter. `digest` (64 hex) is the SHA-256 of its manifest of file digests.

    `manifest` says what it is (base, rank, modules, data); `evaluation` how well it did;
    `verdict` is "promote", "reject" or "insufficient" with `reasons`; `certificate` holds the
    engine's effect and parity figures once they were measured. `step` is that of a checkpoint.
    """

    __tablename__ = "versions"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "adapter"], ["adapters.tenant", "adapters.name"], ondelete="CASCADE"
        ),
    )

    digest: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    adapter: Mapped[str]
    served_name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(default="candidate", index=True)
    state_at: Mapped[float] = mapped_column(default=now)
    created_at: Mapped[float] = mapped_column(default=now)
    parent: Mapped[str | None]
    job_id: Mapped[str | None]
    manifest: Mapped[JsonObject] = mapped_column(default=dict)
    evaluation: Mapped[JsonObject] = mapped_column(default=dict)
    verdict: Mapped[str]
    reasons: Mapped[JsonObject] = mapped_column(default=dict)
    certificate: Mapped[JsonObject] = mapped_column(default=dict)
    step: Mapped[int | None]

    @property
    def fine_tuned_name(self) -> str:
        """What OpenAI's fine-tuning API calls it: `ft:<base>:<tenant>:<adapter>:<12 digits>`, with
        `:ckpt-step-<step>` behind it for a checkpoint."""
        name = f"ft:{self.manifest.get('base', '')}:{self.tenant}:{self.adapter}:{self.short}"
        return name if self.step is None else f"{name}:ckpt-step-{self.step}"

    @property
    def short(self) -> str:
        """First 12 digits of the digest: what people and the engine see."""
        return self.digest[:12]


class Versions:
    """Versions in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def publish(
        self,
        tenant: str,
        adapter: str,
        digest: str,
        *,
        manifest: JsonObject,
        evaluation: JsonObject,
        verdict: str,
        reasons: JsonObject | None = None,
        parent: str | None = None,
        job_id: str | None = None,
        step: int | None = None,
    ) -> Version:
        """A new candidate; a checkpoint of a job if there is a `step`.

        Publishing the same content again returns the version there is. Raises NotFound (the
        adapter); AlreadyExists when another one owns that digest.
        """
        with self._database.write() as session:
            queue(session, "versions")
            queue(session, "contents")
            found = session.get(Version, digest)
            if found is not None:
                if (found.tenant, found.adapter) != (tenant, adapter):
                    raise AlreadyExists("version", digest[:12])
                return found
            if session.get(Adapter, (tenant, adapter)) is None:
                raise NotFound("adapter", f"{tenant}/{adapter}")
            version = Version(
                digest=digest,
                tenant=tenant,
                adapter=adapter,
                served_name=served_name(adapter, digest),
                parent=parent,
                job_id=job_id,
                manifest=manifest,
                evaluation=evaluation,
                verdict=verdict,
                reasons=reasons or {},
                step=step,
            )
            session.add(version)
            bump(session)
        return version

    def get(self, digest: str) -> Version:
        """By whole digest. Raises NotFound."""
        with self._database.read() as session:
            version = session.get(Version, digest)
        if version is None:
            raise NotFound("version", digest[:12])
        return version

    def find(self, tenant: str, name: str) -> Version:
        """A tenant's version by served name, digest or digest prefix (≥ 6). Raises NotFound."""
        prefix = name.rpartition("@")[2]
        query = select(Version).where(Version.tenant == tenant)
        if len(prefix) >= 6 and all(c in "0123456789abcdef" for c in prefix):
            query = query.where(Version.digest.startswith(prefix, autoescape=True))
            with self._database.read() as session:
                found: list[Version] = [*session.scalars(query.limit(2))]
            if len(found) == 1 and ("@" not in name or found[0].served_name.startswith(name)):
                return found[0]
        raise NotFound("version", name)

    def all(
        self,
        tenant: str | None = None,
        adapter: str | None = None,
        state: str | None = None,
        *,
        checkpoints: bool = False,
    ) -> list[Version]:
        """Oldest first; with the checkpoints of jobs only if they are asked for."""
        query = select(Version).order_by(Version.created_at, Version.digest)
        if not checkpoints:
            query = query.where(Version.step.is_(None))
        if tenant is not None:
            query = query.where(Version.tenant == tenant)
        if adapter is not None:
            query = query.where(Version.adapter == adapter)
        if state is not None:
            query = query.where(Version.state == state)
        with self._database.read() as session:
            return [*session.scalars(query)]

    def move(self, digest: str, state: str, reasons: JsonObject | None = None) -> Version:
        """Change the state; `reasons` are merged into what is known. Raises InvalidTransition."""
        with self._database.write() as session:
            version = move(session, digest, state)
            if reasons:
                version.reasons = {**version.reasons, **reasons}
            bump(session)
        return version

    def force(self, digest: str, by: str) -> Version:
        """A human's (or the loop's) wish to have this version live: candidate again, verdict
        "promote". The engine's effect and parity check still stands between it and traffic."""
        with self._database.write() as session:
            version = session.get(Version, digest)
            if version is None:
                raise NotFound("version", digest[:12])
            if version.state != "candidate":
                version = move(session, digest, "candidate")
            version.verdict = "promote"
            version.reasons = {**version.reasons, "requested_by": by}
            bump(session)
        return version

    def decline(self, digest: str, reason: str) -> bool:
        """Reject a version on its way to traffic; False: it was rejected before, and stays as it
        was. Raises NotFound, NotServable (it is not on its way)."""
        with self._database.write() as session:
            version = session.get(Version, digest, with_for_update=True)
            if version is None:
                raise NotFound("version", digest[:12])
            if version.state == "rejected":
                return False
            if version.state not in ON_ITS_WAY:
                back = "; `switchyard adapter rollback` takes it back"
                why = f"it is {version.state!r}{back if version.state == 'live' else ''}"
                raise NotServable(version.served_name, "declined", why)
            move(session, digest, "rejected")
            version.reasons = {**version.reasons, "rejected_because": reason}
            bump(session)
        return True

    def certify(self, digest: str, certificate: JsonObject) -> Version:
        """Keep the engine's effect and parity figures. Raises NotFound."""
        with self._database.write() as session:
            version = session.get(Version, digest)
            if version is None:
                raise NotFound("version", digest[:12])
            version.certificate = certificate
            bump(session)
        return version


def move(session: Session, digest: str, state: str) -> Version:
    """Change a version's state inside a transaction of the caller's."""
    version = session.get(Version, digest, with_for_update=True)
    if version is None:
        raise NotFound("version", digest[:12])
    if state not in TRANSITIONS[version.state]:
        raise InvalidTransition("version", version.served_name, version.state, state)
    version.state = state
    version.state_at = now()
    return version
