"""Placement: on which replicas each version is at home, so that working sets fit slots. Pure.

A replica with `slots` slots serves so many adapters at full speed; one more and its batches fall
apart. So each version gets one home, versions are spread evenly, hot ones get further homes, and
one is moved when a replica holds more than its slots or much more than its share of the work.
Nothing moves for less: a move costs a load and the prefix cache.

Routers don't talk to each other about this. They agree because where a version goes first is
decided by its digest (rendezvous hashing), and because they see the same mixture of traffic.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

_MEMORY_S = 60.0
"""Time constant of a version's demand."""
_FORGOTTEN = 0.02
"""A version whose demand fell below this share of one request in that time has no home."""
_LIGHTEST = 0.2
"""What a request counts at least, as a share of the average one."""
_SLACK = 1.25
"""A replica with more than this many times its share of the versions, and one, is nobody's first
home: what is left of unevenness is mended by moves."""
_UNEVEN = 1.3
"""A replica with more than this many times its share of the work gives some away."""


@dataclass(frozen=True, slots=True)
class Room:
    """A replica, as far as placement cares."""

    id: str
    slots: int


@dataclass(slots=True)
class Placement:
    """`homes`: a version's digest → replicas, its first home first."""

    homes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    demand: dict[str, float] = field(default_factory=dict)
    """Weighted tokens of late, older ones counting less."""
    _mean_cost: float = 1.0
    _at: float = 0.0
    _rooms: tuple[Room, ...] = ()

    def note(self, digest: str, cost: float) -> None:
        """A request for a version, and what it is expected to cost."""
        self._mean_cost += 0.01 * (cost - self._mean_cost)
        # Many short requests need a home as much as few long ones.
        least = _LIGHTEST * self._mean_cost
        self.demand[digest] = self.demand.get(digest, 0.0) + (cost if cost > least else least)

    def of(
        self, digest: str, rooms: Sequence[Room], resident: Collection[str] = ()
    ) -> tuple[str, ...]:
        """A version's homes among `rooms`; a version that has none there gets one now, where it is
        `resident` if there is a free slot."""
        known = self.homes.get(digest)
        if known is not None:
            ids = {room.id for room in rooms}
            left = tuple(home for home in known if home in ids)
            if left:
                return left
        counts = self._counts(rooms)
        there = [room for room in rooms if room.id in resident and counts[room.id] < room.slots]
        home = _first_home(digest, there or rooms, counts)
        # A home that is away only for now is kept: it may be back before the next `tick`.
        self.homes[digest] = (home, *(known or ()))
        return (home,)

    def spread(self, digest: str, room_id: str) -> None:
        """Give a version one more home."""
        known = self.homes.get(digest, ())
        if room_id not in known:
            self.homes[digest] = (*known, room_id)

    def holds(self, room_id: str) -> int:
        """How many versions are at home in a replica."""
        return sum(room_id in homes for homes in self.homes.values())

    def tick(self, now: float, rooms: Sequence[Room]) -> list[str]:
        """Forget, and mend one thing of each kind; the digests whose homes changed."""
        fade = math.exp((self._at - now) / _MEMORY_S) if self._at else 1.0
        self._at = now
        floor = _FORGOTTEN * self._mean_cost
        self.demand = {d: v * fade for d, v in self.demand.items() if v * fade >= floor}
        before = self.homes
        ids = {room.id for room in rooms}
        self.homes = {
            digest: kept
            for digest, homes in before.items()
            if digest in self.demand and (kept := tuple(h for h in homes if h in ids))
        }
        if len(rooms) > 1:
            for digest in sorted(self.demand, key=lambda d: -self.demand[d]):
                self.of(digest, rooms)
            self._empty_the_overfull(rooms)
            self._share_the_work(rooms)
        return [d for d, homes in self.homes.items() if before.get(d) != homes]

    def _counts(self, rooms: Sequence[Room]) -> dict[str, int]:
        counts = dict.fromkeys((room.id for room in rooms), 0)
        for homes in self.homes.values():
            for home in homes:
                if home in counts:
                    counts[home] += 1
        return counts

    def _loads(self, rooms: Sequence[Room]) -> dict[str, float]:
        loads = dict.fromkeys((room.id for room in rooms), 0.0)
        for digest, homes in self.homes.items():
            for home in homes:
                if home in loads:
                    loads[home] += self.demand.get(digest, 0.0) / len(homes)
        return loads

    def _empty_the_overfull(self, rooms: Sequence[Room]) -> None:
        """Where more are at home than there are slots, second homes go, then the coldest move."""
        counts = self._counts(rooms)
        for room in rooms:
            while counts[room.id] > room.slots:
                here = [d for d, homes in self.homes.items() if room.id in homes]
                second = [d for d in here if len(self.homes[d]) > 1]
                coldest = min(second or here, key=lambda d: self.demand.get(d, 0.0))
                free = [r for r in rooms if counts[r.id] < r.slots]
                if second:
                    left = tuple(h for h in self.homes[coldest] if h != room.id)
                elif free:
                    to = min(free, key=lambda r: counts[r.id] / r.slots)
                    left = (to.id,)
                    counts[to.id] += 1
                else:
                    break  # more versions than slots altogether: the lanes take turns
                self.homes[coldest] = left
                counts[room.id] -= 1

    def _share_the_work(self, rooms: Sequence[Room]) -> None:
        """Move, or give a second home to, one version of the busiest replica."""
        loads, counts = self._loads(rooms), self._counts(rooms)
        mean = sum(loads.values()) / len(loads)
        busiest = max(rooms, key=lambda r: loads[r.id])
        idlest = min(rooms, key=lambda r: loads[r.id])
        full = counts[idlest.id] >= idlest.slots
        fuller = counts[busiest.id] * idlest.slots > (counts[idlest.id] + 1) * busiest.slots
        if mean <= 0.0 or loads[busiest.id] <= _UNEVEN * mean or (full and not fuller):
            return
        gap = loads[busiest.id] - loads[idlest.id]
        here = [
            d
            for d, homes in self.homes.items()
            if busiest.id in homes and idlest.id not in homes and self.demand.get(d, 0.0) > 0.0
        ]
        single = [d for d in here if len(self.homes[d]) == 1 and self.demand[d] <= gap / 2]
        if single:  # the one that brings both closest together
            moved = max(single, key=lambda d: self.demand[d])
            self.homes[moved] = (idlest.id,)
        elif here and not full:
            hottest = max(here, key=lambda d: self.demand[d])
            self.spread(hottest, idlest.id)


def _first_home(digest: str, rooms: Sequence[Room], counts: Mapping[str, int]) -> str:
    """Rendezvous hashing with bounded loads: the replica that the digest likes best among those
    that have a free slot and hold not much more than their share (Mirrokni et al., "Consistent
    Hashing with Bounded Loads", 2018; with no slack, who came first would decide most homes, and
    routers would hardly agree on any)."""
    total, slots = sum(counts.values()) + 1, sum(room.slots for room in rooms)
    free = [room for room in rooms if counts[room.id] < room.slots] or rooms
    fair = [r for r in free if counts[r.id] <= math.ceil(_SLACK * total * r.slots / slots)]
    return max(fair or free, key=lambda room: _liking(digest, room.id)).id


def _liking(digest: str, room_id: str) -> bytes:
    return hashlib.blake2b(f"{digest}/{room_id}".encode(), digest_size=8).digest()
