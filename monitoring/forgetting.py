"""Forgetting: takes text that was kept long enough out of the registry, and later whole exchanges.

Every ten minutes, in steps: a long transaction would hold up those who write. Decides by age alone;
what a tenant asks to have deleted is `registry.retention.Retention.forget`. Every hour it sweeps
the store: what no row names any more goes when it is a day old.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from monitoring.settings import ControllerSettings
from registry import Registry

_log = structlog.get_logger("switchyard.controller")
DAY_S = 86400.0
_EVERY_S = 600.0
_SWEEP_EVERY_S = 3600.0
_SWEPT_AFTER_S = DAY_S
"""Content comes before the row that names it: an adapter that is examined waits for hours."""
_STEPS = 10
"""In one tick; what is left then goes in the next."""


class Forgetting:
    """`tick` as often as you like; it blocks. `clock` gives seconds since the epoch, `at_once` is
    how many exchanges a step takes."""

    def __init__(
        self,
        registry: Registry,
        settings: ControllerSettings,
        *,
        clock: Callable[[], float] = time.time,
        at_once: int = 1000,
    ) -> None:
        self._at_once = at_once
        self._retention = registry.retention
        self._settings = settings
        self._clock = clock
        self._contents = registry.contents
        self._due = 0.0
        self._sweep_due = 0.0
        self._text_until = 0.0
        """Exchanges from before this have no text any more: they need not be looked at again."""

    def tick(self) -> None:
        """Forget what is due. Raises DatabaseUnavailable."""
        now = self._clock()
        if now >= self._sweep_due:
            self._sweep_due = now + _SWEEP_EVERY_S
            self._sweep(now)
        if now < self._due:
            return
        text, said, rows = 0, 0, 0
        done = True
        if self._settings.keep_text_days:
            before = now - self._settings.keep_text_days * DAY_S
            since = self._text_until

            text, done = self._in_steps(
                lambda: self._retention.forget_text_before(before, since, self._at_once)
            )
            said, all_said = self._in_steps(
                lambda: self._retention.forget_said_before(before, self._at_once)
            )
            done = done and all_said
            if done:
                self._text_until = before
        if self._settings.keep_exchanges_days:
            oldest = now - self._settings.keep_exchanges_days * DAY_S
            rows, all_gone = self._in_steps(
                lambda: self._retention.forget_before(oldest, limit=self._at_once)
            )
            done = done and all_gone
        if text or said or rows:
            _log.info("forgotten", texts=text, said=said, exchanges=rows)
        if done:
            self._due = now + _EVERY_S

    def _sweep(self, now: float) -> None:
        try:
            gone = self._contents.sweep(now - _SWEPT_AFTER_S)
        except OSError as error:  # texts are forgotten all the same
            _log.warning("store_not_swept", error=str(error))
        else:
            if gone:
                _log.info("store_swept", contents=gone)

    def _in_steps(self, forget: Callable[[], int]) -> tuple[int, bool]:
        """(how many went, whether that was all)."""
        total = 0
        for _ in range(_STEPS):
            went = forget()
            total += went
            if went < self._at_once:
                return total, True
        return total, False
