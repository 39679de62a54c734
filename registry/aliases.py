"""Aliases: the names that tenants call. Swap, canary, promotion and rollback are one row update."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import ForeignKeyConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.adapters import Adapter
from registry.database import Base, Database, bump, now, queue
from registry.errors import AlreadyExists, InvalidTransition, NotFound, NothingBefore, NotServable
from registry.names import check_name
from registry.ranges import LONGEST_WAIT_MS, check_choice, check_number, check_whole
from registry.tenants import Tenant
from registry.versions import Version, move

FALLBACKS = ("fail", "wait", "previous", "base")
STICKY = ("conversation", "user", "none")


class Alias(Base):
    """(tenant, name) → the live version, and what to do when it can't be served.

    `fallback`: "fail" answers 503; "wait" tries again for up to `wait_ms`; "previous" serves the
    version that was live before; "base" serves the base model. Always labelled, never silent.

    `canary_weight` (0…1) of the traffic goes to `canary`, split by what `sticky` names: the
    conversation, the request's `user`, or nothing (each request by itself). `shadow_share` (0…1)
    is copied to `shadow`, which never answers.
    """

    __tablename__ = "aliases"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant", "adapter"], ["adapters.tenant", "adapters.name"], ondelete="CASCADE"
        ),
    )

    tenant: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    adapter: Mapped[str]
    live: Mapped[str | None]
    previous: Mapped[str | None]
    canary: Mapped[str | None]
    canary_weight: Mapped[float] = mapped_column(default=0.0)
    shadow: Mapped[str | None]
    shadow_share: Mapped[float] = mapped_column(default=0.0)
    sticky: Mapped[str] = mapped_column(default="conversation", server_default="conversation")
    fallback: Mapped[str] = mapped_column(default="base")
    wait_ms: Mapped[int] = mapped_column(default=2000)
    updated_at: Mapped[float] = mapped_column(default=now)


class Aliases:
    """Aliases in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, tenant: str, name: str, adapter: str, **fields: object) -> Alias:
        """A new alias, with some of the routing fields that `update` takes.

        Raises InvalidName, InvalidValue, AlreadyExists, NotFound (the adapter), TypeError.
        """
        check_name("alias", name)
        _check(fields)
        with self._database.write() as session:
            queue(session, "aliases")
            if session.get(Alias, (tenant, name)) is not None:
                raise AlreadyExists("alias", f"{tenant}/{name}")
            alias = _add(session, tenant, name, adapter)
            _set(session, alias, fields)
            bump(session)
        return alias

    def ensure(
        self, tenant: str, name: str, adapter: str, *, fallback: str = "base", wait_ms: int = 2000
    ) -> Alias:
        """The alias, made if it isn't there; a tenant's first alias becomes its default.

        Raises InvalidName, InvalidValue, NotFound (the adapter).
        """
        check_name("alias", name)
        _check({"fallback": fallback, "wait_ms": wait_ms})
        with self._database.write() as session:
            queue(session, "aliases")
            alias = session.get(Alias, (tenant, name))
            if alias is None:
                alias = _add(session, tenant, name, adapter)
                alias.fallback, alias.wait_ms = fallback, wait_ms
                bump(session)
        return alias

    def get(self, tenant: str, name: str) -> Alias:
        """Raises NotFound."""
        with self._database.read() as session:
            alias = session.get(Alias, (tenant, name))
        if alias is None:
            raise NotFound("alias", f"{tenant}/{name}")
        return alias

    def all(self, tenant: str | None = None) -> list[Alias]:
        """By tenant and name; of one tenant if named."""
        query = select(Alias).order_by(Alias.tenant, Alias.name)
        if tenant is not None:
            query = query.where(Alias.tenant == tenant)
        with self._database.read() as session:
            return [*session.scalars(query)]

    def of_adapter(self, tenant: str, adapter: str) -> list[Alias]:
        """The aliases that point at an adapter's versions."""
        return [alias for alias in self.all(tenant) if alias.adapter == adapter]

    def flip(self, tenant: str, name: str, digest: str, *, at: float | None = None) -> Alias:
        """Make a version live in one transaction; the one before it stays as `previous`. `at` is
        the moment (seconds since the epoch), now if not given.

        The version's state becomes live; the old one's stays live until `retire` (requests that
        began on it are still draining). Raises NotFound, InvalidTransition.
        """
        with self._database.write() as session:
            alias = session.get(Alias, (tenant, name), with_for_update=True)
            if alias is None:
                raise NotFound("alias", f"{tenant}/{name}")
            version = session.get(Version, digest, with_for_update=True)  # `retire` waits for it
            if version is None or (version.tenant, version.adapter) != (tenant, alias.adapter):
                raise NotFound("version", digest[:12])
            if version.state == "rejected":
                raise InvalidTransition("version", version.served_name, "rejected", "live")
            if version.state != "live":
                move(session, digest, "live")
            if alias.live != digest:
                alias.previous = alias.live
                alias.live = digest
                alias.canary, alias.canary_weight = None, 0.0
                alias.updated_at = now() if at is None else at
            bump(session)
        return alias

    def retire(self, digest: str) -> bool:
        """Retire a version that no alias points at any more; False if one still does."""
        with self._database.write() as session:
            version = session.get(Version, digest, with_for_update=True)  # `flip` waits for it
            if session.scalar(select(Alias).where(Alias.live == digest).limit(1)) is not None:
                return False
            if version is None or version.state != "live":
                return False
            move(session, digest, "retired")
            bump(session)
        return True

    def update(self, tenant: str, name: str, **fields: object) -> Alias:
        """Set routing fields (fallback, wait_ms, sticky, canary…, shadow…).

        A canary or a shadow is a digest; None ends it, and with it its share. Raises NotFound (the
        alias, or a version that is not its adapter's), NotServable, InvalidValue, TypeError (no
        such field).
        """
        _check(fields)
        with self._database.write() as session:
            alias = session.get(Alias, (tenant, name), with_for_update=True)
            if alias is None:
                raise NotFound("alias", f"{tenant}/{name}")
            _set(session, alias, fields)
            alias.updated_at = now()
            bump(session)
        return alias

    def take_off(self, tenant: str, adapter: str, digest: str) -> dict[str, str]:
        """End a version's part in the traffic of its adapter's aliases as canary and as shadow;
        {alias: which of them it was, "canary" where both}. Until the transaction ends, no alias of
        the adapter can be changed."""
        taken: dict[str, str] = {}
        query = select(Alias).where(Alias.tenant == tenant, Alias.adapter == adapter)
        with self._database.write() as session:
            for alias in session.scalars(query.order_by(Alias.name).with_for_update()):
                for place in ("shadow", "canary"):
                    if getattr(alias, place) == digest:
                        _set(session, alias, {place: None})
                        alias.updated_at = now()
                        taken[alias.name] = place
            if taken:
                bump(session)
        return taken

    def roll_back(self, tenant: str, name: str, digest: str | None = None) -> tuple[Alias, str]:
        """Flip to the version that was live before, or to another that once passed the engine's
        check; the alias, and the digest it went to. Raises NotFound, NothingBefore, NotServable,
        InvalidTransition."""
        with self._database.read() as session:
            alias = session.get(Alias, (tenant, name))
            if alias is None:
                raise NotFound("alias", f"{tenant}/{name}")
            target = digest or alias.previous
            if target is None:
                raise NothingBefore(f"{tenant}/{name}")
            version = session.get(Version, target)
        if version is None or (version.tenant, version.adapter) != (tenant, alias.adapter):
            raise NotFound("version", target[:12])
        if not version.certificate:
            raise NotServable(
                version.served_name,
                "rolled back to",
                "it was never live: it has no certificate; `switchyard adapter promote "
                f"{version.served_name} --tenant {tenant}` checks it first",
            )
        return self.flip(tenant, name, target), target


