"""Asking over HTTP: a person or Alertmanager's webhook for a retraining, a person for what there is
to count as usual."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from monitoring.rules import alerts
from registry import Registry
from registry.decisions import ACCEPT
from registry.errors import NotFound
from router.admin.decisions import DecisionShape, shape
from router.admin.errors import answers
from router.admin.fields import Name, TenantName
from router.admin.versions import BY

_MOST = 1000
_RETRAIN = "retrain"
"""The label by which other rules' alerts may ask for a retraining: "true"."""


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


class Ignored(BaseModel):
    """An alert that asked for nothing, and why."""

    alert: str
    reason: str


class Taken(BaseModel):
    """What came of alerts: receipts that were left, and the alerts that asked for nothing."""

    object: Literal["alerts.taken"] = "alerts.taken"
    asked: list[DecisionShape]
    ignored: list[Ignored]


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1", tags=["retraining"])
    mended = frozenset(alert.name for alert in alerts() if alert.retrain)

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

    @router.post(
        "/tenants/{tenant}/adapters/{adapter}/accept",
        status_code=202,
        responses=answers(400, 404, 409),
    )
    def accept(tenant: TenantName, adapter: Name) -> DecisionShape:
        """Let an adapter's traffic, its answers and how its messages are built count as usual.

        The controller takes new references at its next look: drift, worse answers, an adapter that
        stopped helping and a changed pipeline are over with that. What an engine answers to canary
        prompts is not a matter of habit, and stays.
        """
        registry.adapters.get(tenant, adapter)
        return shape(registry.decisions.record(tenant, adapter, "ask", ACCEPT, by=BY))

    @router.post("/alerts", responses=answers(400, 409))
    def take_alerts(body: Alerts) -> Taken:
        """Alertmanager's webhook: a firing alert that speaks of a tenant's traffic or answers asks
        for a retraining, of one of its adapters where the label `adapter` names it.

        Which alerts those are: `SwitchyardDriftSustained`, `SwitchyardDriftUnanswered`,
        `SwitchyardQualityDown`, `SwitchyardAdapterStoppedHelping`, `SwitchyardAnswersJudgedBad`,
        and any with the label `retrain` at `true`. It is evidence like any other: a changed
        pipeline, missing corrections, the tenant's policy and the cooldown hold it. Sent again, it
        asks for nothing more. What asks for nothing is answered 200 as well, with the reason.
        """
        asked: list[DecisionShape] = []
        ignored: list[Ignored] = []
        for alert in body.alerts:
            name = alert.labels.get("alertname", "")
            try:
                if name not in mended and alert.labels.get(_RETRAIN) != "true":
                    raise _NothingAsked("it speaks of nothing that a retraining mends")
                asked += _ask(registry, alert)
            except _NothingAsked as nothing:
                ignored.append(Ignored(alert=name, reason=str(nothing)))
        return Taken(asked=asked, ignored=ignored)

    return router


class _NothingAsked(Exception):
    """Says why an alert asks for nothing."""


def _ask(registry: Registry, alert: Alert) -> list[DecisionShape]:
    tenant, named = alert.labels.get("tenant"), alert.labels.get("adapter")
    if alert.status != "firing":
        raise _NothingAsked("it is over")
    if tenant is None:
        raise _NothingAsked("it names no tenant")
    by = f"alert {alert.labels.get('alertname', '')}".strip()[:100]
    evidence: dict[str, Any] = {"labels": alert.labels, "starts_at": alert.startsAt}
    try:
        adapters = [registry.adapters.get(tenant, named)] if named else _all(registry, tenant)
    except NotFound:
        adapters = []
    if not adapters:
        raise _NothingAsked("there is no such tenant or adapter")
    asked = []
    for adapter in adapters:
        before = registry.decisions.page(None, 20, tenant, adapter.name, "ask")
        if any(receipt.evidence == evidence for receipt in before):
            continue
        row = registry.decisions.record(
            tenant, adapter.name, "ask", "alert", by=by, evidence=evidence
        )
        asked.append(shape(row))
    if not asked:
        raise _NothingAsked("it asked before")
    return asked


def _all(registry: Registry, tenant: str) -> list[Any]:
    return [adapter for adapter in registry.adapters.all() if adapter.tenant == tenant]
