"""Aliases over HTTP: what each serves, what happens when it can't, canary, shadow, rollback."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field

from registry import Registry
from registry.aliases import Alias
from registry.names import served_name
from registry.ranges import LONGEST_WAIT_MS
from registry.tenants import Tenant
from router.admin.errors import answers, named_in_the_body
from router.admin.fields import (
    AfterName,
    AliasName,
    Body,
    IsWhole,
    Limit,
    Name,
    Page,
    Shape,
    TenantName,
    VersionRef,
    by_name,
    ends,
    left_out,
    whole,
)
from router.admin.versions import BY

Fallback = Literal["fail", "wait", "previous", "base"]
Sticky = Literal["conversation", "user", "none"]
_Wait = Annotated[int, Field(ge=0, le=LONGEST_WAIT_MS, description="For fallback `wait`."), IsWhole]
_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class AliasShape(Shape):
    """A name that a tenant calls. Versions are shown as they are served, or null for none."""

    object: Literal["alias"] = "alias"
    tenant: str
    name: str
    adapter: str
    default: bool = Field(description="Meant by a request without `model`.")
    live: str | None = Field(examples=["triage@0123456789ab"])
    previous: str | None = Field(description="Live before; where a rollback goes.")
    fallback: Fallback = Field(description="What happens when `live` can't be served.")
    wait_ms: int
    sticky: Sticky = Field(description="What keeps to one side of a canary's split.")
    canary: str | None
    canary_weight: float = Field(description="Share of traffic that the canary answers.")
    shadow: str | None
    shadow_share: float = Field(description="Share of traffic copied to the shadow.")
    updated_at: int


class AliasPage(Page[AliasShape]):
    """Aliases, by name."""


class NewAlias(Body):
    """An alias to create. It serves nothing before a version is promoted."""

    name: Name
    adapter: Name
    fallback: Fallback = "base"
    wait_ms: _Wait = 2000
    sticky: Sticky = "conversation"
    default: bool = False


class AliasChange(Body):
    """What to change; what is left out stays. A canary or shadow of null ends it and its share."""

    fallback: Fallback = Field(default_factory=left_out)
    wait_ms: _Wait = Field(default_factory=left_out)
    sticky: Sticky = Field(default_factory=left_out)
    canary: VersionRef | None = Field(default_factory=left_out)
    canary_weight: _Share = Field(default_factory=left_out)
    shadow: VersionRef | None = Field(default_factory=left_out)
    shadow_share: _Share = Field(default_factory=left_out)
    default: bool = Field(default_factory=left_out)


class RollbackBody(Body):
    """Where to go back to."""

    to: VersionRef | None = Field(None, description="A version [the one that was live before].")


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1/tenants/{tenant}/aliases", tags=["aliases"])

    @router.get("", responses=answers(400, 404))
    def list_aliases(tenant: TenantName, after: AfterName = None, limit: Limit = 20) -> AliasPage:
        """List a tenant's aliases by name."""
        owner = registry.tenants.get(tenant)
        rows = registry.aliases.all(tenant)
        shown, ids, more = by_name(rows, lambda row: row.name, after, limit)
        first, last = ends(ids)
        data = [shape(row, owner) for row in shown]
        return AliasPage(data=data, first_id=first, last_id=last, has_more=more)

    @router.post("", status_code=201, responses=answers(400, 404, 409))
    def create_alias(tenant: TenantName, body: NewAlias) -> AliasShape:
        """Create an alias for an adapter; a tenant's first one becomes its default."""
        registry.tenants.get(tenant)
        fields = body.model_dump()
        name, adapter, default = (fields.pop(key) for key in ("name", "adapter", "default"))
        with named_in_the_body():
            made = registry.aliases.create(tenant, name, adapter, **fields)
        if default:
            registry.tenants.update(tenant, default_alias=name)
        return shape(made, registry.tenants.get(tenant))

    @router.get("/{alias}", responses=answers(400, 404))
    def get_alias(tenant: TenantName, alias: AliasName) -> AliasShape:
        """One alias."""
        return shape(registry.aliases.get(tenant, alias), registry.tenants.get(tenant))

    @router.patch("/{alias}", responses=answers(400, 404, 409))
    def change_alias(tenant: TenantName, alias: AliasName, body: AliasChange) -> AliasShape:
        """Change fallback, canary, shadow or default; routed within a second.

        A canary must have passed its gate or an engine's check; neither canary nor shadow may be
        a rejected version.
        """
        registry.aliases.get(tenant, alias)
        fields: dict[str, Any] = body.model_dump(exclude_unset=True)
        default = fields.pop("default", None)
        with named_in_the_body():
            for place in ("canary", "shadow"):
                if fields.get(place) is not None:
                    fields[place] = registry.versions.find(tenant, fields[place]).digest
            if fields:
                registry.aliases.update(tenant, alias, **fields)
        owner = registry.tenants.get(tenant)
        if default is not None and default != (owner.default_alias == alias):
            owner = registry.tenants.update(tenant, default_alias=alias if default else None)
        return shape(registry.aliases.get(tenant, alias), owner)

    @router.post("/{alias}/rollback", responses=answers(400, 404, 409))
    def roll_back_alias(
        tenant: TenantName, alias: AliasName, body: RollbackBody | None = None
    ) -> AliasShape:
        """Put the version that was live before back, in one step, and leave a receipt."""
        registry.aliases.get(tenant, alias)
        to = body.to if body else None
        with named_in_the_body():
            digest = registry.versions.find(tenant, to).digest if to else None
            registry.roll_back(tenant, alias, BY, digest)
        return shape(registry.aliases.get(tenant, alias), registry.tenants.get(tenant))

    return router


def shape(alias: Alias, owner: Tenant) -> AliasShape:
    """An alias as it is shown."""

    def named(digest: str | None) -> str | None:
        return None if digest is None else served_name(alias.adapter, digest)

    return AliasShape(
        tenant=alias.tenant,
        name=alias.name,
        adapter=alias.adapter,
        default=owner.default_alias == alias.name,
        live=named(alias.live),
        previous=named(alias.previous),
        fallback=alias.fallback,  # type: ignore[arg-type]
        wait_ms=alias.wait_ms,
        sticky=alias.sticky,  # type: ignore[arg-type]
        canary=named(alias.canary),
        canary_weight=alias.canary_weight,
        shadow=named(alias.shadow),
        shadow_share=alias.shadow_share,
        updated_at=whole(alias.updated_at),
    )
