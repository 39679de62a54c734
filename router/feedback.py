"""Feedback: what a client says of a completion that it got. The loop's corrections come from here.

Exchanges are written in batches, by each process its own: before an id counts as unknown, what is
pending here is flushed, and the others are given `feedback_wait_s`. What is said in text is given
on purpose, so it is kept of every tenant; redacted, as all text.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from functools import partial
from typing import Annotated, Any

import msgspec

from monitoring.redaction import redacted_json
from registry import Registry
from registry.errors import DatabaseUnavailable, NotFound
from registry.tenants import Tenant
from router.errors import (
    CompletionNotFound,
    CompletionUnderWay,
    InvalidRequest,
    RegistryUnavailable,
)
from router.recorder import Recorder
from router.scribe import Busy, Scribe
from router.settings import RouterSettings

_LOOK_S = 0.2
_Text = Annotated[str, msgspec.Meta(max_length=100_000)]


class Body(msgspec.Struct):
    """`rating` is -1 (bad) … 1 (good). `messages`: the prompt, where the platform keeps no text."""

    completion_id: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    rating: Annotated[float, msgspec.Meta(ge=-1, le=1)] | None = None
    label: _Text | None = None
    correction: _Text | None = None
    messages: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)] | None = None


_body = msgspec.json.Decoder(Body)
_PATH = re.compile(r"\$\.([a-z_]+)")
_MISSING = re.compile(r"missing required field `([a-z_]+)`")


def parse(raw: bytes) -> Body:
    """Raises InvalidRequest."""
    try:
        raw.decode()
        body = _body.decode(raw)
    except msgspec.ValidationError as error:
        found = _PATH.search(str(error)) or _MISSING.search(str(error))
        raise InvalidRequest(
            f"Invalid feedback: {error}.", param=found[1] if found else None, code="invalid_type"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest(
            "We could not parse the JSON body of your request.", code="invalid_json"
        ) from None
    if body.rating is None and body.label is None and body.correction is None:
        raise InvalidRequest(
            "Feedback says nothing: expected at least one of 'rating', 'label', 'correction'.",
            param="rating",
            code="missing_required_parameter",
        )
    return body


class Desk:
    """Takes feedback. Its writes have a thread of their own: where the registry hangs, feedback is
    refused after `feedback_timeout_s`, and nothing else waits for it."""

    def __init__(self, settings: RouterSettings, registry: Registry, recorder: Recorder) -> None:
        self._settings = settings
        self._registry = registry
        self._recorder = recorder
        self._scribe = Scribe("feedback")

    async def give(self, tenant: Tenant, body: Body) -> dict[str, Any]:
        """Keep it; the response's body. What is left out stays as it was said before.

        Raises CompletionNotFound, CompletionUnderWay, RegistryUnavailable.
        """
        try:
            async with asyncio.timeout(self._settings.feedback_timeout_s):
                return await self._give(tenant, body)
        except (DatabaseUnavailable, TimeoutError, Busy):
            raise RegistryUnavailable(
                "Feedback can't be kept at the moment. Please try again shortly.", retry_after_s=2
            ) from None

    def shutdown(self) -> None:
        """Take no more. A write that hangs is left alone."""
        self._scribe.close()

    async def _give(self, tenant: Tenant, body: Body) -> dict[str, Any]:
        write = partial(self._write, tenant.name, body)
        with suppress(NotFound):
            return await self._scribe.do(write)
        await self._recorder.flush()
        with suppress(NotFound):
            return await self._scribe.do(write)
        if self._recorder.writing.get(body.completion_id) == tenant.name:
            raise CompletionUnderWay(body.completion_id)
        # Another process may have served it, and write it when its turn comes.
        until = time.monotonic() + self._settings.feedback_wait_s
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(_LOOK_S, left))
            with suppress(NotFound):
                return await self._scribe.do(write)
        raise CompletionNotFound(body.completion_id)

    def _write(self, tenant: str, body: Body) -> dict[str, Any]:
        kept = redacted_json if self._settings.redact_text else _as_it_is
        row = self._registry.exchanges.give_feedback(
            tenant,
            body.completion_id,
            rating=body.rating,
            label=kept(body.label),
            correction=kept(body.correction),
            messages={"messages": kept(body.messages)} if body.messages else None,
        )
        why = None if row.better is None else self._registry.corrections.why_unusable(row)
        return {
            "id": row.id,
            "object": "feedback",
            "created": int(row.created_at),
            "completion_id": row.exchange_id,
            "rating": row.rating,
            "label": row.label,
            "correction": row.correction,
            "usable": None if row.better is None else why is None,
            "unusable_because": why,
        }


def _as_it_is(value: Any) -> Any:
    return value
