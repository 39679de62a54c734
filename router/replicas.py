"""Replicas: which ready engine gets a request. Decides in memory; awaits nothing.

First those where the version is warm, then the one with the fewest requests of this router's under
way. An engine that refused or dropped a connection is left alone for a moment, whatever the
registry still says of it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from router.view import Replica, View


@dataclass
class Replicas:
    """What this router knows of engines from its own traffic. Times are monotonic seconds."""

    cooldown_s: float
    in_flight: dict[str, int] = field(default_factory=dict)
    cooling: dict[str, float] = field(default_factory=dict)
    """Engine id → until when it is left alone."""

    def reachable(self, view: View, now: float, base: str | None = None) -> list[Replica]:
        """Ready engines that serve the base and are not cooling down."""
        cooling = self.cooling
        return [
            engine
            for engine in view.ready
            if (base is None or engine.base == base) and cooling.get(engine.id, 0.0) <= now
        ]

    def choose(
        self,
        view: View,
        now: float,
        *,
        base: str | None = None,
        digest: str | None = None,
        without: Collection[str] = (),
    ) -> Replica | None:
        """The engine for a version (by digest) or the base; None when there is none to ask."""
        engines = self.reachable(view, now, base)
        if digest is not None:
            failed = view.failed_in(digest)
            engines = [engine for engine in engines if engine.id not in failed]
        if without:
            engines = [engine for engine in engines if engine.id not in without]
        if len(engines) > 1 and digest is not None:
            warm = view.warm_in(digest)
            engines = [engine for engine in engines if engine.id in warm] or engines
        if len(engines) < 2:
            return engines[0] if engines else None
        return min(engines, key=lambda engine: self.in_flight.get(engine.id, 0))

    def begin(self, engine: Replica) -> None:
        """A request goes there."""
        self.in_flight[engine.id] = self.in_flight.get(engine.id, 0) + 1

    def end(self, engine: Replica) -> None:
        """It is over."""
        self.in_flight[engine.id] -= 1

    def cool(self, engine: Replica, now: float) -> None:
        """Leave the engine alone for a while."""
        self.cooling[engine.id] = now + self.cooldown_s
