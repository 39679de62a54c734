"""Rations: whose exchanges are written when not all can be.

Each party that sent something lately is sure of an equal part of what may be written a second, and
whoever sends more shares what the others leave: a noisy tenant can't have a quiet one's exchanges
dropped. A tenant's versions on trial, and the base beside them, are a party of their own: few
exchanges, which decide what goes live.

Knows names and seconds; nothing about records.
"""

from __future__ import annotations

Party = tuple[str, bool]
"""A tenant, and whether it is of its trials."""

_LATELY_S = 60.0


class Rations:
    """`rate`: records a second, of all together; `burst` at once after quiet."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self._burst = burst
        self._left = burst
        """Below 0 while more was sure than may be written: others wait until it is made up."""
        self._at: float | None = None
        self._parts: dict[Party, tuple[float, float]] = {}
        """What is left of each one's own part, and when it last sent something."""
        self._looked_at = 0.0

    def take(self, party: Party, now: float) -> bool:
        """Whether this one is to be written. `now`: a clock in seconds that doesn't go back."""
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self.rate)
        self._at = now
        sure = self._sure(party, now)
        if not (sure or self._left >= 1.0):
            return False
        self._left = max(self._left - 1.0, -self._burst)
        return True

    def _sure(self, party: Party, now: float) -> bool:
        """Whether it is of the party's own part, which is then one less."""
        if now - self._looked_at > _LATELY_S:
            self._parts = {
                who: part for who, part in self._parts.items() if now - part[1] <= _LATELY_S
            }
            self._looked_at = now
        left, at = self._parts.get(party, (1.0, now))
        each = self.rate / max(len(self._parts), 1)
        left = min(max(each, 1.0), left + (now - at) * each)
        sure = left >= 1.0
        self._parts[party] = (left - 1.0 if sure else left, now)
        return sure
