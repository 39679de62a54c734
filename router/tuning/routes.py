"""The routes of `/v1/files` and `/v1/fine_tuning/jobs`, and of deleting a fine-tuned model.

    app.include_router(routes(settings, registry, snapshots, tenant_of))

What blocks runs in threads: the event loop is the completions'.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import urllib.parse
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from registry import Registry
from registry.errors import DatabaseUnavailable
from registry.tenants import Tenant
from router.errors import InvalidRequest, RegistryUnavailable
from router.http import header, read_body, refuse_packed
from router.settings import RouterSettings
from router.snapshots import Snapshots
from router.tuning import ask, files, jobs, models, upload
from router.tuning.pages import after_of, limit_of, page, text_of

_JOB_BYTES = 256 << 10
_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
TenantOf = Callable[[Request], Tenant]
T = TypeVar("T")


def routes(
    settings: RouterSettings, registry: Registry, snapshots: Snapshots, tenant_of: TenantOf
) -> APIRouter:
    """`tenant_of` says whose a request is, or raises InvalidKey."""
    router = APIRouter()
    router.include_router(_files(settings, registry, tenant_of))
    router.include_router(_jobs(settings, registry, snapshots, tenant_of))

    @router.delete("/v1/models/{name:path}")
    async def delete_model(request: Request, name: str) -> dict[str, Any]:
        tenant = tenant_of(request)
        return await _in_thread(models.delete, registry, tenant, name, snapshots.view)

    return router


def _files(settings: RouterSettings, registry: Registry, tenant_of: TenantOf) -> APIRouter:
    router = APIRouter(prefix="/v1/files")

    @router.post("")
    async def upload_file(request: Request) -> dict[str, Any]:
        tenant = tenant_of(request)
        got = await upload.receive(request, settings)
        with got.file:
            files.check_purpose(got.purpose)
            return await _in_thread(files.keep, registry, tenant.name, got)

    @router.get("")
    async def list_files(request: Request) -> dict[str, Any]:
        tenant = tenant_of(request)
        order = request.query_params.get("order") or "desc"
        if order not in ("asc", "desc"):
            raise InvalidRequest(
                "Invalid 'order': expected 'asc' or 'desc'.", param="order", code="invalid_value"
            )
        after, limit = after_of(request), limit_of(request, 10_000, 10_000)
        purpose = text_of(request, "purpose")

        def read() -> dict[str, Any]:
            if after is not None:
                files.find(registry, tenant.name, after, "after")
            found, more = registry.files.page(
                tenant.name,
                purpose=purpose,
                after=after,
                limit=limit,
                newest_first=order == "desc",
            )
            return page([files.show(file) for file in found], more)

        return await _in_thread(read)

    @router.get("/{file_id}")
    async def one_file(request: Request, file_id: str) -> dict[str, Any]:
        tenant = tenant_of(request)
        return files.show(await _in_thread(files.find, registry, tenant.name, file_id))

    @router.get("/{file_id}/content")
    async def file_content(request: Request, file_id: str) -> Response:
        tenant = tenant_of(request)
        file, pieces = await _in_thread(files.content, registry, tenant.name, file_id)
        name = urllib.parse.quote(file.filename, safe="")
        headers = {
            "content-length": str(file.bytes),
            "content-disposition": f"attachment; filename*=UTF-8''{name}",
        }
        return StreamingResponse(pieces, headers=headers, media_type="application/octet-stream")

    @router.delete("/{file_id}")
    async def delete_file(request: Request, file_id: str) -> dict[str, Any]:
        tenant = tenant_of(request)
        return await _in_thread(files.delete, registry, tenant.name, file_id)

    return router


def _jobs(
    settings: RouterSettings, registry: Registry, snapshots: Snapshots, tenant_of: TenantOf
) -> APIRouter:
    router = APIRouter(prefix="/v1/fine_tuning/jobs")

    @router.post("")
    async def create_job(request: Request) -> dict[str, Any]:
        tenant = tenant_of(request)
        raw = await read_body(request.scope, request.receive, _JOB_BYTES)
        try:
            asked = ask.parse(raw)
        except InvalidRequest:
            refuse_packed(request.scope)
            raise
        said = header(request.scope, b"idempotency-key")
        key = hashlib.sha256(said).hexdigest() if said else None  # of any length, and any bytes
        most = settings.max_active_jobs
        return await _in_thread(jobs.create, registry, tenant, asked, snapshots.view, most, key)

    @router.get("")
    async def list_jobs(request: Request) -> dict[str, Any]:
        tenant = tenant_of(request)
        metadata = {}
        for name, value in request.query_params.multi_items():
            found = _METADATA.fullmatch(name)
            if found is not None:
                metadata[found[1]] = value
        return await _in_thread(
            jobs.listed,
            registry,
            tenant.name,
            snapshots.view,
            after=after_of(request),
            limit=limit_of(request, 20, 100),
            metadata=metadata,
            bare=request.query_params.get("metadata") == "null",
        )

    @router.get("/{job_id}")
    async def one_job(request: Request, job_id: str) -> dict[str, Any]:
        tenant, view = tenant_of(request), snapshots.view
        return await _in_thread(
            lambda: jobs.show(registry, jobs.find(registry, tenant.name, job_id), view)
        )

    async def change(request: Request, job_id: str, act: Callable[[str], Any]) -> dict[str, Any]:
        tenant, view = tenant_of(request), snapshots.view
        return await _in_thread(jobs.change, registry, tenant.name, job_id, act, view)

    @router.post("/{job_id}/cancel")
    async def cancel_job(request: Request, job_id: str) -> dict[str, Any]:
        return await change(request, job_id, registry.jobs.cancel)

    @router.post("/{job_id}/pause")
    async def pause_job(request: Request, job_id: str) -> dict[str, Any]:
        return await change(request, job_id, registry.jobs.pause)

    @router.post("/{job_id}/resume")
    async def resume_job(request: Request, job_id: str) -> dict[str, Any]:
        return await change(request, job_id, registry.jobs.resume)

    async def told(request: Request, job_id: str, what: Callable[..., Any], limit: int) -> Any:
        tenant, view = tenant_of(request), snapshots.view
        after = after_of(request)
        limit = limit_of(request, limit, 100)

        def read() -> Any:
            job = jobs.find(registry, tenant.name, job_id)
            return what(registry, job, view, after=after, limit=limit)

        return await _in_thread(read)

    @router.get("/{job_id}/events")
    async def job_events(request: Request, job_id: str) -> Any:
        return await told(request, job_id, jobs.events, 20)

    @router.get("/{job_id}/checkpoints")
    async def job_checkpoints(request: Request, job_id: str) -> Any:
        return await told(request, job_id, jobs.checkpoints, 10)

    return router


async def _in_thread(act: Callable[..., T], *args: Any, **options: Any) -> T:
    """Raises RegistryUnavailable besides what `act` raises."""
    try:
        return await asyncio.to_thread(act, *args, **options)
    except DatabaseUnavailable:
        raise RegistryUnavailable(
            "Files and fine-tuning can't be reached at the moment. Please try again shortly.",
            retry_after_s=2,
        ) from None
