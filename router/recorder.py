"""Recorder: exchanges, from requests that are over to rows in the registry, off their path.

A queue bounded in length and bytes, written in batches by a thread. When the registry is away, slow
or hangs, or there is more traffic than `records_per_second`, or the process is busy (a row costs
about what a request does: router/leisure.py), records are dropped and counted, a noisy tenant's
before a quiet one's (router/rations.py); requests never wait for them, and tokens are counted in
metrics in any case. Thinning out is by design (`thinned`); what else is lost (`queue`, `registry`)
calls somebody. What a row holds of a call: router/record.py.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from functools import partial

import structlog
from sqlalchemy.exc import DataError, IntegrityError

from monitoring.metrics import DROP_REASONS, Metrics
from registry import Registry
from registry.errors import DatabaseUnavailable
from registry.exchanges import CONTROL
from router.call import Call
from router.leisure import Leisure
from router.meanings import Meanings
from router.rations import Rations
from router.record import Records, Sketches
from router.scribe import Busy, Scribe
from router.select import CANARY, SHADOW
from router.settings import RouterSettings
from router.traces import trace

_log = structlog.get_logger("router.recorder")
_TRIALS = (CANARY, SHADOW, CONTROL)


class Recorder:
    """`offer` never blocks; `flush` writes what is pending; a loop does so every so often."""

    def __init__(
        self,
        settings: RouterSettings,
        registry: Registry,
        metrics: Metrics,
        *,
        sketches: Sketches,
        meanings: Meanings,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        drops = metrics.exchanges_dropped_total
        self._dropped = {reason: drops.labels(reason) for reason in DROP_REASONS}
        """At hand, as a busy router thins out most of what it answers."""
        self._records = Records(settings, registry, metrics, sketches, meanings)
        self._rations = Rations(settings.records_per_second, settings.records_per_second)
        self._leisure = Leisure(settings.records_per_second, settings.record_share)
        self._pending: deque[Call] = deque()
        self._held = 0
        """Bytes of text in what is pending or being written."""
        self._scribe = Scribe("recorder")
        self._writing = asyncio.Lock()
        self._failing = False
        self.writing: dict[str, str] = {}
        """Completions that an engine is writing, by id, and whose they are."""

    def offer(self, call: Call) -> None:
        """Take a call that is over, or drop and count it when too many are waiting."""
        size, most = call.text_bytes, self._settings.record_queue_bytes
        if size > most:  # it alone: the row goes on without its text
            call.forget_text()
            size = 0
        full = len(self._pending) >= self._settings.record_queue or self._held + size > most
        assert call.tenant
        party = (call.tenant.name, call.role in _TRIALS)
        if full:
            self._lost("queue", 1)
        elif not self._rations.take(party, call.ended):
            self._lost("thinned", 1)
        else:
            self._held += size
            self._pending.append(call)

    async def flush(self) -> None:
        """Write everything that was offered before this call."""
        async with self._writing:
            left = len(self._pending)
            while left > 0:
                size = min(left, self._settings.record_batch)
                batch = [self._pending.popleft() for _ in range(size)]
                left -= size
                try:
                    await self._write(batch)
                except asyncio.CancelledError:  # whoever flushes next writes it (again: what is
                    self._pending.extendleft(reversed(batch))  # there already is left out)
                    raise
                except Busy:
                    self._pending.extendleft(reversed(batch))
                    return
                except Exception:
                    self._lost("registry", size)
                    self._held -= sum(call.text_bytes for call in batch)
                    raise
                self._held -= sum(call.text_bytes for call in batch)

    async def startup(self) -> None:
        """Nothing to open."""

    async def tick(self) -> None:
        """One round of writing."""
        # A burst after quiet is still written whole: only what goes on and on is thinned out.
        self._rations.rate = self._leisure.rate(time.monotonic(), time.process_time())
        await self.flush()

    async def run(self) -> None:
        """Tick for ever."""
        while True:
            await asyncio.sleep(self._settings.record_interval_s)
            try:
                await self.tick()
            except Exception as error:  # the loop's edge: an odd batch must not end all recording
                _log.error("recording failed", traceback=trace(error))

    async def shutdown(self, timeout: float = 5.0) -> None:
        """Write what is left, for at most `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self.flush()
        except TimeoutError:
            self._lost("registry", len(self._pending))
            _log.warning("exchanges lost at shutdown", count=len(self._pending))
            self._pending.clear()
        self._scribe.close()

    async def _write(self, batch: list[Call]) -> None:
        try:
            await self._scribe.do(partial(self._add, batch))
            self._failing = False
        except DatabaseUnavailable as error:
            self._lost("registry", len(batch))
            if not self._failing:
                _log.warning("exchanges lost: registry unreachable", error=str(error))
            self._failing = True

    def _add(self, batch: list[Call]) -> None:
        began = time.thread_time()
        try:
            self._keep(batch)
        finally:
            self._leisure.spent(len(batch), time.thread_time() - began)

    def _keep(self, batch: list[Call]) -> None:
        rows = self._records.rows(batch)
        written = self._metrics.exchanges_written_total
        try:
            self._registry.exchanges.add(rows)
            written.inc(len(rows))
        except (DataError, IntegrityError):  # of a tenant that is gone, or odd: keep the others
            for row in rows:
                try:
                    self._registry.exchanges.add([row])
                    written.inc()
                except (DataError, IntegrityError):
                    self._lost("registry", 1)

    def _lost(self, reason: str, count: int) -> None:
        self._dropped[reason].inc(count)
