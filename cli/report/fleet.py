"""All tenants together, as the operator's dashboard has them: engines, jobs, versions, receipts.

Reads the registry; knows nothing of pages. For the account of all tenants only: one tenant's says
nothing of the others.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Registry


def add(registry: Registry, told: dict[str, Any]) -> None:
    """The figures of the fleet, to the account of all tenants that `account.gather` made."""
    from monitoring import account, objective

    since, until, tenants = told["since"], told["until"], told["tenants"]
    answered = registry.history.answered(until - 2 * objective.WINDOW_S, objective.STEP_S)
    kinds = Counter(d["kind"] for found in tenants for d in found["decisions"])
    seconds = [
        decision["evidence"]["seconds"]
        for found in tenants
        for decision in found["decisions"]
        if decision["kind"] == "promote" and "seconds" in decision["evidence"]
    ]
    versions = [version for version in registry.news.versions()]
    told["fleet"] = {
        "requests": sum(found["requests"] for found in tenants),
        "errors": sum(found["errors"] for found in tenants),
        "error_budget": account.error_budget(answered, until),
        "engines": _engines(registry),
        "jobs": dict(Counter(job.state for job in registry.jobs.all())),
        "versions": dict(Counter(version.state for version in versions)),
        "verdicts": dict(Counter(version.verdict for version in versions)),
        "receipts": dict(kinds),
        "live_after_s": sum(seconds) / len(seconds) if seconds else None,
        "trained_s": registry.news.trained_s(since, until),
        "control": _control(registry),
    }


def _engines(registry: Registry) -> list[dict[str, Any]]:
    ready = {engine.id for engine in registry.engines.ready()}
    warm = Counter(p.engine_id for p in registry.engines.placements() if p.state == "warm")
    return [
        {
            "engine": engine.id,
            "state": engine.state,
            "ready": engine.id in ready,
            "warm": warm[engine.id],
            "slots": engine.max_loras,
        }
        for engine in registry.engines.all()
    ]


def _control(registry: Registry) -> dict[str, float]:
    """False alarms on streams without drift: those seen, and those that were allowed at most."""
    kept = [s.state.get("control") or {} for s in registry.decisions.drift_states()]
    return {
        "alarms": sum(control.get("alarms", 0) for control in kept),
        "promised": round(sum(control.get("promised", 0.0) for control in kept), 3),
    }
