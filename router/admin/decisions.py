"""Decisions over HTTP: the receipts of what was promoted, rejected, retrained or rolled back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from registry import Registry
from registry.decisions import Decision
from registry.errors import NotFound
from router.admin.errors import answers
from router.admin.fields import NAME, AfterId, Limit, Page, Shape, ends, no_such_cursor, whole
from router.admin.versions import OfAdapter

Kind = Literal[
    "promote", "reject", "retrain", "hold", "rollback", "watch", "shadow", "canary", "ask"
]
OfTenant = Annotated[str | None, Query(pattern=NAME, description="Only this tenant's.")]
OfKind = Annotated[Kind | None, Query(description="Only of this kind.")]


class DecisionShape(Shape):
    """What was decided, by which rule, on which evidence, and what came of it."""

    object: Literal["decision"] = "decision"
    id: str
    tenant: str
    adapter: str
    kind: str
    rule: str
    by: str
    version: str | None
    job_id: str | None
    evidence: dict[str, Any]
    expected: dict[str, Any]
    realised: dict[str, Any] | None
    created_at: int


class DecisionPage(Page[DecisionShape]):
    """Decisions, the newest first."""


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1/decisions", tags=["decisions"])

    @router.get("", responses=answers(400))
    def list_decisions(
        tenant: OfTenant = None,
        adapter: OfAdapter = None,
        kind: OfKind = None,
        after: AfterId = None,
        limit: Limit = 20,
    ) -> DecisionPage:
        """List decisions, the newest first."""
        try:
            rows = registry.decisions.page(after, limit + 1, tenant, adapter, kind)
        except NotFound:
            raise no_such_cursor(str(after)) from None
        first, last = ends([row.id for row in rows[:limit]])
        return DecisionPage(
            data=[shape(row) for row in rows[:limit]],
            first_id=first,
            last_id=last,
            has_more=len(rows) > limit,
        )

    return router


def shape(decision: Decision) -> DecisionShape:
    """A receipt as it is shown."""
    return DecisionShape(
        id=decision.id,
        tenant=decision.tenant,
        adapter=decision.adapter,
        kind=decision.kind,
        rule=decision.rule,
        by=decision.by,
        version=decision.digest,
        job_id=decision.job_id,
        evidence=decision.evidence,
        expected=decision.expected,
        realised=decision.realised,
        created_at=whole(decision.created_at),
    )
