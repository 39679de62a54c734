"""Asking for a retraining over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from monitoring.rules import alerts
from registry import Registry
from tests.router.administered import administered, refused


@pytest.fixture
def admin(sqlite_registry: Registry) -> Iterator[httpx.Client]:
    sqlite_registry.tenants.create("acme")
    for name in ("support", "triage"):
        sqlite_registry.adapters.create("acme", name, "tiny")
    with administered(sqlite_registry) as client:
        yield client


def _alert(
    status: str = "firing", alertname: str = "SwitchyardQualityDown", **labels: str
) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": alertname, **labels},
        "annotations": {"summary": "…"},
        "startsAt": "2026-11-27T04:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": "ab12",
    }


def _send(admin: httpx.Client, *alerts: dict[str, Any]) -> dict[str, Any]:
    whole = {"version": "4", "groupKey": "{}", "receiver": "switchyard", "alerts": [*alerts]}
    answer = admin.post("/v1/alerts", json=whole)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_person_asks_for_a_retraining(admin: httpx.Client, sqlite_registry: Registry) -> None:
    answer = admin.post("/v1/tenants/acme/adapters/support/retrain")
    assert answer.status_code == 202
    assert (answer.json()["kind"], answer.json()["adapter"]) == ("ask", "support")
    (receipt,) = sqlite_registry.decisions.all("acme")
    assert (receipt.kind, receipt.by) == ("ask", "admin-api")


def test_a_person_accepts_what_there_is(admin: httpx.Client, sqlite_registry: Registry) -> None:
    answer = admin.post("/v1/tenants/acme/adapters/support/accept")
    assert answer.status_code == 202
    (receipt,) = sqlite_registry.decisions.all("acme")
    assert (receipt.kind, receipt.rule, receipt.by) == ("ask", "accept", "admin-api")


def test_of_what_is_not_there_nothing_can_be_asked(admin: httpx.Client) -> None:
    refused(admin.post("/v1/tenants/acme/adapters/none/accept"), 404, "not_found", "adapter")
    refused(admin.post("/v1/tenants/acme/adapters/none/retrain"), 404, "not_found", "adapter")
    refused(admin.post("/v1/tenants/lex/adapters/support/retrain"), 404, "not_found", "adapter")


def test_alertmanager_asks_once_however_often_it_sends(
    admin: httpx.Client, sqlite_registry: Registry
) -> None:
    alert = _alert(tenant="acme", adapter="support")
    first = _send(admin, alert)
    assert [row["by"] for row in first["asked"]] == ["alert SwitchyardQualityDown"]
    assert _send(admin, alert) == {
        "object": "alerts.taken",
        "asked": [],
        "ignored": [{"alert": "SwitchyardQualityDown", "reason": "it asked before"}],
    }
    later = {**alert, "startsAt": "2026-11-28T04:00:00Z"}
    assert len(_send(admin, later)["asked"]) == 1
    assert len(sqlite_registry.decisions.all("acme", "support", "ask")) == 2


def test_an_alert_without_an_adapter_is_about_all_of_the_tenants(admin: httpx.Client) -> None:
    taken = _send(admin, _alert(tenant="acme"))
    assert sorted(row["adapter"] for row in taken["asked"]) == ["support", "triage"]


def test_of_our_alerts_those_about_traffic_and_answers_ask_and_no_others(
    admin: httpx.Client,
) -> None:
    asking = {
        alert.name
        for alert in alerts()
        if _send(admin, _alert(alertname=alert.name, tenant="acme"))["asked"]
    }
    assert asking == {
        "SwitchyardDriftSustained",
        "SwitchyardDriftUnanswered",
        "SwitchyardQualityDown",
        "SwitchyardAdapterStoppedHelping",
        "SwitchyardAnswersJudgedBad",
    }


def test_another_rules_alert_asks_where_its_label_says_so(admin: httpx.Client) -> None:
    mine = _alert(alertname="TooManyComplaints", tenant="acme", adapter="support")
    assert _send(admin, mine)["ignored"] == [
        {"alert": "TooManyComplaints", "reason": "it speaks of nothing that a retraining mends"}
    ]
    mine["labels"]["retrain"] = "true"
    assert [row["by"] for row in _send(admin, mine)["asked"]] == ["alert TooManyComplaints"]


@pytest.mark.parametrize(
    ("alert", "reason"),
    [
        (_alert("resolved", tenant="acme"), "it is over"),
        (_alert(tenant="lex"), "there is no such tenant or adapter"),
        (_alert(tenant="acme", adapter="none"), "there is no such tenant or adapter"),
        (_alert(), "it names no tenant"),
    ],
    ids=["resolved", "no such tenant", "no such adapter", "of no tenant"],
)
def test_what_concerns_nobody_is_let_be_and_told_why(
    admin: httpx.Client, alert: dict[str, Any], reason: str
) -> None:
    ignored = _send(admin, alert, alert)["ignored"]
    assert [found["reason"] for found in ignored] == [reason, reason]


def test_what_is_no_webhook_is_refused(admin: httpx.Client) -> None:
    answer = admin.post("/v1/alerts", json={"alerts": [{"status": "smouldering"}]})
    assert answer.status_code == 400
    assert "alerts" in answer.json()["error"]["message"]
