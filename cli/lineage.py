"""Where a version comes from, what let it through, what it does: files → job → version →
evaluation → certificate → decisions → aliases → traffic, and its parents.

Reads registry rows and gives plain dictionaries; prints nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Registry
    from registry.decisions import Decision
    from registry.job import Job
    from registry.versions import Version

WINDOWS = {"24h": 86_400.0, "7d": 7 * 86_400.0}
_GENERATIONS = 20


def of_version(registry: Registry, version: Version) -> dict[str, Any]:
    """One version's lineage; what the registry no longer knows is None."""
    from registry.errors import NotFound

    job: dict[str, Any] | None = None
    files: list[dict[str, Any]] = []
    if version.job_id is not None:
        try:
            found = registry.jobs.get(version.job_id)
        except NotFound:
            pass
        else:
            files = _files(registry, found, version.manifest.get("rows") or {})
            job = {
                "id": found.id,
                "trigger": found.trigger,
                "training_file": found.training_file,
                "attempts": found.attempts,
                "seconds": _seconds(found.started_at, found.finished_at),
                "options": found.spec,
            }
    return {
        "version": version.served_name,
        "digest": version.digest,
        "state": version.state,
        "state_at": version.state_at,
        "created_at": version.created_at,
        "parent": version.parent,
        "base": version.manifest.get("base"),
        "rank": version.manifest.get("rank"),
        "dataset_sha256": version.manifest.get("dataset_sha256"),
        "files": files,
        "job": job,
        "step": version.step,
        "training": version.manifest.get("training"),
        "search": version.manifest.get("search"),
        "made_with": version.manifest.get("made_with"),
        "parents": _parents(registry, version),
        "evaluation": version.evaluation,
        "verdict": version.verdict,
        "reasons": version.reasons,
        "certificate": version.certificate,
    }


def of_adapter(registry: Registry, tenant: str, name: str) -> dict[str, Any]:
    """An adapter with its aliases and every version, the newest first. Raises NotFound."""
    adapter = registry.adapters.get(tenant, name)
    versions = registry.versions.all(tenant, name)
    aliases = registry.aliases.of_adapter(tenant, name)
    decisions = registry.decisions.all(tenant, name)
    traffic = traffic_of(registry, tenant, name)
    return {
        "tenant": tenant,
        "adapter": name,
        "base": adapter.base,
        "answers": adapter.answers,
        "training": adapter.training,
        "aliases": [
            {
                "name": alias.name,
                "live": alias.live,
                "previous": alias.previous,
                "fallback": alias.fallback,
            }
            for alias in aliases
        ],
        "versions": [
            {
                **of_version(registry, version),
                "decisions": [
                    _decision(decision)
                    for decision in reversed(decisions)
                    if decision.digest == version.digest
                    or (decision.kind == "retrain" and decision.job_id == version.job_id)
                ],
                "aliases": [
                    {"alias": alias.name, "as": role}
                    for alias in aliases
                    for role in ("live", "canary", "shadow", "previous")
                    if getattr(alias, role) == version.digest
                ],
                "traffic": {
                    window: by[version.digest]
                    for window, by in traffic.items()
                    if version.digest in by
                },
            }
            for version in reversed(versions)
        ],
        "in_its_stead": {window: by[None] for window, by in traffic.items() if None in by},
    }


def traffic_of(
    registry: Registry, tenant: str, name: str, now: float | None = None
) -> dict[str, dict[str | None, dict[str, Any]]]:
    """{window: {digest (None: the base in its stead): figures}} of the last 24 hours and 7 days.
    `share` is of the adapter's requests in that window."""
    at = time.time() if now is None else now
    told: dict[str, dict[str | None, dict[str, Any]]] = {}
    for window, length in WINDOWS.items():
        rows = registry.exchanges.served(tenant, name, at - length)
        whole = sum(row.requests for row in rows)
        told[window] = {
            row.digest: {
                **{key: value for key, value in vars(row).items() if key != "digest"},
                "share": row.requests / whole if whole else 0.0,
            }
            for row in rows
        }
    return told


def exact(evaluation: dict[str, Any], who: str = "adapter") -> float | None:
    """The share of exact answers on held-out rows, if it was measured."""
    found = (evaluation.get(who) or {}).get("exact")
    return float(found) if isinstance(found, int | float) else None


def summary(reasons: dict[str, Any]) -> str:
    """The gate's (or the swap's) reason in one sentence."""
    for name in ("rejected_because", "summary"):
        if reasons.get(name):
            return str(reasons[name])
    return "no reason was recorded"


def _seconds(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(end - start, 1)


def _decision(decision: Decision) -> dict[str, Any]:
    return {
        "id": decision.id,
        "kind": decision.kind,
        "rule": decision.rule,
        "by": decision.by,
        "at": decision.created_at,
        "evidence": decision.evidence,
        "expected": decision.expected,
        "realised": decision.realised,
    }


def _files(registry: Registry, job: Job, rows: dict[str, int]) -> list[dict[str, Any]]:
    """The job's files; one that was deleted since is told by its id alone."""
    from registry.errors import NotFound

    told = []
    wanted = {"train": job.training_file, "validation": job.validation_file}
    for use, file_id in wanted.items():
        if file_id is None:
            continue
        value: dict[str, Any] = {"id": file_id, "for": use, "rows": rows.get(use)}
        try:
            file = registry.files.get(job.tenant, file_id)
        except NotFound:
            value |= {"name": None, "digest": None}
        else:
            value |= {"name": file.filename, "digest": file.digest}
        told.append(value)
    return told


def _parents(registry: Registry, version: Version) -> list[str]:
    """Served names of the version's parent, its parent and so on; a digest where it is gone."""
    from registry.errors import NotFound

    chain: list[str] = []
    digest = version.parent
    while digest is not None and len(chain) < _GENERATIONS:
        try:
            parent = registry.versions.get(digest)
        except NotFound:
            return [*chain, digest]
        chain.append(parent.served_name)
        digest = parent.parent
    return chain
