"""`/v1/files`: what a tenant uploads to learn from, and what its jobs made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from registry import Registry
from registry import errors as registry_errors
from registry.files import File
from router.errors import Conflict, InvalidRequest, Missing
from router.tuning import shape
from router.tuning.upload import Upload

PURPOSE = "fine-tune"
RESULTS = "fine-tune-results"


def check_purpose(purpose: str) -> None:
    """Raises InvalidRequest for a purpose that nothing here serves."""
    if purpose != PURPOSE:
        raise InvalidRequest(
            f"'{purpose[:100]}' is not a purpose that files have here: expected 'fine-tune'.",
            param="purpose",
            code="invalid_value",
        )


def keep(registry: Registry, tenant: str, upload: Upload) -> dict[str, Any]:
    """Check the shape, put the bytes into the store, note the file. Raises InvalidRequest."""
    shape.check(upload.file)
    digest, size = registry.store.put_stream(upload.file)
    file = registry.files.add(tenant, upload.filename, digest, size, upload.purpose)
    if not registry.store.holds_blob(digest):  # another's was deleted, and the same bytes with it
        registry.store.put_stream(upload.file)
    return show(file)


def find(registry: Registry, tenant: str, file_id: str, param: str = "file_id") -> File:
    """A tenant's file. Raises Missing."""
    try:
        if "\0" not in file_id:  # which PostgreSQL takes for a mistake of ours
            return registry.files.get(tenant, file_id)
    except registry_errors.NotFound:
        pass
    raise Missing(f"No such File object: {file_id[:100]}.", param=param)


def content(registry: Registry, tenant: str, file_id: str) -> tuple[File, Iterator[bytes]]:
    """The file and its bytes, a piece at a time. Raises Missing."""
    file = find(registry, tenant, file_id)
    return file, registry.store.pieces(file.digest)


def delete(registry: Registry, tenant: str, file_id: str) -> dict[str, Any]:
    """Raises Missing; Conflict while a job needs it."""
    find(registry, tenant, file_id)
    job = registry.jobs.using(tenant, file_id)
    if job is not None:
        raise Conflict(
            f"The fine-tuning job {job.id} learns from this file: cancel it or wait for its end.",
            param="file_id",
        )
    registry.files.delete(tenant, file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def show(file: File) -> dict[str, Any]:
    """OpenAI's file object."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
        "expires_at": None,
    }
