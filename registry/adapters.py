"""Adapters: what a tenant trains. Each belongs to one tenant and one base, and has versions."""

from __future__ import annotations

from contextlib import suppress

from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Base, Database, JsonObject, bump, now, queue
from registry.errors import AlreadyExists, NotFound
from registry.names import check_name
from registry.tenants import Tenant


class Adapter(Base):
    """A line of versions. `answers` says what a good answer is: {"kind": "label"|"json"|"text",
    "labels": [...], "schema": {...}}; `training` holds the options its jobs start from."""

    __tablename__ = "adapters"

    tenant: Mapped[str] = mapped_column(
        ForeignKey("tenants.name", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    base: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=now)
    answers: Mapped[JsonObject] = mapped_column(default=dict)
    training: Mapped[JsonObject] = mapped_column(default=dict)

    def has_label(self, label: str) -> bool:
        """Whether its answers are labels, this one among them."""
        labels = self.answers.get("labels")
        of_labels = self.answers.get("kind", "label") == "label" and isinstance(labels, list)
        return of_labels and label.strip() in map(str, labels or [])


class Adapters:
    """Adapters in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        tenant: str,
        name: str,
        base: str,
        *,
        answers: JsonObject | None = None,
        training: JsonObject | None = None,
    ) -> Adapter:
        """Raises InvalidName, AlreadyExists, NotFound (the tenant)."""
        check_name("adapter", name)
        adapter = Adapter(
            tenant=tenant, name=name, base=base, answers=answers or {}, training=training or {}
        )
        with self._database.write() as session:
            queue(session, "adapters")
            if session.get(Tenant, tenant) is None:
                raise NotFound("tenant", tenant)
            if session.get(Adapter, (tenant, name)) is not None:
                raise AlreadyExists("adapter", f"{tenant}/{name}")
            session.add(adapter)
            bump(session)
        return adapter

    def get(self, tenant: str, name: str) -> Adapter:
        """Raises NotFound."""
        with self._database.read() as session:
            adapter = session.get(Adapter, (tenant, name))
        if adapter is None:
            raise NotFound("adapter", f"{tenant}/{name}")
        return adapter

    def ensure(self, tenant: str, name: str, base: str) -> Adapter:
        """The adapter, made if it isn't there."""
        try:
            return self.get(tenant, name)
        except NotFound:
            with suppress(AlreadyExists):  # somebody else made it meanwhile
                return self.create(tenant, name, base)
            return self.get(tenant, name)

    def update(self, tenant: str, name: str, **fields: JsonObject) -> Adapter:
        """Set `answers` or `training`. Raises NotFound; TypeError for another field."""
        unknown = fields.keys() - {"answers", "training"}
        if unknown:
            raise TypeError(f"an adapter has no field {', '.join(sorted(unknown))} to change")
        with self._database.write() as session:
            adapter = session.get(Adapter, (tenant, name))
            if adapter is None:
                raise NotFound("adapter", f"{tenant}/{name}")
            for field, value in fields.items():
                setattr(adapter, field, value)
        return adapter

    def all(self, tenant: str | None = None) -> list[Adapter]:
        """By tenant and name; of one tenant if named."""
        query = select(Adapter).order_by(Adapter.tenant, Adapter.name)
        if tenant is not None:
            query = query.where(Adapter.tenant == tenant)
        with self._database.read() as session:
            return [*session.scalars(query)]
