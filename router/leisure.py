"""Leisure: how many records a second a process has time for.

As long as it has time to spare, all that are allowed. When it is busy (its processor time is nearly
a core's, and what it does goes on in one thread at a time), records may take no more than a share
of it: requests come first. What a record costs is measured.

Knows two clocks, handed in; nothing about records.
"""

from __future__ import annotations

_BUSY = 0.85
"""Of a core: from there on requests wait for each other."""
_FIRST_GUESS_S = 300e-6
_NEWEST = 0.2


class Leisure:
    """`rate` allows `most` a second, or what fits into `share` of a core while it is busy."""

    def __init__(self, most: float, share: float) -> None:
        self._most = most
        self._share = share
        self._cost_s = _FIRST_GUESS_S
        self._at: tuple[float, float] | None = None

    def spent(self, count: int, seconds: float) -> None:
        """`count` records took so many seconds of processor time."""
        if count:
            self._cost_s += _NEWEST * (seconds / count - self._cost_s)

    def rate(self, wall_s: float, processor_s: float) -> float:
        """Records a second from now on, at least one; `wall_s` and `processor_s` (the process's)
        only go forward."""
        before, self._at = self._at, (wall_s, processor_s)
        if before is None or wall_s <= before[0]:
            return self._most
        busy = (processor_s - before[1]) / (wall_s - before[0])
        if busy < _BUSY:
            return self._most
        return max(1.0, min(self._most, self._share / self._cost_s))
