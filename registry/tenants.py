"""Tenants and their keys. A key is shown once, at birth; only its SHA-256 is kept."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import ForeignKey, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Base, Database, bump, now, queue
from registry.errors import AlreadyExists, NotFound
from registry.names import check_name, new_id

KEY_PREFIX = "sk-sy-"


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


@dataclass(frozen=True)
class NewKey:
    """A key at birth: the only moment at which its secret can be read."""

    id: str
    tenant: str
    secret: str
    hint: str


def hash_key(secret: str) -> str:
    """SHA-256 of a key, hex. Keys carry 160 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Tenants:
    """Tenants and keys in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
    ) -> Tenant:
        """Raises InvalidName, AlreadyExists."""
        check_name("tenant", name)
        tenant = Tenant(
            name=name,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            tokens_per_day=tokens_per_day,
            max_concurrent=max_concurrent,
            weight=weight,
            store_text=store_text,
            auto_promote=auto_promote,
            auto_retrain=auto_retrain,
        )
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

    def update(self, name: str, **fields: object) -> Tenant:
        """Set some of Tenant's columns. Raises NotFound; TypeError for a column that is not one."""
        unknown = fields.keys() - ({*Tenant.__table__.columns.keys()} - {"name", "created_at"})
        if unknown:
            raise TypeError(f"a tenant has no field {', '.join(sorted(unknown))}")
        with self._database.write() as session:
            tenant = session.get(Tenant, name)
            if tenant is None:
                raise NotFound("tenant", name)
            for field, value in fields.items():
                setattr(tenant, field, value)
            bump(session)
        return tenant

    def delete(self, name: str) -> None:
        """Remove the tenant and its keys. Raises NotFound."""
        with self._database.write() as session:
            if session.get(Tenant, name) is None:
                raise NotFound("tenant", name)
            session.execute(delete(Tenant).where(Tenant.name == name))
            bump(session)

    def create_key(self, tenant: str, name: str = "", expires_at: float | None = None) -> NewKey:
        """A new key. Raises NotFound when there is no such tenant."""
        secret = KEY_PREFIX + secrets.token_hex(20)
        key = ApiKey(
            tenant=tenant,
            name=name,
            hash=hash_key(secret),
            hint=f"{secret[:10]}…{secret[-4:]}",
            expires_at=expires_at,
        )
        with self._database.write() as session:
            if session.get(Tenant, tenant) is None:
                raise NotFound("tenant", tenant)
            session.add(key)
            bump(session)
        return NewKey(key.id, tenant, secret, key.hint)

    def keys(self, tenant: str | None = None) -> list[ApiKey]:
        """Keys, oldest first; of one tenant if named."""
        query = select(ApiKey).order_by(ApiKey.created_at)
        if tenant is not None:
            query = query.where(ApiKey.tenant == tenant)
        with self._database.read() as session:
            return [*session.scalars(query)]

    def revoke_key(self, key_id: str) -> None:
        """From the next snapshot on the key opens nothing. Raises NotFound."""
        with self._database.write() as session:
            key = session.get(ApiKey, key_id)
            if key is None:
                raise NotFound("key", key_id)
            key.revoked_at = key.revoked_at or now()
            bump(session)
