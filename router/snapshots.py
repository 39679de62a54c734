"""Snapshots: the registry's routing state, kept in memory and fresh by a loop in the background.

When the database fails, the last snapshot stays: routing goes on, and its age is a metric.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import structlog

from monitoring.metrics import Metrics
from registry import Registry
from registry.errors import DatabaseUnavailable
from registry.snapshot import Snapshot
from router.meters import Meters
from router.scribe import Scribe
from router.settings import RouterSettings
from router.traces import trace
from router.view import View, derive

_log = structlog.get_logger("router.snapshots")


class Snapshots:
    """`view` is what requests route by; `tick` makes it current. `clock` is monotonic seconds."""

    def __init__(
        self,
        settings: RouterSettings,
        registry: Registry,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.view = View()
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._clock = clock
        self._read_at: float | None = None
        self._current_at = clock()
        self._failing = False
        self._changed = asyncio.Event()
        self._meters: dict[str, Meters] = {}
        self._scribe = Scribe("snapshots")
        # Asked at each scrape, so that it grows even while a read hangs.
        metrics.snapshot_age_seconds.set_function(lambda: max(0.0, clock() - self._current_at))

    def meters(self, tenant: str) -> Meters:
        """A tenant's series, as long as the view knows the tenant."""
        meters = self._meters.get(tenant)
        if meters is None:
            meters = self._meters[tenant] = Meters(self._metrics, tenant)
        return meters

    async def startup(self) -> None:
        """Load once; a database that is away is not fatal, only not ready."""
        await self.tick()

    async def tick(self) -> None:
        """Ask for the revision; read everything when it moved, or when that was long ago."""
        now = self._clock()
        try:
            fresh = await self._scribe.do(partial(self._read, now))
        except DatabaseUnavailable as error:
            if not self._failing:
                _log.warning("registry unreachable: routing goes on", error=str(error))
            self._failing = True
        else:
            if self._failing:
                _log.info("registry is back")
            self._failing = False
            self._current_at = self._clock()
            if fresh is not None:
                self._adopt(fresh, now)

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(self._settings.revision_interval_s)
            try:
                await self.tick()
            except Exception as error:  # the loop's edge: else the router would go blind for good
                _log.error("snapshot failed", traceback=trace(error))

    def shutdown(self) -> None:
        """Read no more. A read that hangs is left alone."""
        self._scribe.close()

    async def changed(self, timeout_s: float) -> None:
        """Return when a new view came in, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return

    def _read(self, now: float) -> Snapshot | None:
        due = self._read_at is None or now - self._read_at >= self._settings.reload_interval_s
        if due or self._registry.revision() != self.view.snapshot.revision:
            return self._registry.snapshot()
        return None

    def _adopt(self, snapshot: Snapshot, now: float) -> None:
        self._read_at = now
        moved = snapshot.revision != self.view.snapshot.revision or not self.view.loaded
        self.view = derive(snapshot, self._settings.engine_stale_s)
        self._metrics.know_tenants(snapshot.tenants)
        self._meters = {}
        self._metrics.snapshot_revision.set(snapshot.revision)
        if moved:
            self._changed.set()
            self._changed = asyncio.Event()
