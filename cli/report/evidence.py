"""What the controller knows of each adapter's live version, for the account: as its gauges say it.

Reads the rows that the controller keeps, and the receipts, which hold the same figures of earlier
times; decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from cli.drift import Drift

if TYPE_CHECKING:
    from monitoring.settings import ControllerSettings
    from registry import Registry


def add(registry: Registry, told: dict[str, Any], settings: ControllerSettings) -> None:
    """To each adapter of the account: where drift stands, how many would call its answers bad,
    what it is better in than the base, what is wrong; each now and, by receipts, before."""
    states = {(state.tenant, state.adapter): state for state in registry.decisions.drift_states()}
    for of_tenant in told["tenants"]:
        for adapter in of_tenant["adapters"]:
            names = (of_tenant["tenant"], adapter["adapter"])
            own = [d for d in of_tenant["decisions"] if d["adapter"] == adapter["adapter"]]
            adapter["past"] = past(own)
            state = states.get(names)
            adapter["drift"] = None if state is None else Drift.of(state, settings).json()
            adapter |= _now(registry, settings, *names) if state is not None else _NOTHING


_NOTHING: Mapping[str, Any] = {"disliked": None, "against_base": {}, "wrong": []}


def _now(
    registry: Registry, settings: ControllerSettings, tenant: str, adapter: str
) -> Mapping[str, Any]:
    from monitoring.situation import artifact_of
    from monitoring.watcher import Watcher
    from registry.errors import NotFound

    watcher = Watcher(registry, settings, tenant, adapter)
    if watcher.live is None:
        return _NOTHING
    try:
        certificate = registry.versions.get(watcher.live).certificate
    except NotFound:  # deleted since
        certificate = {}
    watcher.artifact = artifact_of(certificate.get("again"))
    wrong = []
    if watcher.broken is not None:
        wrong.append(watcher.broken[1])
    if watcher.worse is not None:
        wrong.append(f"more answers are {watcher.worse} than after the promotion")
    if watcher.stopped is not None:
        wrong.append(f"the base does as well: its answers are no more often {watcher.stopped}")
    return {
        "disliked": watcher.powered.evidence() or None,
        "against_base": watcher.advantage.evidence(),
        "wrong": wrong,
    }


def past(decisions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What receipts say of evidence, oldest first: `at`, and of drift, disliked answers and the
    advantage over the base what each had."""
    told = []
    for decision in sorted(decisions, key=lambda found: found["at"]):
        evidence = decision["evidence"]
        point = {
            "drift": evidence if {"statistic", "threshold"} <= evidence.keys() else None,
            "disliked": evidence.get("disliked"),
            "against_base": evidence.get("against_base"),
        }
        if any(point.values()):
            told.append({"at": decision["at"], **point})
    return told
