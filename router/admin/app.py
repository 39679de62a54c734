"""The admin API's application: FastAPI with Pydantic models; its endpoints run in threads.

    app = create_admin("the admin key", Registry.open(...))

Not the hot path: a request may cost a millisecond. Building it opens nothing.
"""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from registry import Registry
from router.admin import aliases, asks, decisions, engines, keys, tenants, versions
from router.admin.document import describe
from router.admin.errors import ANSWERED, answer_to, answers, refusal
from router.admin.gate import Gate
from router.errors import ApiError, InvalidRequest, MethodNotAllowed, UnknownRoute
from router.http import JSON
from router.methods import allowed


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


def create_admin(key: str, registry: Registry) -> FastAPI:
    """`key` opens it."""
    app = FastAPI(
        title="Switchyard admin API",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[Middleware(Gate, key=key)],
        exception_handlers={
            ApiError: _api_error,
            HTTPException: _http_exception,
            RequestValidationError: _refused,
            **dict.fromkeys(ANSWERED, _registry_error),
        },
    )

    @app.get("/health", tags=["health"], responses=answers())
    def health() -> Health:
        """The process answers; asks neither for a key nor the registry."""
        return Health()

    for noun in (tenants, keys, versions, aliases, engines, decisions, asks):
        app.include_router(noun.routes(registry))
    describe(app)
    return app


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {name.decode(): value.decode() for name, value in [JSON, *error.headers()]}
    return Response(error.body(), error.status, headers)


async def _registry_error(request: Request, error: Exception) -> Response:
    return await _api_error(request, answer_to(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _api_error(request, refusal(error.errors()))


async def _http_exception(request: Request, error: Exception) -> Response:
    """What FastAPI itself refuses: a path or a method that isn't there, a body that is no JSON."""
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == 405:
        methods = ", ".join(sorted(allowed(request)))
        return await _api_error(request, MethodNotAllowed(request.method, path, methods))
    if error.status_code == 404:
        return await _api_error(request, UnknownRoute(request.method, path))
    refused = InvalidRequest(
        "We could not parse the JSON body of your request.", code="invalid_json"
    )
    return await _api_error(request, refused)