_FIELDS = ("fallback", "wait_ms", "sticky", "canary", "canary_weight", "shadow", "shadow_share")


def _check(fields: Mapping[str, object]) -> None:
    unknown = fields.keys() - {*_FIELDS}
    if unknown:
        raise TypeError(f"an alias has no field {', '.join(sorted(unknown))}")
    if "fallback" in fields:
        check_choice("fallback", fields["fallback"], FALLBACKS)
    if "sticky" in fields:
        check_choice("sticky", fields["sticky"], STICKY)
    if "wait_ms" in fields:
        check_whole("wait_ms", fields["wait_ms"], 0, LONGEST_WAIT_MS)
    for share in ("canary_weight", "shadow_share"):
        if share in fields:
            check_number(share, fields[share], 0, 1)


def _add(session: Session, tenant: str, name: str, adapter: str) -> Alias:
    if session.get(Adapter, (tenant, adapter)) is None:
        raise NotFound("adapter", f"{tenant}/{adapter}")
    alias = Alias(tenant=tenant, name=name, adapter=adapter)
    session.add(alias)
    owner = session.get(Tenant, tenant)
    if owner is not None and owner.default_alias is None:
        owner.default_alias = name
    return alias


def _set(session: Session, alias: Alias, fields: Mapping[str, object]) -> None:
    for field, value in fields.items():
        setattr(alias, field, value)
    for place, share in (("canary", "canary_weight"), ("shadow", "shadow_share")):
        if place in fields:
            digest = fields[place]
            if digest is None:
                setattr(alias, share, 0.0)
            else:
                _require_fit(session, alias, str(digest), place)


def _require_fit(session: Session, alias: Alias, digest: str, place: str) -> None:
    """A shadow only has to be one that was not rejected: it never answers anybody. A candidate is
    one no more, so that the swapper doesn't make it live."""
    version = session.get(Version, digest, with_for_update=True)
    if version is None or (version.tenant, version.adapter) != (alias.tenant, alias.adapter):
        raise NotFound("version", digest[:12])
    if version.state == "rejected":
        raise NotServable(version.served_name, f"the {place}", "it was rejected")
    if place == "canary" and not version.certificate and version.verdict != "promote":
        raise NotServable(
            version.served_name,
            "the canary",
            f"its gate's verdict is {version.verdict!r}, and no engine has certified it",
        )
    if version.state in ("candidate", "held") or (place, version.state) == ("canary", "shadow"):
        move(session, digest, place)
