"""How things stand in the registry, as gauges: what is live and since when, versions, verdicts and
receipts by tenant, what a retraining gained, what people say, what sits in which engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from monitoring.interval import wilson
from monitoring.labels import OTHER
from monitoring.loop_metrics import BOUNDS, VERDICTS, VERSION_STATES
from monitoring.metrics import DECISION_KINDS, Metrics
from monitoring.rollouts import waits
from registry import Registry
from registry.news import Gain, Standing
from registry.versions import ON_ITS_WAY

_LOOKED_AT = 200
"""Receipts of an adapter, the newest."""
JUDGED_S = 7 * 86_400.0
"""How far back answers count that people judged."""
JUDGED_ENOUGH = 30
"""Judged answers from which on an alert may speak of them."""


def show(registry: Registry, metrics: Metrics, now: float) -> None:
    """Set every gauge of `metrics.loop`, and what each alias serves. The tenants must be known."""
    everyone = [tenant.name for tenant in registry.tenants.all()]
    tenants = [
        name for name in everyone if name in metrics.tenants.known
    ]  # of the others no sum has a meaning
    versions = registry.news.versions()
    _show_live(registry, metrics, versions)
    _show_versions(metrics, tenants, versions)
    _show_waiting(registry, metrics, tenants, versions)
    counts = registry.decisions.counts()
    for tenant in tenants:
        for kind in DECISION_KINDS:
            metrics.loop.receipts.labels(tenant, kind).set(counts.get((tenant, kind), 0))
    _show_gains(metrics, registry.news.gains())
    _show_quality(metrics, everyone, registry.history.judged(now - JUDGED_S))
    _show_residency(registry, metrics)


def _show_live(registry: Registry, metrics: Metrics, versions: Iterable[Standing]) -> None:
    by_digest = {version.digest: version for version in versions}
    served = {(a.tenant, a.name): by_digest.get(a.live or "") for a in registry.aliases.all()}
    metrics.show_versions(
        {key: version.served_name if version else None for key, version in served.items()},
        {key: version.state_at for key, version in served.items() if version},
    )


def _show_versions(metrics: Metrics, tenants: Iterable[str], versions: list[Standing]) -> None:
    states = Counter((version.tenant, version.state) for version in versions)
    verdicts = Counter((version.tenant, version.verdict) for version in versions)
    for tenant in tenants:
        for state in VERSION_STATES:
            metrics.loop.versions.labels(tenant, state).set(states[tenant, state])
        for verdict in VERDICTS:
            metrics.loop.verdicts.labels(tenant, verdict).set(verdicts[tenant, verdict])


def _show_waiting(
    registry: Registry, metrics: Metrics, tenants: Iterable[str], versions: list[Standing]
) -> None:
    """Versions that wait for a person's word."""
    on_their_way: dict[tuple[str, str], list[Standing]] = {}
    for version in versions:
        if version.state in ON_ITS_WAY:
            on_their_way.setdefault((version.tenant, version.adapter), []).append(version)
    waiting: Counter[str] = Counter()
    for (tenant, adapter), found in on_their_way.items():
        receipts = registry.decisions.page(None, _LOOKED_AT, tenant, adapter)
        waiting[metrics.tenants.admit(tenant)] += sum(waits(one, receipts) for one in found)
    for tenant in (*tenants, OTHER):
        metrics.loop.waiting.labels(tenant).set(waiting[tenant])


def _show_gains(metrics: Metrics, gains: Iterable[Gain]) -> None:
    """Of each tenant's latest receipt that says both what was expected and what came of it; of
    tenants beyond the cap the one that gained least."""
    latest: dict[str, Gain] = {}
    for gain in gains:  # newest first
        latest.setdefault(gain.tenant, gain)
    shown: dict[str, Gain] = {}
    for tenant, gain in latest.items():
        name = metrics.tenants.admit(tenant)
        if name not in shown or gain.realised < shown[name].realised:
            shown[name] = gain
    for name, gain in shown.items():
        metrics.loop.gain_expected.labels(name).set(gain.expected)
        metrics.loop.gain_realised.labels(name).set(gain.realised)
    if OTHER not in shown:
        metrics.loop.gain_expected.forget(tenant=OTHER)
        metrics.loop.gain_realised.forget(tenant=OTHER)


def _show_quality(
    metrics: Metrics, tenants: Iterable[str], judged: dict[str, tuple[int, int]]
) -> None:
    """Of tenants beyond the cap, the one that people are surest to call bad."""
    found = {name: judged.get(name, (0, 0)) for name in tenants if name in metrics.tenants.known}
    beyond = [judged[name] for name in tenants if name not in found and name in judged]
    found[OTHER] = max(beyond, key=_badness, default=(0, 0))
    for tenant, (good, count) in found.items():
        metrics.loop.judged.labels(tenant).set(count)
        interval = wilson(good / count if count else None, count)
        if interval is None:  # nothing is known: a share of 0 would be a lie
            metrics.loop.quality.forget(tenant=tenant)
            continue
        for bound, value in zip(BOUNDS, (interval[0], good / count, interval[1]), strict=True):
            metrics.loop.quality.labels(tenant, bound).set(value)


def _badness(judged: tuple[int, int]) -> tuple[bool, float]:
    good, count = judged
    interval = wilson(good / count if count else None, count)
    return count >= JUDGED_ENOUGH, -interval[1] if interval else -1.0


def _show_residency(registry: Registry, metrics: Metrics) -> None:
    warm = Counter(
        placed.engine_id for placed in registry.engines.placements() if placed.state == "warm"
    )
    for engine in registry.engines.all():
        metrics.loop.warm.labels(engine.id).set(warm[engine.id])
        metrics.loop.slots.labels(engine.id).set(engine.max_loras)
