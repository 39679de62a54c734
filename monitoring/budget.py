"""The budget of false alarms, as stakes: what may be bet at each prompt so that the week's is kept.

A bet of s that is fair when nothing changed reaches 1 with a chance of s at most. So if an alarm is
a fortune of 1, expected false alarms are at most the sum of all stakes, whoever placed them,
however they depend on each other. A fleet's budget is therefore kept by never handing out more than
it: each adapter's share of it accrues with time, and each prompt stakes a little of what has
accrued. A busy adapter stakes little at each prompt, a quiet one more; nobody's traffic need be
known. What accrues is kept for two weeks: in no week more than that week's and two weeks' more is
staked, however quiet it was before. (An adapter with under 500 prompts a week uses less than its
share.)

Knows numbers and seconds; nothing about prompts.
"""

from __future__ import annotations

from typing import Any

WEEK = 7 * 86_400.0
AHEAD = 2 * 86_400.0
"""An adapter begins with this many seconds' share, or its first prompts could stake nothing."""
MOST = 2 * WEEK
"""No more than this many seconds' share is kept, and no step of a clock grants more."""
SPREAD = 1000
"""A prompt stakes one part in so many of what has accrued."""


class Purse:
    """What one adapter may still stake. `per_week`: false alarms of the whole fleet."""

    def __init__(self, per_week: float) -> None:
        self._rate = per_week / WEEK
        self._share: float | None = None
        self._at: float | None = None
        self._latest: float | None = None
        """The greatest time there was. `_at` may lie before it: that clock was wrong."""
        self._kept = 0.0
        self.spent = 0.0
        """All stakes so far: at most so many false alarms are to be expected from them."""

    def stake(self, at: float | None, share: float) -> float:
        """What the prompt of time `at` (seconds; None: no time has passed) may stake. `share` in
        (0, 1]: this adapter's part of the fleet's budget; all shares of a time add up to 1."""
        if self._share is None:
            self._share, self._kept = share, self._rate * share * AHEAD
        # Between two prompts the fleet may have grown or shrunk: the smaller share is safe.
        self._kept += self._rate * min(share, self._share) * self._passed(at)
        self._kept = min(self._kept, self._rate * share * MOST)
        self._share = share
        stake = self._kept / SPREAD
        self._kept -= stake
        self.spent += stake
        return stake

    def _passed(self, at: float | None) -> float:
        """Seconds since the prompt before; 0 for one that is late."""
        if at is None:
            return 0.0
        before, latest = self._at, self._latest
        self._latest = at if latest is None else max(at, latest)
        if before is None or latest is None or at < before - MOST:
            self._at = at  # the clock before was ahead: go on from this one
            return 0.0
        self._at = max(at, before)
        if at > before + MOST:  # long quiet, or a clock ahead: which grants no time twice
            return min(max(at - latest, 0.0), MOST)
        return self._at - before

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "share": self._share, "at": self._at, "latest": self._latest,
            "kept": self._kept, "spent": self.spent,
        }  # fmt: skip

    @classmethod
    def load(cls, per_week: float, kept: dict[str, Any]) -> Purse:
        """A purse that goes on where the dumped one stood. Raises KeyError."""
        purse = cls(per_week)
        purse._share, purse._at = kept["share"], kept["at"]
        purse._latest = kept.get("latest", purse._at)
        purse._kept, purse.spent = kept["kept"], kept["spent"]
        return purse
