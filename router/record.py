"""Records: calls that are over, as the rows that are kept of them.

Made in the recorder's thread. Text leaves the router only for tenants that opted in, and redacted;
of all others only what can't be turned back into text: signals and a sketch. Knows calls and
settings; nothing about queues.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from monitoring.client import client
from monitoring.integrity import layout
from monitoring.meaning import Meaning
from monitoring.metrics import Metrics
from monitoring.redaction import redacted, redacted_json
from monitoring.signals import Format, Signals, observe
from registry import Registry
from registry.exchanges import CONTROL
from registry.versions import Version
from router import said
from router.budget import Budget
from router.call import Call
from router.meanings import Meanings
from router.said import Said
from router.select import SHADOW
from router.settings import RouterSettings
from router.traces import trace

_log = structlog.get_logger("router.record")

Sketches = Callable[[Sequence[object], Meaning | None], list[bytes]]
"""(conversations, what their words mean) → a sketch of each."""
_FORMATS_S = 5.0
"""How old what adapters say of their answers may be."""


class Records:
    """`rows` may ask the registry, once every few seconds. Raises DatabaseUnavailable."""

    def __init__(
        self,
        settings: RouterSettings,
        registry: Registry,
        metrics: Metrics,
        sketches: Sketches,
        meanings: Meanings,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._sketch = sketches
        self._meanings = meanings
        self._sketch_budgets: dict[str, Budget] = {}
        self._formats = Formats(registry)

    def rows(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        """The columns of `registry.exchanges.Exchange` for each, and the tenants' metrics moved.
        Prompts are sketched together: it costs a fraction of one by one."""
        rows: list[dict[str, Any]] = []
        asked: dict[str, list[int]] = {}
        conversations: list[list[object]] = []
        for number, call in enumerate(calls):
            row, conversation = self._row(call)
            rows.append(row)
            conversations.append(conversation)
            if conversation:
                assert call.engine
                asked.setdefault(call.engine.base, []).append(number)
        for base, numbers in asked.items():
            prompts = [conversations[number] for number in numbers]
            made = self._sketched(prompts, self._meanings.of(base))
            for number, packed in zip(numbers, made, strict=True):
                rows[number]["sketch"] = packed
        return rows

    def _sketched(
        self, conversations: Sequence[object], meaning: Meaning | None
    ) -> Sequence[bytes | None]:
        """None for what can't be sketched: its record goes on without, and so do all others."""
        try:
            return self._sketch(conversations, meaning)
        except Exception as error:
            if len(conversations) == 1:
                _log.error("a prompt can't be sketched", traceback=trace(error))
                return [None]
            return [self._sketched([one], meaning)[0] for one in conversations]

    def _row(self, call: Call) -> tuple[dict[str, Any], list[object]]:
        """The row, still without a sketch, and the conversation to be sketched, if any."""
        assert call.tenant and call.target and call.engine
        version, target, first = call.version, call.target, call.first_byte
        most = self._settings.record_text_bytes
        keeps = call.tenant.store_text
        keep = keeps and len(call.messages) <= most
        # A shadow's prompt is counted with the exchange that it copies.
        sketched = call.shadow_of is None and self._sketches(call.tenant.name).take(call.ended) == 0
        conversation = _conversation(call.messages) if keep or sketched else []
        answer = said.read(call.kept)
        signals = self._signals(call, answer)
        answer_kept = keeps and not call.cut and sum(map(len, call.kept)) <= most
        row = dict(
            id=call.completion_id,
            tenant=call.tenant.name,
            alias=target.alias.name if target.alias else None,
            adapter=target.adapter,
            digest=version.digest if version else None,
            served=call.served,
            fallback=call.fallback,
            role=call.role if version or call.role == CONTROL else "",
            shadow_of=call.shadow_of,
            queue_ms=call.queued_s * 1000,
            engine_id=call.engine.id,
            status=call.status,
            created_at=call.created_at,
            latency_ms=(call.ended - call.started) * 1000,
            ttft_ms=None if first is None else (first - call.started) * 1000,
            prefill_ms=None if first is None else (first - call.asked_at) * 1000,
            decode_ms=None if first is None else (call.ended - first) * 1000,
            prompt_tokens=call.outcome.prompt_tokens,
            completion_tokens=call.outcome.completion_tokens,
            finish_reason=call.outcome.finish_reason,
            cost=self._cost(call),
            answer_chars=None if signals is None else signals.chars,
            valid=None if signals is None else signals.valid,
            refused=None if signals is None else signals.refused,
            repetition=None if signals is None else signals.repetition,
            mean_logprob=None if answer is None else answer.mean_logprob,
            client=client(*call.client),
            layout=layout(conversation) if conversation and sketched else None,
            sketch=None,
            messages=self._kept({"messages": conversation}) if keep and conversation else None,
            answer=self._kept(answer.text) if answer_kept and answer is not None else None,
        )
        return row, conversation if sketched else []

    def _signals(self, call: Call, answer: Said | None) -> Signals | None:
        if answer is None or call.status != 200 or (answer.calls and not answer.text):
            return None
        assert call.tenant and call.target
        form = None
        if call.target.adapter is not None:
            judged_as = call.target.version if call.role == CONTROL else call.version
            form = self._formats.of(call.tenant.name, call.target.adapter, judged_as)
        signals = observe(answer.text, form, whole=not call.cut)
        if call.role not in (SHADOW, CONTROL):
            self._metrics.answers.count(call.tenant.name, signals)
        return signals

    def _cost(self, call: Call) -> float | None:
        prompt, completion = self._settings.prompt_price, self._settings.completion_price
        if prompt is None and completion is None:
            return None
        outcome = call.outcome
        return (
            outcome.prompt_tokens * (prompt or 0.0)
            + outcome.completion_tokens * (completion or 0.0)
        ) / 1e6

    def _kept(self, value: Any) -> Any:
        if not self._settings.redact_text:
            return value
        return redacted(value) if isinstance(value, str) else redacted_json(value)

    def _sketches(self, tenant: str) -> Budget:
        budget = self._sketch_budgets.get(tenant)
        if budget is None:
            rate = self._settings.sketches_per_second
            budget = self._sketch_budgets[tenant] = Budget(rate, rate)
        return budget


class Formats:
    """What the answers of adapters must look like, as the registry said lately."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._read_at: float | None = None
        self._answers: dict[tuple[str, str], dict[str, Any]] = {}
        self._made: dict[tuple[str, str, str], tuple[dict[str, Any], Format | None]] = {}

    def of(self, tenant: str, adapter: str, version: Version | None) -> Format | None:
        """Raises DatabaseUnavailable."""
        now = time.monotonic()
        if self._read_at is None or now - self._read_at > _FORMATS_S:
            rows = self._registry.adapters.all()
            self._answers = {(row.tenant, row.name): row.answers for row in rows}
            self._made = {k: v for k, v in self._made.items() if k[:2] in self._answers}
            self._read_at = now
        answers = self._answers.get((tenant, adapter), {})
        kind = "" if version is None else str((version.evaluation or {}).get("kind", ""))
        made = self._made.get((tenant, adapter, kind))
        if made is None or made[0] != answers:  # making one costs more than many answers
            made = self._made[tenant, adapter, kind] = (answers, Format.of(answers, kind))
        return made[1]


def _conversation(raw: bytes) -> list[object]:
    try:
        return msgspec.json.decode(raw, type=list[object]) if raw else []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []  # the engine refused it, or it is stranger than a sketch can take
