"""A situation from rows: what is known of one adapter now. Reads, and decides nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.rollouts import waits
from monitoring.ruling import Situation
from monitoring.settings import ControllerSettings
from monitoring.watcher import Watcher
from registry import Registry
from registry.adapters import Adapter
from registry.decisions import ACCEPT, CONTROLLER, Decision
from registry.tenants import Tenant
from registry.versions import ON_ITS_WAY

_LOOKED_AT = 200
"""Receipts of an adapter, the newest."""


def situation_of(
    registry: Registry,
    settings: ControllerSettings,
    tenant: Tenant,
    adapter: Adapter,
    watcher: Watcher,
    *,
    corrections: int,
    training_file: bool,
    now: float,
) -> Situation:
    """Of an adapter with a live version, `corrections` that no job has used, and its training file
    there or not, at `now` (seconds since the epoch)."""
    assert watcher.live is not None
    names = (watcher.tenant, watcher.adapter)
    jobs = registry.jobs.all(*names, active=True)
    versions = registry.versions.all(*names)
    receipts = registry.decisions.page(None, _LOOKED_AT, *names)
    aliases = registry.aliases.of_adapter(*names)
    if all(alias.live != watcher.live for alias in aliases):
        return Situation()  # it was replaced just now: what is known is of another
    last = watcher.memory.get("last_retrain")
    age_s = now - float(watcher.memory.get("since") or now)
    kept = {v.digest for v in versions if v.certificate and v.state in ("live", "retired")}
    on_its_way = next((v for v in versions if v.state in ON_ITS_WAY), None)
    went_before = any(a.live == watcher.live and a.previous in kept for a in aliases)
    by_person = _was_put_back(receipts, watcher.live)
    return Situation(
        drift=watcher.drifted,
        failing=watcher.failing.said if watcher.failing.down else None,
        failing_own=watcher.failing.is_own,
        worse=watcher.worse,
        stopped=watcher.stopped,
        asked_by=_asked(receipts),
        alerted_by=_alerted(receipts, float(watcher.memory.get("since") or 0.0)),
        old_base=base_of(registry, watcher.live) not in (None, adapter.base),
        age_s=age_s,
        artifact=watcher.artifact,
        pipeline=watcher.integrity.what if watcher.integrity.changed else None,
        can_go_back=went_before and not by_person and age_s <= settings.probation_s,
        corrections=corrections,
        of_drift=_of_drift(registry, watcher) if watcher.drifted else 0,
        active_job=jobs[0].id if jobs else None,
        candidate=None if on_its_way is None else on_its_way.served_name,
        approval=on_its_way is not None and waits(on_its_way, receipts),
        since_retrain_s=None if last is None else now - last,
        failures=_failures(receipts),
        auto_retrain=tenant.auto_retrain,
        training_file=training_file,
    )


def _of_drift(registry: Registry, watcher: Watcher) -> int:
    since = watcher.detector.calm_at
    return registry.corrections.count(watcher.tenant, watcher.adapter, since)


def base_of(registry: Registry, digest: str) -> str | None:
    """The base that a version was trained for. Raises NotFound."""
    return registry.versions.get(digest).manifest.get("base")


def artifact_of(again: Mapping[str, Any] | None) -> str | None:
    """What is wrong with a live version by its canary prompts, `again` of its certificate; None
    where nothing is, or they were not asked again."""
    return None if again is None or again["passed"] else str(again["reason"])


def _was_put_back(receipts: Sequence[Decision], live: str) -> bool:
    """Whether the live version took over since a person took back the one before it: going back
    would undo that. Receipts are the newest first."""
    came = (d for d in receipts if d.digest == live and d.kind in ("promote", "rollback"))
    latest = next(came, None)
    return latest is not None and latest.kind == "rollback" and latest.by != CONTROLLER


def _asked(receipts: Sequence[Decision]) -> str | None:
    """Which person asked for a retraining since the last one; receipts are the newest first."""
    for receipt in receipts:
        if receipt.kind == "retrain":
            return None
        if receipt.kind == "ask" and receipt.rule == "asked":
            return receipt.by
    return None


def _alerted(receipts: Sequence[Decision], since: float) -> str | None:
    """Which alert did, since that moment, and since a person accepted what there was."""
    for receipt in receipts:
        accepted = (receipt.kind, receipt.rule) == ("ask", ACCEPT)
        if receipt.kind == "retrain" or accepted or receipt.created_at < since:
            return None
        if receipt.kind == "ask" and receipt.rule == "alert":
            return receipt.by
    return None


def _failures(receipts: Sequence[Decision]) -> int:
    """Retrainings in a row, the newest first, whose version did not stay."""
    count = 0
    for receipt in receipts:
        if receipt.kind == "retrain" and receipt.realised is not None:
            if receipt.realised.get("outcome") == "promoted":
                break
            count += 1
    return count
