"""The error budget out of the registry: the rules' figure, over what is kept."""

from __future__ import annotations

import pytest

from monitoring import objective
from monitoring.objective import STEP_S
from registry import Registry
from registry.exchanges import Exchange
from registry.history import Answered

NOW = 100.5 * STEP_S


def _answered(day: int, requests: int, failed: int, tenant: str = "acme") -> Answered:
    return Answered(tenant, float(day * STEP_S), requests, failed)


def test_all_of_it_is_left_where_nothing_failed_and_half_where_one_of_200_did() -> None:
    assert objective.budget([_answered(99, 50, 0)], NOW).left == 1
    found = objective.budget([_answered(90, 150, 1), _answered(100, 50, 0)], NOW)
    assert found.left == pytest.approx(0.5)
    assert (found.requests, found.failed, found.since) == (200, 1, 90 * STEP_S)
    assert objective.budget([_answered(100, 50, 5)], NOW).left == pytest.approx(-9)


def test_without_a_request_nothing_is_known() -> None:
    assert objective.budget([], NOW).left is None
    assert objective.over_time([], NOW) == []


def test_what_is_older_than_30_days_no_longer_counts() -> None:
    before = [_answered(70, 100, 100), _answered(71, 100, 0)]
    assert objective.budget(before, NOW).failed == 0
    told = objective.over_time(before, NOW)
    assert [found.failed for found in told][:2] == [100, 100]
    assert told[-1].failed == 0
    assert [found.until for found in told][-2:] == [100 * STEP_S, NOW]


def test_requests_are_counted_by_day_and_tenant_without_copies_for_shadows(
    registry: Registry,
) -> None:
    def exchange(name: str, tenant: str, day: float, status: int = 200, role: str = "live") -> None:
        registry.exchanges.add(
            [
                Exchange(
                    id=name, tenant=tenant, served="adapter", role=role, status=status,
                    latency_ms=1.0, created_at=day * STEP_S,
                )
            ]
        )  # fmt: skip

    for tenant in ("acme", "lex"):
        registry.tenants.create(tenant)
    exchange("before", "acme", 9.5)
    exchange("a", "acme", 10.9)
    exchange("b", "acme", 10.1, status=503)
    exchange("refused", "acme", 10.2, status=400)
    exchange("copy", "acme", 10.3, status=500, role="shadow")
    exchange("c", "acme", 12.6)
    exchange("other", "lex", 10.5)
    assert registry.history.answered(10.0 * STEP_S, STEP_S, "acme") == [
        _answered(10, 3, 1), _answered(12, 1, 0),
    ]  # fmt: skip
    assert _answered(10, 1, 0, "lex") in registry.history.answered(0.0, STEP_S)
