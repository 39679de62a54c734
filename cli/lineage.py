"""Where a version comes from, what let it through: data → job → evaluation → certificate → state.

Reads registry rows and gives plain dictionaries; prints nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from registry import Registry
    from registry.versions import Version


def of_version(registry: Registry, version: Version) -> dict[str, Any]:
    """One version's lineage; what the registry no longer knows is None."""
    from registry.errors import NotFound

    job: dict[str, Any] | None = None
    if version.job_id is not None:
        try:
            found = registry.jobs.get(version.job_id)
        except NotFound:
            pass
        else:
            job = {
                "id": found.id,
                "trigger": found.trigger,
                "training_file": found.training_file,
                "seconds": _seconds(found.started_at, found.finished_at),
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
        "job": job,
        "evaluation": version.evaluation,
        "verdict": version.verdict,
        "reasons": version.reasons,
        "certificate": version.certificate,
    }


def of_adapter(registry: Registry, tenant: str, name: str) -> dict[str, Any]:
    """An adapter with its aliases and every version, the newest first. Raises NotFound."""
    adapter = registry.adapters.get(tenant, name)
    versions = registry.versions.all(tenant, name)
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
            for alias in registry.aliases.of_adapter(tenant, name)
        ],
        "versions": [of_version(registry, version) for version in reversed(versions)],
    }


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
