"""Adapters and their versions over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from registry import Registry
from registry.adapters import Adapter
from registry.engines import Placement
from registry.errors import NotServable
from registry.ranges import LONGEST_REASON
from registry.versions import Version
from router.admin.errors import answers
from router.admin.fields import (
    NAME,
    AfterId,
    AfterName,
    Body,
    Limit,
    Page,
    Shape,
    TenantName,
    VersionName,
    by_name,
    by_place,
    ends,
    whole,
)

BY = "admin-api"
"""Who asked, in receipts: the holder of the admin key, of whom nothing more is known."""

State = Literal["candidate", "shadow", "canary", "live", "retired", "held", "rejected"]
OfAdapter = Annotated[str | None, Query(pattern=NAME, description="Only this adapter's.")]
InState = Annotated[State | None, Query(description="Only those in this state.")]


class AdapterShape(Shape):
    """What a tenant trains: a line of versions on one base."""

    object: Literal["adapter"] = "adapter"
    tenant: str
    name: str
    base: str
    created_at: int
    answers: dict[str, Any] = Field(description="What a good answer is.")
    training: dict[str, Any] = Field(description="The options that its jobs start from.")


class AdapterPage(Page[AdapterShape]):
    """Adapters, by name."""


class VersionShape(Shape):
    """A version: one trained adapter, immutable."""

    object: Literal["version"] = "version"
    id: str = Field(description="Its digest.")
    name: str = Field(description="What it is served as.", examples=["triage@0123456789ab"])
    fine_tuned_name: str = Field(description="What OpenAI's fine-tuning API calls it.")
    tenant: str
    adapter: str
    state: State
    state_at: int
    created_at: int
    parent: str | None
    job_id: str | None
    verdict: str = Field(description="The gate's: promote, reject or insufficient.")


class PlacementShape(Shape):
    """A version in an engine."""

    engine_id: str
    state: str
    reason: str
    load_ms: float
    updated_at: int


class VersionDetail(VersionShape):
    """A version with all that is known of it."""

    manifest: dict[str, Any]
    evaluation: dict[str, Any]
    reasons: dict[str, Any]
    certificate: dict[str, Any] = Field(description="The engines' effect and parity figures.")
    placements: list[PlacementShape]


class Refusal(Body):
    """Why a version is not wanted."""

    because: str = Field(
        "",
        max_length=LONGEST_REASON,
        pattern=r"^[^\u0000-\u001f\u007f-\u009f]*$",
        description="For its receipt.",
        examples=["answers are too terse"],
    )


class VersionPage(Page[VersionShape]):
    """Versions, the newest first."""


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1/tenants/{tenant}", tags=["versions"])

    def detail(version: Version) -> VersionDetail:
        return VersionDetail(
            **_fields(version),
            manifest=version.manifest,
            evaluation=version.evaluation,
            reasons=version.reasons,
            certificate=version.certificate,
            placements=[_placement(row) for row in registry.engines.placements(version.digest)],
        )

    @router.get("/adapters", responses=answers(400, 404))
    def list_adapters(
        tenant: TenantName, after: AfterName = None, limit: Limit = 20
    ) -> AdapterPage:
        """List a tenant's adapters by name."""
        registry.tenants.get(tenant)
        rows = registry.adapters.all(tenant)
        shown, ids, more = by_name(rows, lambda row: row.name, after, limit)
        first, last = ends(ids)
        data = [_adapter(row) for row in shown]
        return AdapterPage(data=data, first_id=first, last_id=last, has_more=more)

    @router.get("/versions", responses=answers(400, 404))
    def list_versions(
        tenant: TenantName,
        adapter: OfAdapter = None,
        state: InState = None,
        after: AfterId = None,
        limit: Limit = 20,
    ) -> VersionPage:
        """List a tenant's versions, the newest first."""
        registry.tenants.get(tenant)
        rows = registry.versions.all(tenant, adapter, state)[::-1]
        shown, ids, more = by_place(rows, lambda row: row.digest, after, limit)
        first, last = ends(ids)
        data = [VersionShape(**_fields(row)) for row in shown]
        return VersionPage(data=data, first_id=first, last_id=last, has_more=more)

    @router.get("/versions/{version}", responses=answers(400, 404))
    def get_version(tenant: TenantName, version: VersionName) -> VersionDetail:
        """One version with manifest, evaluation, verdict, certificate and placements."""
        return detail(registry.versions.find(tenant, version))

    @router.post("/versions/{version}/promote", status_code=202, responses=answers(400, 404, 409))
    def promote_version(tenant: TenantName, version: VersionName) -> VersionDetail:
        """Ask for a version to go live.

        The controller swaps it in after the engines' effect and parity check, which still decides:
        read the version again to see what came of it. One that is live already stays so.
        """
        found = registry.versions.find(tenant, version)
        if found.state != "live":
            found = registry.versions.force(found.digest, BY)
        return detail(found)

    @router.post("/versions/{version}/reject", responses=answers(400, 404, 409))
    def reject_version(
        tenant: TenantName, version: VersionName, body: Refusal | None = None
    ) -> VersionDetail:
        """Decline a candidate, shadow or canary: it is rejected, and off its traffic at once.

        A receipt says why. One that is rejected already stays as it is.
        """
        found = registry.versions.find(tenant, version)
        return detail(registry.decline(found.digest, BY, body.because if body else ""))

    @router.post("/versions/{version}/retire", responses=answers(400, 404, 409))
    def retire_version(tenant: TenantName, version: VersionName) -> VersionDetail:
        """Retire a live version that no alias points at any more."""
        found = registry.versions.find(tenant, version)
        if not registry.aliases.retire(found.digest):
            found = registry.versions.get(found.digest)
            pointing = [a.name for a in registry.aliases.all(tenant) if a.live == found.digest]
            why = f"alias {pointing[0]!r} points at it" if pointing else f"it is {found.state!r}"
            raise NotServable(found.served_name, "retired", why)
        return detail(registry.versions.get(found.digest))

    return router


def _fields(version: Version) -> dict[str, Any]:
    return {
        "id": version.digest,
        "name": version.served_name,
        "fine_tuned_name": version.fine_tuned_name,
        "tenant": version.tenant,
        "adapter": version.adapter,
        "state": version.state,
        "state_at": whole(version.state_at),
        "created_at": whole(version.created_at),
        "parent": version.parent,
        "job_id": version.job_id,
        "verdict": version.verdict,
    }


def _adapter(adapter: Adapter) -> AdapterShape:
    return AdapterShape(
        tenant=adapter.tenant,
        name=adapter.name,
        base=adapter.base,
        created_at=whole(adapter.created_at),
        answers=adapter.answers,
        training=adapter.training,
    )


def _placement(placement: Placement) -> PlacementShape:
    return PlacementShape(
        engine_id=placement.engine_id,
        state=placement.state,
        reason=placement.reason,
        load_ms=placement.load_ms,
        updated_at=whole(placement.updated_at),
    )
