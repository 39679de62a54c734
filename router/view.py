"""A view: what routing derives from one snapshot, worked out once and not at every request.

Immutable, like the snapshot it stands on. Which engines are fresh is judged by the moment at which
the snapshot was read, not by the clock: when the database is gone, heartbeats stop arriving here
but the engines go on, and a dead one shows itself by refusing connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from registry.engines import Engine
from registry.snapshot import Snapshot
from registry.tenants import Tenant
from registry.versions import Version

_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Replica:
    """An engine, as far as routing cares. Plain attributes: an ORM row's cost a call each."""

    id: str
    url: str
    base: str
    started_at: float = 0.0
    """Seconds since the epoch: a later one is another process, with nothing loaded."""
    seats: int = 64
    slots: int = 16
    host_slots: int = 64


@dataclass(frozen=True)
class View:
    """`warm` and `failed` map a version's digest to the ids of engines where it is so."""

    snapshot: Snapshot = field(default_factory=Snapshot)
    opens: Mapping[str, tuple[Tenant, float | None]] = field(default_factory=dict)
    """A key's SHA-256 (hex) → whose it is, and when it expires (seconds since the epoch)."""
    ready: tuple[Replica, ...] = ()
    bases: tuple[str, ...] = ()
    """Names under which bases can be asked for; the first is the one nobody had to name."""
    warm: Mapping[str, frozenset[str]] = field(default_factory=dict)
    failed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    fine_tuned: Mapping[str, Version] = field(default_factory=dict)
    """Versions by the name that the fine-tuning API gives them."""
    unchecked: frozenset[str] = _NONE
    """Jobs of which a checkpoint has not met the engine's check yet."""
    memo: dict[tuple[str, str | None], Any] = field(default_factory=dict, compare=False)
    """Room for `select` to remember what each (tenant, name) means for as long as this view is."""

    @property
    def loaded(self) -> bool:
        """Whether a snapshot was ever read."""
        return self.snapshot.taken_at > 0

    def warm_in(self, digest: str) -> frozenset[str]:
        """Engines that have answered from this version."""
        return self.warm.get(digest, _NONE)

    def failed_in(self, digest: str) -> frozenset[str]:
        """Engines that could not load this version."""
        return self.failed.get(digest, _NONE)


def derive(snapshot: Snapshot, stale_s: float) -> View:
    """The view of a snapshot; engines silent for more than `stale_s` seconds are not ready."""
    ready = tuple(
        _replica(engine)
        for engine in snapshot.engines
        if engine.state == "ready" and snapshot.taken_at - engine.heartbeat_at <= stale_s
    )
    placed: dict[str, dict[str, set[str]]] = {"warm": {}, "failed": {}}
    for (engine_id, digest), placement in snapshot.placements.items():
        if placement.state in placed:
            placed[placement.state].setdefault(digest, set()).add(engine_id)
    return View(
        snapshot=snapshot,
        opens={
            digest: (snapshot.tenants[key.tenant], key.expires_at)
            for digest, key in snapshot.keys.items()
            if key.tenant in snapshot.tenants
        },
        ready=ready,
        bases=tuple(dict.fromkeys([*(e.base for e in ready), *(e.base for e in snapshot.engines)])),
        warm={digest: frozenset(ids) for digest, ids in placed["warm"].items()},
        failed={digest: frozenset(ids) for digest, ids in placed["failed"].items()},
        fine_tuned={v.fine_tuned_name: v for v in snapshot.versions.values()},
        unchecked=frozenset(
            v.job_id
            for v in snapshot.versions.values()
            if v.step is not None and v.state == "candidate" and v.job_id is not None
        ),
    )


def _replica(engine: Engine) -> Replica:
    return Replica(
        engine.id,
        engine.url,
        engine.base,
        engine.started_at,
        engine.max_num_seqs,
        engine.max_loras,
        engine.max_cpu_loras,
    )
