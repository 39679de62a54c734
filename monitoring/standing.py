"""How things stand in the registry, as gauges: what is live and since when, versions, verdicts and
receipts by tenant, what a retraining gained, what people say, what sits in which engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from monitoring.interval import wilson
from monitoring.loop_metrics import BOUNDS, VERDICTS, VERSION_STATES
from monitoring.metrics import DECISION_KINDS, Metrics
from monitoring.rollouts import ON_ITS_WAY, waits
from registry import Registry
from registry.decisions import Decision
from registry.versions import Version

_LOOKED_AT = 200
"""Receipts of an adapter, the newest."""
JUDGED_S = 7 * 86_400.0
"""How far back answers count that people judged."""


def show(registry: Registry, metrics: Metrics, now: float) -> None:
    """Set every gauge of `metrics.loop`, and what each alias serves. The tenants must be known."""
    known = (
        metrics.tenants.known
    )  # the others have no series of their own, and no sum has a meaning
    tenants = [tenant.name for tenant in registry.tenants.all() if tenant.name in known]
    versions = registry.versions.all()
    _show_live(registry, metrics, versions)
    _show_versions(metrics, tenants, versions)
    _show_waiting(registry, metrics, tenants, versions)
    counts = registry.decisions.counts()
    for tenant in tenants:
        for kind in DECISION_KINDS:
            metrics.loop.receipts.labels(tenant, kind).set(counts.get((tenant, kind), 0))
    receipts = registry.decisions.all(kind="retrain")
    _show_gains(metrics, [receipt for receipt in receipts if receipt.tenant in known])
    _show_quality(metrics, tenants, registry.history.judged(now - JUDGED_S))
    _show_residency(registry, metrics)


def _show_live(registry: Registry, metrics: Metrics, versions: Iterable[Version]) -> None:
    by_digest = {version.digest: version for version in versions}
    served = {(a.tenant, a.name): by_digest.get(a.live or "") for a in registry.aliases.all()}
    metrics.show_versions(
        {key: version.served_name if version else None for key, version in served.items()},
        {key: version.state_at for key, version in served.items() if version},
    )


def _show_versions(metrics: Metrics, tenants: Iterable[str], versions: list[Version]) -> None:
    states = Counter((version.tenant, version.state) for version in versions)
    verdicts = Counter((version.tenant, version.verdict) for version in versions)
    for tenant in tenants:
        for state in VERSION_STATES:
            metrics.loop.versions.labels(tenant, state).set(states[tenant, state])
        for verdict in VERDICTS:
            metrics.loop.verdicts.labels(tenant, verdict).set(verdicts[tenant, verdict])


def _show_waiting(
    registry: Registry, metrics: Metrics, tenants: Iterable[str], versions: list[Version]
) -> None:
    """Versions that wait for a person's word."""
    on_their_way: dict[tuple[str, str], list[Version]] = {}
    for version in versions:
        if version.state in ON_ITS_WAY:
            on_their_way.setdefault((version.tenant, version.adapter), []).append(version)
    waiting: Counter[str] = Counter()
    for (tenant, adapter), found in on_their_way.items():
        receipts = registry.decisions.page(None, _LOOKED_AT, tenant, adapter)
        waiting[tenant] += sum(waits(version, receipts) for version in found)
    for tenant in tenants:
        metrics.loop.waiting.labels(tenant).set(waiting[tenant])


def _show_gains(metrics: Metrics, receipts: Iterable[Decision]) -> None:
    """Of each tenant's latest receipt that says both what was expected and what came of it."""
    shown: set[str] = set()
    for receipt in receipts:  # newest first
        expected = receipt.expected.get("gain_at_most")
        realised = (receipt.realised or {}).get("gain")
        if receipt.tenant in shown or expected is None or realised is None:
            continue
        shown.add(receipt.tenant)
        metrics.loop.gain_expected.labels(receipt.tenant).set(expected)
        metrics.loop.gain_realised.labels(receipt.tenant).set(realised)


def _show_quality(
    metrics: Metrics, tenants: Iterable[str], judged: dict[str, tuple[int, int]]
) -> None:
    for tenant in tenants:
        good, count = judged.get(tenant, (0, 0))
        metrics.loop.judged.labels(tenant).set(count)
        interval = wilson(good / count if count else None, count)
        if interval is None:  # nothing is known: a share of 0 would be a lie
            metrics.loop.quality.forget(tenant=tenant)
            continue
        for bound, value in zip(BOUNDS, (interval[0], good / count, interval[1]), strict=True):
            metrics.loop.quality.labels(tenant, bound).set(value)


def _show_residency(registry: Registry, metrics: Metrics) -> None:
    warm = Counter(
        placed.engine_id for placed in registry.engines.placements() if placed.state == "warm"
    )
    for engine in registry.engines.all():
        metrics.loop.warm.labels(engine.id).set(warm[engine.id])
        metrics.loop.slots.labels(engine.id).set(engine.max_loras)
