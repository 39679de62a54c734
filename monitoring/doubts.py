"""Doubts: which of an adapter's requests prove nothing, whatever is said of them later.

Those that were sent while the pipeline was broken (monitoring/integrity.py), by their numbers: from
the first that was built in another way, which is known only some fifty later, to where nearly none
is. And what the live version answered while its canary prompts got wrong answers, by its time: from
when they were last answered rightly to when they are again.

Pure: no clock, no database; goes on from what `dump` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TIMES = 20
"""Times in which the live version was wrong that are remembered, the latest."""


class Doubts:
    """Of one adapter, from one promotion to the next."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        kept = state or {}
        self._first: int | None = kept.get("first")
        """Of the broken time under way, its first exchange."""
        self._told: int = kept.get("told", 0)
        """Up to this exchange `due` has told."""
        self._ended: list[tuple[int, int]] = []
        self._wrong: list[list[float | None]] = [[*pair] for pair in kept.get("wrong", ())]
        self._right_at: float | None = kept.get("right_at")

    def after_promotion(self) -> Doubts:
        """Another version is live: a broken pipeline stays so, what the one before answered is no
        matter."""
        return Doubts({"first": self._first, "told": self._told})

    def begin(self, first: int) -> None:
        """The pipeline is broken, since the exchange with the number `first`."""
        self._first, self._told = first, 0

    def end(self, last: int) -> None:
        """It was, up to this one."""
        if self._first is not None:
            self._ended.append((self._first, last))
        self._first = None

    def accept(self, cursor: int) -> tuple[int, int] | None:
        """How messages are built now is the usual way: (first, last) of those that are no longer in
        doubt, up to `cursor`."""
        first, self._first = self._first, None
        return None if first is None else (first, cursor)

    def due(self, cursor: int) -> list[tuple[int, int]]:
        """(first, last) of the exchanges in doubt that were not told yet, up to `cursor`."""
        found = [*self._ended, *([] if self._first is None else [(self._first, cursor)])]
        late = [(first if first > self._told else self._told + 1, last) for first, last in found]
        self._ended = []
        if found:
            self._told = cursor
        return [(first, last) for first, last in late if first <= last]

    def covers(self, number: int) -> bool:
        """Whether an exchange is in doubt, of those that `due` has yet to tell or that are of the
        time under way."""
        now = self._first is not None and self._first <= number
        return now or any(first <= number <= last for first, last in self._ended)

    def check(self, artifact: str | None, at: float | None, since: float | None) -> bool:
        """Take in what the canary prompts said: what is wrong with the live version, and when that
        was (seconds). `since`: its promotion. Whether it is wrong, and was not before."""
        is_open = bool(self._wrong) and self._wrong[-1][1] is None
        if artifact is not None and not is_open:
            self._wrong = [*self._wrong, [self._right_at or since, None]][-_TIMES:]
            return True
        if artifact is None and at is not None:
            if is_open:
                self._wrong[-1][1] = at
            self._right_at = at
        return False

    def is_wrong(self, at: float | None) -> bool:
        """Whether what the live version answered then (seconds) proves nothing."""
        return at is not None and any(
            (since or 0.0) <= at and (until is None or at < until) for since, until in self._wrong
        )

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "first": self._first,
            "told": self._told,
            "wrong": self._wrong,
            "right_at": self._right_at,
        }
