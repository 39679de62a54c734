"""Tenants over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Query
from pydantic import Field

from registry import Registry
from registry.ranges import LARGEST, LARGEST_CONTROL, LARGEST_WEIGHT, LEAST_WEIGHT
from registry.tenants import Tenant
from router.admin.errors import answers, named_in_the_body
from router.admin.fields import (
    AfterName,
    Body,
    Deleted,
    IsWhole,
    Limit,
    Name,
    Page,
    Shape,
    TenantName,
    ends,
    left_out,
    whole,
)

_Limit = Annotated[int, Field(ge=1, le=LARGEST), IsWhole]
_Weight = Annotated[float, Field(ge=LEAST_WEIGHT, le=LARGEST_WEIGHT, allow_inf_nan=False)]

_Share = Annotated[float, Field(ge=0.0, le=LARGEST_CONTROL, allow_inf_nan=False)]

Rollout = Literal["staged", "direct"]


class TenantShape(Shape):
    """Who is served, and within which limits. A limit of null is none."""

    object: Literal["tenant"] = "tenant"
    name: str
    created_at: int
    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    max_concurrent: int | None
    weight: float = Field(description="Share of a busy engine, against other tenants' weights.")
    default_alias: str | None = Field(description="What a request without `model` means.")
    store_text: bool = Field(description="Prompts and answers are kept.")
    auto_promote: bool = Field(description="A version goes live by itself when its gate says so.")
    auto_retrain: bool = Field(description="Trained again by itself when traffic drifted.")
    rollout: Rollout = Field(
        description="How what was retrained by itself takes over: by shadow and canary, or at once."
    )
    control_share: float = Field(
        description="Share of an adapter's conversations that the base answers, as a control."
    )


class TenantPage(Page[TenantShape]):
    """Tenants, by name."""


class Forgotten(Deleted):
    """How many exchanges, and how much feedback on them, went or lost their text."""

    object: str = "tenant.exchanges.deleted"
    exchanges: int
    feedback: int


class NewTenant(Body):
    """A tenant to create. What is left out has the default shown; a limit left out is none."""

    name: Name
    requests_per_minute: _Limit | None = None
    tokens_per_minute: _Limit | None = None
    tokens_per_day: _Limit | None = None
    max_concurrent: _Limit | None = None
    weight: _Weight = 1.0
    store_text: bool = False
    auto_promote: bool = True
    auto_retrain: bool = True
    rollout: Rollout = "staged"
    control_share: _Share = 0.0


class TenantChange(Body):
    """What to change; what is left out stays. null takes a limit, or the default alias, away."""

    requests_per_minute: _Limit | None = Field(default_factory=left_out)
    tokens_per_minute: _Limit | None = Field(default_factory=left_out)
    tokens_per_day: _Limit | None = Field(default_factory=left_out)
    max_concurrent: _Limit | None = Field(default_factory=left_out)
    weight: _Weight = Field(default_factory=left_out)
    default_alias: Name | None = Field(default_factory=left_out)
    store_text: bool = Field(default_factory=left_out)
    auto_promote: bool = Field(default_factory=left_out)
    auto_retrain: bool = Field(default_factory=left_out)
    rollout: Rollout = Field(default_factory=left_out)
    control_share: _Share = Field(default_factory=left_out)


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1/tenants", tags=["tenants"])

    @router.get("", responses=answers(400))
    def list_tenants(after: AfterName = None, limit: Limit = 20) -> TenantPage:
        """List tenants by name."""
        rows = registry.tenants.page(after, limit + 1)
        shown = rows[:limit]
        first, last = ends([row.name for row in shown])
        return TenantPage(
            data=[shape(row) for row in shown],
            first_id=first,
            last_id=last,
            has_more=len(rows) > limit,
        )

    @router.post("", status_code=201, responses=answers(400, 409))
    def create_tenant(body: NewTenant) -> TenantShape:
        """Create a tenant; it has no key yet."""
        return shape(registry.tenants.create(**body.model_dump()))

    @router.get("/{tenant}", responses=answers(400, 404))
    def get_tenant(tenant: TenantName) -> TenantShape:
        """One tenant."""
        return shape(registry.tenants.get(tenant))

    @router.patch("/{tenant}", responses=answers(400, 404, 409))
    def change_tenant(tenant: TenantName, body: TenantChange) -> TenantShape:
        """Change limits, weight, default alias or switches; routed within a second."""
        registry.tenants.get(tenant)
        with named_in_the_body():
            return shape(registry.tenants.update(tenant, **body.model_dump(exclude_unset=True)))

    @router.delete("/{tenant}", responses=answers(400, 404, 409))
    def delete_tenant(tenant: TenantName) -> Deleted:
        """Delete a tenant with its keys, adapters, versions, jobs, exchanges and decisions."""
        registry.tenants.delete(tenant)
        return Deleted(id=tenant, object="tenant.deleted")

    @router.delete("/{tenant}/exchanges", responses=answers(400, 404))
    def delete_exchanges(
        tenant: TenantName,
        text_only: Annotated[
            bool, Query(description="Signals and ratings stay, the text goes.")
        ] = False,
    ) -> Forgotten:
        """Delete a tenant's exchanges and feedback, or only the text in them; no training file."""
        gone = registry.retention.forget(tenant, text_only=text_only)
        return Forgotten(id=tenant, exchanges=gone.exchanges, feedback=gone.feedback)

    return router


def shape(tenant: Tenant) -> TenantShape:
    """A tenant as it is shown: without its cache salt, which is nobody's business."""
    return TenantShape(
        name=tenant.name,
        created_at=whole(tenant.created_at),
        requests_per_minute=tenant.requests_per_minute,
        tokens_per_minute=tenant.tokens_per_minute,
        tokens_per_day=tenant.tokens_per_day,
        max_concurrent=tenant.max_concurrent,
        weight=tenant.weight,
        default_alias=tenant.default_alias,
        store_text=tenant.store_text,
        auto_promote=tenant.auto_promote,
        auto_retrain=tenant.auto_retrain,
        rollout=cast("Rollout", tenant.rollout),
        control_share=tenant.control_share,
    )
