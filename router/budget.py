"""Budgets: at most so many a second, with room for a burst. A token bucket; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Budget:
    """`rate` a second, at most `burst` at once. Starts full."""

    rate: float
    burst: float
    left: float = -1.0
    at: float = 0.0

    def take(self, now: float) -> float:
        """0.0 and one less; or, when there is none, the seconds until there is one again.

        `now` is any clock in seconds that doesn't go back.
        """
        if self.left < 0:
            self.left, self.at = self.burst, now
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        if self.left >= 1.0:
            self.left -= 1.0
            return 0.0
        return (1.0 - self.left) / self.rate
