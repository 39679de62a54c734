"""Asking for a retraining over HTTP: by a person, or by Alertmanager's webhook."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from registry import Registry
from registry.errors import NotFound
from router.admin.decisions import DecisionShape, shape
from router.admin.errors import answers
from router.admin.fields import Name, TenantName
from router.admin.versions import BY

_MOST = 1000


class Alert(BaseModel):
    """One alert as Alertmanager sends it; what is not named here is let be."""

    model_config = ConfigDict(extra="ignore")
    status: Literal["firing", "resolved"]
    labels: dict[str, str] = {}
    startsAt: str = ""


class Alerts(BaseModel):
    """Alertmanager's webhook, version 4."""

    model_config = ConfigDict(extra="ignore")
    alerts: list[Alert] = Field(max_length=_MOST)


class Taken(BaseModel):
    """What came of alerts: receipts that were left, and how many alerts asked for nothing (they are
    resolved, name no tenant and adapter that there is, or have been taken before)."""

    object: Literal["alerts.taken"] = "alerts.taken"
    asked: list[DecisionShape]
    ignored: int


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1", tags=["retraining"])

    @router.post(
        "/tenants/{tenant}/adapters/{adapter}/retrain",
        status_code=202,
        responses=answers(400, 404, 409),
    )
    def ask_for_retraining(tenant: TenantName, adapter: Name) -> DecisionShape:
        """Ask for a retraining with the corrections there are.

        The controller takes it up at its next look, unless a job of the adapter or a candidate is
        under way; `auto_retrain` and the cooldown don't hold it.
        """
        registry.adapters.get(tenant, adapter)
        return shape(registry.decisions.record(tenant, adapter, "ask", "asked", by=BY))

    @router.post("/alerts", responses=answers(400, 409))
    def take_alerts(body: Alerts) -> Taken:
        """Alertmanager's webhook: a firing alert with the labels `tenant` and, if not for all of
        its adapters, `adapter` asks for a retraining. Sent again, it asks for nothing more."""
        asked: list[DecisionShape] = []
        ignored = 0
        for alert in body.alerts:
            found = _ask(registry, alert)
            asked += found
            ignored += not found
        return Taken(asked=asked, ignored=ignored)

    return router


def _ask(registry: Registry, alert: Alert) -> list[DecisionShape]:
    tenant, named = alert.labels.get("tenant"), alert.labels.get("adapter")
    if alert.status != "firing" or tenant is None:
        return []
    by = f"alert {alert.labels.get('alertname', '')}".strip()[:100]
    evidence: dict[str, Any] = {"labels": alert.labels, "starts_at": alert.startsAt}
    try:
        adapters = [registry.adapters.get(tenant, named)] if named else _all(registry, tenant)
    except NotFound:
        return []
    asked = []
    for adapter in adapters:
        before = registry.decisions.page(None, 20, tenant, adapter.name, "ask")
        if any(receipt.evidence == evidence for receipt in before):
            continue
        row = registry.decisions.record(
            tenant, adapter.name, "ask", "alert", by=by, evidence=evidence
        )
        asked.append(shape(row))
    return asked


def _all(registry: Registry, tenant: str) -> list[Any]:
    return [adapter for adapter in registry.adapters.all() if adapter.tenant == tenant]
