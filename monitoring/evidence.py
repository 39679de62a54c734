"""What the live versions' answers show, as gauges: by tenant, of the adapter that does worst.

A series for each adapter would be too many; tenants beyond the cap share theirs, as `other`. Knows
watchers and metrics, and decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from monitoring.loop_metrics import BOUNDS
from monitoring.metrics import Metrics
from monitoring.powered import Estimate
from monitoring.watcher import Watcher


def show(metrics: Metrics, watchers: Iterable[Watcher]) -> None:
    """Set the gauges of every tenant that has a live version. The tenants must be known."""
    disliked: dict[str, Estimate] = {}
    advantage: dict[str, dict[str, Any] | None] = {}
    stopped: dict[str, bool] = {}
    artifact: dict[str, bool] = {}
    for watcher in watchers:
        if watcher.live is None:
            continue
        tenant = metrics.tenants.admit(watcher.tenant)
        disliked[tenant] = _worse(disliked.get(tenant), watcher.powered.estimate())
        advantage[tenant] = _less(advantage.get(tenant), watcher.advantage.best)
        artifact[tenant] = artifact.get(tenant, False) or watcher.artifact is not None
        stopped[tenant] = stopped.get(tenant, False) or watcher.stopped is not None
    for tenant, found in disliked.items():
        metrics.loop.stopped.labels(tenant).set(stopped[tenant])
        metrics.loop.artifact_changed.labels(tenant).set(artifact[tenant])
        figures = advantage[tenant] or {}
        for bound, share, less in zip(
            BOUNDS,
            (found.low, found.share, found.high),
            (figures.get("low"), figures.get("advantage"), figures.get("high")),
            strict=True,
        ):
            for family, value in ((metrics.loop.disliked, share), (metrics.loop.advantage, less)):
                if value is None:  # nothing is known: a 0 would be a lie
                    family.forget(tenant=tenant, bound=bound)
                else:
                    family.labels(tenant, bound).set(value)


def _worse(one: Estimate | None, other: Estimate) -> Estimate:
    if one is None or one.share is None:
        return other
    return other if other.share is not None and other.share > one.share else one


def _less(one: dict[str, Any] | None, other: dict[str, Any] | None) -> dict[str, Any] | None:
    if one is None or other is None:
        return one or other
    return min(one, other, key=lambda figures: float(figures["advantage"]))
