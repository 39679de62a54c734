"""Lists with a cursor: `after` and `limit` in, OpenAI's envelope out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from router.errors import InvalidRequest


def limit_of(request: Request, default: int, most: int) -> int:
    """How many were asked for. Raises InvalidRequest."""
    said = request.query_params.get("limit")
    if said is None:
        return default
    good = said.isascii() and said.isdigit() and len(said) <= 9 and 1 <= int(said) <= most
    if not good:
        raise InvalidRequest(
            f"Invalid 'limit': expected a whole number 1–{most}.",
            param="limit",
            code="invalid_value",
        )
    return int(said)


def after_of(request: Request) -> str | None:
    """The id behind which the page begins; an empty one is none. Raises InvalidRequest."""
    return text_of(request, "after")


def text_of(request: Request, name: str) -> str | None:
    """A query parameter that names something; an empty one is none. Raises InvalidRequest."""
    said = request.query_params.get(name) or None
    if said is not None and "\0" in said:
        raise InvalidRequest(
            f"Invalid '{name}': expected a text without NUL.", param=name, code="invalid_value"
        )
    return said


def page(data: Sequence[dict[str, Any]], more: bool) -> dict[str, Any]:
    """The envelope."""
    return {
        "object": "list",
        "data": [*data],
        "has_more": more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }
