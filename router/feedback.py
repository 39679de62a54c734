"""Feedback: what a client says of a completion that it got. The loop's corrections come from here.

Exchanges are written in batches, so what is pending is flushed before an id counts as unknown.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import msgspec

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


async def give(
    tenant: Tenant, body: Body, registry: Registry, recorder: Recorder
) -> dict[str, Any]:
    """Keep it; the response's body. Raises CompletionNotFound, RegistryUnavailable."""

    def write() -> dict[str, Any]:
        row = registry.exchanges.give_feedback(
            tenant.name,
            body.completion_id,
            rating=body.rating,
            label=body.label,
            correction=body.correction,
            messages={"messages": body.messages} if body.messages else None,
        )
        return {
            "id": row.id,
            "object": "feedback",
            "created": int(row.created_at),
            "completion_id": row.exchange_id,
            "rating": row.rating,
            "label": row.label,
            "correction": row.correction,
        }

    try:
        await recorder.flush()
        return await asyncio.to_thread(write)
    except NotFound:
        if recorder.writing.get(body.completion_id) == tenant.name:
            raise CompletionUnderWay(body.completion_id) from None
        raise CompletionNotFound(body.completion_id) from None
    except DatabaseUnavailable:
        raise RegistryUnavailable(
            "Feedback can't be kept at the moment. Please try again shortly.", retry_after_s=2
        ) from None
