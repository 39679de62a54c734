"""Failing: does a version that went live fail requests more often than the one before it did?

What was usual is the share that failed while the version before was live (the promised 1 % where
there was none), and how far above that the truth may be (Wilson's upper bound, 95 %). A gambler
bets with each request of the new version that failures have risen above that by more than `margin`,
as in monitoring/quality.py. His fortune is as it is now: it sinks with each request that is
answered, so that what ended is no reason any more.

Pure: no clock, no database; goes on from what `dump` gives. Whose fault it is, the version's or the
platform's, is seen by what became of others' requests at the same time (`compare`): where those
fail as well it is forgotten, where they do not it `is_own`, and where there are none it may be
either.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

from monitoring.interval import wilson
from monitoring.quality import QualitySettings

_STAKES = (0.1, 0.25, 0.5)
_MOST = 200
"""Requests of the version before that say what is usual."""
_FEWEST = 20
_PROMISED = 0.01
_CEILING_ABOVE = 2.0
_LAST = 20
_OTHERS = 5
"""Requests of others from which on they say something."""


class Failing:
    """One version's requests, from one promotion to the next."""

    def __init__(
        self,
        settings: QualitySettings,
        state: Mapping[str, Any] | None = None,
        *,
        before: Failing | None = None,
    ) -> None:
        kept = state or {}
        self._margin = settings.margin
        self._threshold = math.log(settings.outcomes_per_false_alarm)
        usual = kept.get("usual", (_PROMISED, _MOST) if before is None else before.so_far)
        self._usual: tuple[float, int] = (float(usual[0]), int(usual[1]))
        self.requests = int(kept.get("requests", 0))
        self.failed = int(kept.get("failed", 0))
        self._logs = [float(x) for x in kept.get("logs", [0.0] * len(_STAKES))]
        self._latest: deque[int] = deque(kept.get("latest", ()), maxlen=_LAST)
        self._times: deque[float] = deque(kept.get("times", ()), maxlen=_LAST)
        others = kept.get("others", (0, 0))
        self._others: tuple[int, int] = (int(others[0]), int(others[1]))

    @property
    def so_far(self) -> tuple[float, int]:
        """What is usual for the next: (share, requests that say so); as for this one where it had
        too few."""
        known = self.requests >= _FEWEST and not self.down
        return (self.share, min(self.requests, _MOST)) if known else self._usual

    @property
    def share(self) -> float:
        """Of all its requests, those that failed."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def evidence(self) -> float:
        """log of the gambler's fortune as it is now."""
        top = max(self._logs)
        return max(0.0, top + math.log(sum(math.exp(x - top) for x in self._logs) / len(_STAKES)))

    @property
    def down(self) -> bool:
        """Whether it fails more often than was usual, by more than the margin."""
        return self.evidence >= self._threshold

    @property
    def window(self) -> tuple[float, float]:
        """When its last failures were (seconds since the epoch). Raises ValueError without any."""
        return min(self._times), max(self._times)

    def see(self, failed: bool, at: float) -> None:
        """Take in one request."""
        self.requests += 1
        self.failed += failed
        self._latest.append(int(failed))
        if failed:
            self._times.append(at)
        interval = wilson(self._usual[0], self._usual[1])
        limit = (interval[1] if interval else self._usual[0]) + self._margin
        if limit >= 1.0:
            return
        most = self._threshold + _CEILING_ABOVE
        self._logs = [
            min(most, max(0.0, x) + math.log1p(stake / limit * (failed - limit)))
            for x, stake in zip(self._logs, _STAKES, strict=True)
        ]

    def compare(self, failed: int, requests: int) -> None:
        """Take in that of others' `requests` within `window` so many `failed`. Where that is half
        as often as its own or more, what failed was not its doing, and is no evidence."""
        self._others = failed, requests
        if requests >= _OTHERS and failed / requests >= self.share_lately / 2:
            self._logs = [0.0] * len(_STAKES)

    @property
    def is_own(self) -> bool:
        """Whether the failures are shown to be the version's own: others do far better at the same
        time; or there are none, and it has failed from its first request on."""
        if self._others[1] >= _OTHERS:
            return self.down
        return self.requests >= _FEWEST and self.failed == self.requests

    @property
    def share_lately(self) -> float:
        """Of its last 20 requests, those that failed."""
        return sum(self._latest) / len(self._latest) if self._latest else 0.0

    @property
    def said(self) -> str:
        """What failed, and what of others, for people."""
        failed, requests = self._others
        lately = f"{sum(self._latest)} of its last {len(self._latest)} requests failed"
        if requests >= _OTHERS:
            return f"{lately}, and {failed} of {requests} of others' at the same time"
        if self.is_own:
            return (
                f"each of its {self.requests} requests failed, from the first on, and others had "
                f"too few at the same time to compare with ({requests})"
            )
        return (
            f"{lately}, and others had too few at the same time ({requests}) to show whether it is "
            "the version or the platform"
        )

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "usual": [*self._usual],
            "requests": self.requests,
            "failed": self.failed,
            "latest": [*self._latest],
            "logs": self._logs,
            "times": [*self._times],
            "others": [*self._others],
        }

    def figures(self) -> dict[str, Any]:
        """For a receipt."""
        return {
            "usual": round(self._usual[0], 4),
            "lately": round(self.share_lately, 4),
            "failed": self.failed,
            "requests": self.requests,
            "others": {"failed": self._others[0], "requests": self._others[1]},
            "evidence": round(self.evidence, 3),
            "threshold": round(self._threshold, 3),
        }
