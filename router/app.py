"""The router's application: lean completion endpoints in front, FastAPI for everything else.

    app = create_app(settings, Registry.open(...), Metrics())

Building it opens nothing; its lifespan starts and ends the client pool and the loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from monitoring.metrics import Metrics
from monitoring.sketch import sketches
from registry import Registry
from registry.tenants import Tenant
from router import feedback, models
from router.access import AccessLog
from router.book import Books
from router.completions import Completions
from router.errors import (
    ApiError,
    InvalidRequest,
    MethodNotAllowed,
    ResponseNotFound,
    Unhealthy,
    UnknownRoute,
)
from router.fleet import Fleet
from router.front import Front
from router.health import Health
from router.http import JSON, header, read_body, refuse_packed
from router.keys import authenticate
from router.kinds import KINDS
from router.limits import open_limits
from router.meanings import Meanings
from router.methods import allowed
from router.reach import Reach
from router.recorder import Recorder
from router.replicas import Replicas
from router.settings import RouterSettings
from router.shadow import Shadows
from router.snapshots import Snapshots
from router.telemetry import Telemetry
from router.tuning.routes import routes as tuning_routes
from router.upstream import Upstream

_FEEDBACK_BYTES = 1 << 20


def create_app(
    settings: RouterSettings,
    registry: Registry,
    metrics: Metrics,
    *,
    health: Health | None = None,
    books: Books | None = None,
    clock: Callable[[], float] = time.time,
) -> Front:
    """`health` is whose draining and trouble are told; `books` are those of limits in memory where
    other processes write in them too; `clock` gives seconds since the epoch. The application's
    `state` has `snapshots` and `recorder`."""
    health = health or Health(metrics, settings.stall_s)
    snapshots = Snapshots(settings, registry, metrics)
    meanings = Meanings(registry.store, lambda: snapshots.view.snapshot)
    recorder = Recorder(settings, registry, metrics, sketches=sketches, meanings=meanings)
    desk = feedback.Desk(settings, registry, recorder)
    upstream = Upstream(settings)
    replicas = Replicas(settings)
    limits = open_limits(settings, metrics, books)
    reach = Reach(settings, snapshots, replicas, upstream)
    shadows = Shadows(settings, reach, recorder, metrics)
    fleet = Fleet(replicas, snapshots, metrics)
    telemetry = Telemetry(settings, metrics) if settings.otlp_endpoint else None
    access = AccessLog(settings, metrics)
    lean = {
        kind.path: Completions(
            kind,
            settings,
            reach,
            recorder,
            limits,
            shadows,
            clock,
            telemetry=telemetry,
            access=access,
        )
        for kind in KINDS
    }

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await upstream.startup()
        await snapshots.startup()
        await limits.startup()
        access.startup()
        if telemetry is not None:
            telemetry.startup()
        loops = [asyncio.create_task(loop.run()) for loop in (snapshots, recorder, health, fleet)]
        for name, task in zip(("snapshots", "recorder"), loops, strict=False):
            health.watch(name, task)
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await shadows.shutdown()
            await limits.shutdown()
            await recorder.shutdown()
            desk.shutdown()
            snapshots.shutdown()
            await upstream.shutdown()
            if telemetry is not None:
                await asyncio.to_thread(telemetry.shutdown)
            await asyncio.to_thread(access.shutdown)

    app = FastAPI(
        title="Switchyard router",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={ApiError: _api_error, HTTPException: _http_exception},
    )
    app.state.snapshots = snapshots
    app.state.recorder = recorder
    app.state.replicas = replicas
    for path, endpoint in lean.items():  # the front answers POST; this is for 405 on the others
        app.router.routes.append(Route(path, endpoint, methods=["POST"]))

    def tenant_of(request: Request) -> Tenant:
        key = header(request.scope, b"authorization")
        return authenticate(key, snapshots.view, clock())

    @app.get("/v1/models")
    async def list_models(request: Request) -> dict[str, Any]:
        tenant = tenant_of(request)
        return {"object": "list", "data": models.catalogue(tenant, snapshots.view)}

    @app.get("/v1/models/{name:path}")
    async def one_model(request: Request, name: str) -> dict[str, Any]:
        return models.find(tenant_of(request), name, snapshots.view)

    @app.api_route("/v1/responses/{response_id}", methods=["GET", "DELETE"])
    @app.get("/v1/responses/{response_id}/input_items")
    @app.post("/v1/responses/{response_id}/cancel")
    async def one_response(request: Request, response_id: str) -> None:
        tenant_of(request)
        raise ResponseNotFound(response_id)

    @app.post("/v1/feedback")
    async def give_feedback(request: Request) -> dict[str, Any]:
        tenant = tenant_of(request)
        raw = await read_body(request.scope, request.receive, _FEEDBACK_BYTES)
        try:
            body = feedback.parse(raw)
        except InvalidRequest:
            refuse_packed(request.scope)
            raise
        return await desk.give(tenant, body)

    app.include_router(tuning_routes(settings, registry, snapshots, tenant_of))

    @app.get("/health")
    async def alive() -> dict[str, str]:
        trouble = health.trouble()
        if trouble is not None:
            raise Unhealthy(trouble)
        return {"status": "ok"}

    @app.get("/ready")
    async def ready() -> dict[str, Any]:
        view = snapshots.view
        reason = health.not_ready(view, settings.retry_after_s)
        if reason is not None:
            raise reason
        return {
            "status": "ready",
            "revision": view.snapshot.revision,
            "engines": len(view.ready),
        }

    return Front(app, lean)


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    headers = {name.decode(): value.decode() for name, value in [JSON, *error.headers()]}
    return Response(error.body(), error.status, headers)


async def _http_exception(request: Request, error: Exception) -> Response:
    """What FastAPI itself refuses: a path or a method that isn't there."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        methods = ", ".join(sorted(allowed(request))) or "another method"
        return await _api_error(
            request, MethodNotAllowed(request.method, request.url.path, methods)
        )
    return await _api_error(request, UnknownRoute(request.method, request.url.path))
