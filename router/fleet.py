"""The fleet: what this router does about its replicas now and then, and what it shows of them."""

from __future__ import annotations

import asyncio
import gc
import time

import structlog

from monitoring.metrics import Metrics
from monitoring.replica_metrics import LOAD_SOURCES
from router.breaker import CLOSED, HALF_OPEN, OPEN
from router.replicas import Replicas
from router.snapshots import Snapshots
from router.traces import trace

_log = structlog.get_logger("router.fleet")
_STATES = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
_INTERVAL_S = 0.5
_TIDY_ROUNDS = 20


class Fleet:
    """A loop: placement follows the traffic, metrics follow the replicas."""

    def __init__(self, replicas: Replicas, snapshots: Snapshots, metrics: Metrics) -> None:
        self._replicas = replicas
        self._snapshots = snapshots
        self._metrics = metrics
        self._shown: set[str] = set()

    async def startup(self) -> None:
        """Nothing to open."""

    async def tick(self) -> None:
        """One round."""
        now = time.monotonic()
        self._replicas.tick(self._snapshots.view, now)
        seen = set()
        for station, state in self._replicas.states(now):
            name, lane, metrics = station.engine.id, station.lane, self._metrics.replicas
            seen.add(name)
            metrics.running.labels(name).set(lane.running)
            metrics.queued.labels(name).set(lane.queued)
            metrics.adapters.labels(name).set(len(lane.active))
            metrics.breaker.labels(name).set(_STATES[state])
            loads = station.take_loads()
            for source in LOAD_SOURCES:  # also 0: a counter is there before its first event
                metrics.loads_total.labels(name, source).inc(loads.get(source, 0))
        retries, self._replicas.retries.taken = self._replicas.retries.taken, 0
        self._metrics.replicas.retries_total.inc(retries)
        for gone in self._shown - seen:
            self._metrics.replicas.forget(gone)
        self._shown = seen

    async def run(self) -> None:
        """Tick for ever."""
        rounds = 0
        while True:
            await asyncio.sleep(_INTERVAL_S)
            rounds += 1
            if rounds % _TIDY_ROUNDS == 0:
                # Each snapshot's rows refer to one another in circles, and the collector by itself
                # comes too seldom for them (router/server.py): memory would grow with every read.
                gc.collect()
            try:
                await self.tick()
            except Exception as error:  # the loop's edge
                _log.error("fleet round failed", traceback=trace(error))

    async def shutdown(self) -> None:
        """Nothing to close."""
