"""Tenants and their keys. A key is shown once, at birth; only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import ForeignKey, column, delete, select, table
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.contents import Contents
from registry.database import Base, Database, bump, now, queue
from registry.errors import AlreadyExists, InvalidTransition, NotFound
from registry.names import check_name, new_id
from registry.ranges import check_moment, check_number, check_tenant, check_text

KEY_PREFIX = "sk-sy-"
LONGEST_GRACE_S = 30 * 86400.0

_ALIASES = table("aliases", column("tenant"), column("name"))  # registry.aliases imports this file


class Tenant(Base):
    """Who is served. A limit may be None; `weight` is the share of a busy engine."""

    __tablename__ = "tenants"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[float] = mapped_column(default=now)
    requests_per_minute: Mapped[int | None]
    tokens_per_minute: Mapped[int | None]
    tokens_per_day: Mapped[int | None]
    max_concurrent: Mapped[int | None]
    weight: Mapped[float] = mapped_column(default=1.0)
    default_alias: Mapped[str | None]
    store_text: Mapped[bool] = mapped_column(default=False)
    """Whether prompts and answers are kept; retraining from feedback needs it."""
    auto_promote: Mapped[bool] = mapped_column(default=True)
    auto_retrain: Mapped[bool] = mapped_column(default=True)
    rollout: Mapped[str] = mapped_column(default="staged", server_default="staged")
    """How a version that the loop trained takes another's place: "staged" (shadow, canary, live)
    or "direct". What people train or promote is always direct."""
    control_share: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Share of an adapter's conversations that the base answers, to see whether it still helps."""
    cache_salt: Mapped[str] = mapped_column(default=lambda: secrets.token_hex(16))
    """Separates this tenant's prefix cache from everybody else's."""


class ApiKey(Base):
    """A tenant's key, known by its hash. `hint` is what a person may see of it."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("key-"))
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(default="")
    hash: Mapped[str] = mapped_column(unique=True)
    hint: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=now)
    expires_at: Mapped[float | None]
    revoked_at: Mapped[float | None]

    def state(self, at: float) -> str:
        """ "valid", "expired" or "revoked" at a moment (seconds since the epoch)."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= at else "valid"


@dataclass(frozen=True)
class NewKey:
    """A key at birth: the only moment at which its secret can be read."""

    id: str
    tenant: str
    secret: str
    hint: str
    name: str = ""
    created_at: float = 0.0
    expires_at: float | None = None


