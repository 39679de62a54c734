"""Recorder: exchanges, from requests that are over to rows in the registry, off their path.

A bounded queue, written in batches by a thread. When the registry is away, or there is more traffic
than `records_per_second` (a row costs about what a request does), records are dropped and counted;
requests never wait for them, and tokens are counted in metrics in any case. Text leaves the router
only for tenants that opted in: the sketch, which can't be turned back into text, is made here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog
from sqlalchemy.exc import DataError, IntegrityError

from monitoring.metrics import Metrics
from registry import Registry
from registry.errors import DatabaseUnavailable
from router.budget import Budget
from router.call import Call
from router.settings import RouterSettings
from router.traces import trace

_log = structlog.get_logger("router.recorder")
Sketch = Callable[[object], bytes]


class Recorder:
    """`offer` never blocks; `flush` writes what is pending; a loop does so every so often."""

    def __init__(
        self, settings: RouterSettings, registry: Registry, metrics: Metrics, *, sketch: Sketch
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._sketch = sketch
        self._budget = Budget(settings.records_per_second, settings.records_per_second)
        self._sketch_budgets: dict[str, Budget] = {}
        self._pending: deque[Call] = deque()
        self._writing = asyncio.Lock()
        self._failing = False
        self.writing: dict[str, str] = {}
        """Completions that an engine is writing, by id, and whose they are."""

    def offer(self, call: Call) -> None:
        """Take a call that is over, or drop and count it when too many are waiting."""
        full = len(self._pending) >= self._settings.record_queue
        if full or self._budget.take(call.ended) > 0:
            self._metrics.exchanges_dropped_total.inc()
        else:
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
                except asyncio.CancelledError:  # at shutdown, which flushes: what is there already
                    self._pending.extendleft(reversed(batch))  # is left out then
                    raise

    async def startup(self) -> None:
        """Nothing to open."""

    async def tick(self) -> None:
        """One round of writing."""
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
            self._metrics.exchanges_dropped_total.inc(len(self._pending))
            _log.warning("exchanges lost at shutdown", count=len(self._pending))

    async def _write(self, batch: list[Call]) -> None:
        try:
            await asyncio.to_thread(self._add, batch)
            self._failing = False
        except DatabaseUnavailable as error:
            self._metrics.exchanges_dropped_total.inc(len(batch))
            if not self._failing:
                _log.warning("exchanges lost: registry unreachable", error=str(error))
            self._failing = True

    def _add(self, batch: list[Call]) -> None:
        try:
            self._registry.exchanges.add([self._row(call) for call in batch])
        except (DataError, IntegrityError):  # of a tenant that is gone, or odd: keep the others
            for call in batch:
                try:
                    self._registry.exchanges.add([self._row(call)])
                except (DataError, IntegrityError):
                    self._metrics.exchanges_dropped_total.inc()

    def _row(self, call: Call) -> dict[str, Any]:
        assert call.tenant and call.target and call.engine
        version, target, first = call.version, call.target, call.first_byte
        keep = call.tenant.store_text and len(call.messages) <= self._settings.record_text_bytes
        # A shadow's prompt is counted with the exchange that it copies.
        sketched = call.shadow_of is None and self._sketches(call.tenant.name).take(call.ended) == 0
        conversation = _conversation(call.messages) if keep or sketched else []
        return dict(
            id=call.completion_id,
            tenant=call.tenant.name,
            alias=target.alias.name if target.alias else None,
            adapter=target.adapter,
            digest=version.digest if version else None,
            served=call.served,
            fallback=call.fallback,
            role=call.role if version else "",
            shadow_of=call.shadow_of,
            queue_ms=call.queued_s * 1000,
            engine_id=call.engine.id,
            status=call.status,
            created_at=call.created_at,
            latency_ms=(call.ended - call.started) * 1000,
            ttft_ms=None if first is None else (first - call.started) * 1000,
            prompt_tokens=call.outcome.prompt_tokens,
            completion_tokens=call.outcome.completion_tokens,
            finish_reason=call.outcome.finish_reason,
            sketch=self._sketch(conversation) if conversation and sketched else None,
            messages={"messages": conversation} if keep and conversation else None,
            answer=answer_text(call.kept) if call.tenant.store_text else None,
        )

    def _sketches(self, tenant: str) -> Budget:
        budget = self._sketch_budgets.get(tenant)
        if budget is None:
            rate = self._settings.sketches_per_second
            budget = self._sketch_budgets[tenant] = Budget(rate, rate)
        return budget


def _conversation(raw: bytes) -> list[object]:
    try:
        return msgspec.json.decode(raw, type=list[object]) if raw else []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []  # the engine refused it, or it is stranger than a sketch can take


class _Said(msgspec.Struct):
    content: str | None = None


class _Part(msgspec.Struct):
    text: str | None = None


class _Item(msgspec.Struct):
    content: list[_Part] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Said | None = None
    delta: _Said | None = None
    text: str | None = None


class _Answer(msgspec.Struct):
    """A completion, a chunk of one, a response object, or an event of one."""

    choices: list[_Choice] = []
    output: list[_Item] = []
    type: str = ""
    delta: str | None = None


_answer = msgspec.json.Decoder(_Answer)


def answer_text(blocks: Sequence[bytes]) -> str | None:
    """The first choice's text, from one JSON body or from a stream's events."""
    raw = b"".join(blocks)
    if not raw:
        return None
    bodies = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: {")] or [raw]
    said: list[str] = []
    for body in bodies:
        try:
            answer = _answer.decode(body)
        except msgspec.MsgspecError:
            continue  # an event cut off, or an error: no text in it
        for choice in answer.choices:
            part = choice.message or choice.delta
            text = choice.text if part is None else part.content
            if choice.index == 0 and text:
                said.append(text)
        if answer.type == "response.output_text.delta" and answer.delta:
            said.append(answer.delta)
        said += [part.text for item in answer.output for part in item.content or () if part.text]
    return "".join(said)
