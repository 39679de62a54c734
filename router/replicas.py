"""Replicas: which ready engine gets a request. Decides in memory; awaits nothing.

Among the replicas where the version is at home (any, for the base): the one that the conversation
went to before, where that costs nothing; else the less loaded of two. A replica whose breaker is
open is left alone, whatever the registry still says of it. When all homes are busy and another
replica has a free slot, the version gets a home there.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from router.breaker import OPEN, Breaker, RetryBudget
from router.lanes import Lane, Rules
from router.ledger import COLD, Ledger
from router.placement import Placement, Room
from router.settings import RouterSettings
from router.station import Station
from router.view import Replica, View

_STICKY = 0.1
"""How much fuller than the emptiest a conversation's own replica may be."""


@dataclass
class Replicas:
    """What this router knows of engines from its own traffic. Times are monotonic seconds."""

    settings: RouterSettings
    stations: dict[str, Station] = field(default_factory=dict)
    placement: Placement = field(default_factory=Placement)
    retries: RetryBudget = field(default_factory=RetryBudget)
    _view: View | None = None
    _ready: tuple[Station, ...] = ()

    def choose(
        self,
        view: View,
        now: float,
        *,
        base: str | None = None,
        digest: str | None = None,
        without: Collection[str] = (),
        key: int = 0,
    ) -> Station | None:
        """The station for a version (by digest) or the base; None when there is none to ask.

        `key`: a number that is the same for all requests of a conversation, 0 for none.
        """
        if view is not self._view:
            self._adopt(view)
        stations = self._ready
        if len(stations) == 1 and not without:
            only = stations[0]
            if (base is None or only.engine.base == base) and only.breaker.allows(now):
                failed = digest is not None and only.engine.id in view.failed_in(digest)
                return None if failed else only
            return None
        failed_in = view.failed_in(digest) if digest is not None else ()
        usable = [
            station
            for station in stations
            if (base is None or station.engine.base == base)
            and station.engine.id not in without
            and station.engine.id not in failed_in
            and station.breaker.allows(now)
        ]
        if len(usable) < 2:
            return usable[0] if usable else None
        if digest is not None:
            usable = self._at_home(digest, usable)
        return _pick(usable, key)

    def reachable(self, view: View, now: float, base: str | None = None) -> bool:
        """Whether any ready engine that serves the base may be asked."""
        if view is not self._view:
            self._adopt(view)
        return any(
            (base is None or station.engine.base == base) and station.breaker.allows(now)
            for station in self._ready
        )

    def tick(self, view: View, now: float) -> None:
        """Now and then: let placement follow the traffic, and lanes the time."""
        if view is not self._view:
            self._adopt(view)
        self.placement.tick(now, [_room(station) for station in self._ready])
        for station in self.stations.values():
            station.tick(now)

    def states(self, now: float) -> Iterator[tuple[Station, str]]:
        """Each station and its breaker's state."""
        for station in self.stations.values():
            yield station, station.breaker.state(now)

    def failed(self, station: Station, now: float, *, unreachable: bool) -> None:
        """The engine did not answer, or with a failure of its own."""
        station.breaker.failed(now, unreachable=unreachable)
        if station.breaker.state(now) == OPEN:
            station.send_away()

    def _at_home(self, digest: str, usable: list[Station]) -> list[Station]:
        rooms = [_room(station) for station in usable]
        resident: Collection[str] = ()
        if digest not in self.placement.homes:
            resident = {s.engine.id for s in usable if s.ledger.where(digest) != COLD}
        ids = self.placement.of(digest, rooms, resident)
        homes = [station for station in usable if station.engine.id in ids]
        if all(station.lane.queued or station.load >= 1.0 for station in homes):
            free = [
                station
                for station in usable
                if station not in homes
                and not station.lane.queued
                and station.load < 0.5
                and self.placement.holds(station.engine.id) < station.lane.slots
            ]
            if free:
                spare = min(free, key=lambda station: station.load)
                self.placement.spread(digest, spare.engine.id)
                return [spare]
        return homes

    def _adopt(self, view: View) -> None:
        """Follow the registry: engines that came, went, or were started again."""
        before, self._view = self._view, view
        ready, fresh = [], set()
        for engine in view.ready:
            station = self.stations.get(engine.id)
            if station is None or station.engine.started_at != engine.started_at:
                if station is not None:
                    station.send_away()
                station = self.stations[engine.id] = self._station(engine)
                fresh.add(engine.id)
            station.engine = engine
            ready.append(station)
        for digest, ids in view.warm.items():
            news = ids - before.warm_in(digest) if before is not None else ids
            for engine_id in ids & fresh | news & self.stations.keys():
                self.stations[engine_id].ledger.acknowledged(digest)
        known = {engine.id for engine in view.snapshot.engines}
        for gone in [i for i in self.stations if i not in known]:
            self.stations.pop(gone).send_away()
        self._ready = tuple(ready)

    def _station(self, engine: Replica) -> Station:
        settings = self.settings
        # Each worker process of a router takes its part; routers on other machines are not known.
        seats = max(1, -(-engine.seats // settings.workers))
        return Station(
            engine=engine,
            lane=Lane(seats, engine.slots, Rules(settings.max_slowdown, settings.aging_s)),
            ledger=Ledger(engine.slots, engine.host_slots),
            breaker=Breaker(settings.cooldown_s),
            queue_limit=settings.queue_limit,
        )


def _room(station: Station) -> Room:
    return Room(station.engine.id, station.lane.slots)


def _pick(stations: list[Station], key: int) -> Station:
    if len(stations) == 1:
        return stations[0]
    emptiest = min(station.load for station in stations)
    if key:
        own = stations[key % len(stations)]
        if own.load <= emptiest + _STICKY:
            return own
    first, second = random.sample(stations, 2) if len(stations) > 2 else stations
    return first if first.load <= second.load else second