def hash_key(secret: str) -> str:
    """SHA-256 of a key, hex. Keys carry 160 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Tenants:
    """Tenants and keys in the registry."""

    def __init__(self, database: Database, contents: Contents) -> None:
        self._database = database
        self._contents = contents

    def create(
        self,
        name: str,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        tokens_per_day: int | None = None,
        max_concurrent: int | None = None,
        weight: float = 1.0,
        store_text: bool = False,
        auto_promote: bool = True,
        auto_retrain: bool = True,
        rollout: str = "staged",
        control_share: float = 0.0,
    ) -> Tenant:
        """Raises InvalidName, InvalidValue, AlreadyExists."""
        check_name("tenant", name)
        fields = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "tokens_per_day": tokens_per_day,
            "max_concurrent": max_concurrent,
            "weight": weight,
            "store_text": store_text,
            "auto_promote": auto_promote,
            "auto_retrain": auto_retrain,
            "rollout": rollout,
            "control_share": control_share,
        }
        check_tenant(fields)
        tenant = Tenant(name=name, **fields)
        with self._database.write() as session:
            queue(session, "tenants")
            if session.get(Tenant, name) is not None:
                raise AlreadyExists("tenant", name)
            session.add(tenant)
            bump(session)
        return tenant

    def get(self, name: str) -> Tenant:
        """Raises NotFound."""
        with self._database.read() as session:
            tenant = session.get(Tenant, name)
        if tenant is None:
            raise NotFound("tenant", name)
        return tenant

    def all(self) -> list[Tenant]:
        """All tenants, by name."""
        with self._database.read() as session:
            return [*session.scalars(select(Tenant).order_by(Tenant.name))]

    def page(self, after: str | None, limit: int) -> list[Tenant]:
        """At most `limit` tenants by name, those behind the name `after` (which may be gone)."""
        query = select(Tenant).order_by(Tenant.name).limit(limit)
        if after is not None:
            query = query.where(Tenant.name > after)
        with self._database.read() as session:
            return [*session.scalars(query)]

    def update(self, name: str, **fields: object) -> Tenant:
        """Set some of Tenant's columns.

        Raises NotFound (the tenant, or the alias that shall be the default), InvalidValue;
        TypeError for a column that is not one.
        """
        unknown = fields.keys() - ({*Tenant.__table__.columns.keys()} - {"name", "created_at"})
        if unknown:
            raise TypeError(f"a tenant has no field {', '.join(sorted(unknown))}")
        check_tenant(fields)
        default = fields.get("default_alias")
        with self._database.write() as session:
            tenant = session.get(Tenant, name, with_for_update=True)
            if tenant is None:
                raise NotFound("tenant", name)
            if default is not None and not _has_alias(session, name, str(default)):
                raise NotFound("alias", f"{name}/{default}")
            for field, value in fields.items():
                setattr(tenant, field, value)
            bump(session)
        return tenant

    def delete(self, name: str) -> None:
        """Remove the tenant with all of its rows, and from the store what no other's refer to:
        files, adapters, states of jobs. Raises NotFound."""
        with self._database.write() as session:
            if session.get(Tenant, name) is None:
                raise NotFound("tenant", name)
            theirs = self._contents.of(session, name)
            session.execute(delete(Tenant).where(Tenant.name == name))
            bump(session)
        self._contents.drop(theirs)

    def create_key(self, tenant: str, name: str = "", expires_at: float | None = None) -> NewKey:
        """A new key. Raises NotFound when there is no such tenant, InvalidValue."""
        check_text("name", name)
        check_moment("expires_at", expires_at)
        with self._database.write() as session:
            if session.get(Tenant, tenant) is None:
                raise NotFound("tenant", tenant)
            made = _born(session, tenant, name, expires_at)
            bump(session)
        return made

    def rotate_key(
        self, key_id: str, grace_s: float = 3600.0, expires_at: float | None = None
    ) -> tuple[NewKey, ApiKey]:
        """A new key in a key's place, of the same name; the old one opens for `grace_s` more.

        The new key has no end unless `expires_at` gives it one. An old key that ends sooner
        anyway does so. Raises NotFound, InvalidValue, InvalidTransition (the key opens nothing
        any more: make a new one instead).
        """
        check_number("grace_s", grace_s, 0, LONGEST_GRACE_S)
        check_moment("expires_at", expires_at)
        with self._database.write() as session:
            old = session.get(ApiKey, key_id, with_for_update=True)
            if old is None:
                raise NotFound("key", key_id)
            at = now()
            if old.state(at) != "valid":
                raise InvalidTransition("key", key_id, old.state(at), "rotated")
            new = _born(session, old.tenant, old.name, expires_at)
            ends = at + grace_s
            old.expires_at = ends if old.expires_at is None else min(old.expires_at, ends)
            bump(session)
        return new, old

    def key(self, tenant: str, key_id: str) -> ApiKey:
        """A tenant's key. Raises NotFound, also for another tenant's key."""
        with self._database.read() as session:
            key = session.get(ApiKey, key_id)
        if key is None or key.tenant != tenant:
            raise NotFound("key", key_id)
        return key

    def keys(self, tenant: str | None = None) -> list[ApiKey]:
        """Keys, oldest first; of one tenant if named."""
        query = select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)
        if tenant is not None:
            query = query.where(ApiKey.tenant == tenant)
        with self._database.read() as session:
            return [*session.scalars(query)]

    def revoke_key(self, key_id: str) -> ApiKey:
        """From the next snapshot on the key opens nothing. Raises NotFound."""
        with self._database.write() as session:
            key = session.get(ApiKey, key_id, with_for_update=True)
            if key is None:
                raise NotFound("key", key_id)
            key.revoked_at = key.revoked_at or now()
            bump(session)
        return key


def _born(session: Session, tenant: str, name: str, expires_at: float | None) -> NewKey:
    secret = KEY_PREFIX + secrets.token_hex(20)
    key = ApiKey(
        tenant=tenant,
        name=name,
        hash=hash_key(secret),
        hint=f"{secret[:10]}…{secret[-4:]}",
        expires_at=expires_at,
    )
    session.add(key)
    session.flush()
    return NewKey(key.id, tenant, secret, key.hint, name, key.created_at, expires_at)


def _has_alias(session: Session, tenant: str, name: str) -> bool:
    query = select(_ALIASES.c.name).where(_ALIASES.c.tenant == tenant, _ALIASES.c.name == name)
    return session.scalar(query) is not None
