"""Which methods a path takes: for the 405 that says so."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.routing import Match


def allowed(request: Request) -> set[str]:
    """Methods of every route that has this path: GET and POST of a list are two."""
    found: set[str] = set()
    scope: dict[str, Any] = {**request.scope}
    for route in request.app.router.routes:
        match, _ = route.matches(scope)
        if match is not Match.NONE:
            found |= set(getattr(route, "methods", None) or ())
    return found
