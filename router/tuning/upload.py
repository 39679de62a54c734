"""An upload: multipart/form-data, spooled to disk as it comes. Nothing is ever whole in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import IO

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from router.errors import BodyTooLarge, InvalidRequest, RequestTimeout
from router.http import LATE, ClientLeft, header, refuse_packed
from router.settings import RouterSettings

_ENVELOPE = 64 << 10
"""Bytes that the fields and boundaries around the file may take."""


@dataclass(frozen=True)
class Upload:
    """`file` is open, at its start, and the caller's to close."""

    file: IO[bytes]
    filename: str
    size: int
    purpose: str


async def receive(request: Request, settings: RouterSettings) -> Upload:
    """Raises InvalidRequest, BodyTooLarge, RequestTimeout, UnsupportedEncoding and ClientLeft."""
    refuse_packed(request.scope)
    kind = header(request.scope, b"content-type") or b""
    if not kind.lower().startswith(b"multipart/form-data"):
        raise InvalidRequest(
            "Files are uploaded as multipart/form-data with the fields 'file' and 'purpose'.",
            code="invalid_type",
        )
    length = header(request.scope, b"content-length")
    most = settings.max_upload_bytes + _ENVELOPE
    if length is not None and (len(length) > 15 or int(length) > most):
        raise BodyTooLarge(settings.max_upload_bytes)
    stream = _pieces(request, most, settings)
    parser = MultiPartParser(
        request.headers, stream, max_files=1, max_fields=8, max_part_size=_ENVELOPE
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(
            f"We could not parse the upload: {error.message}", code="invalid_multipart"
        ) from None
    file, purpose = form.get("file"), form.get("purpose")
    if not isinstance(file, UploadFile):
        await form.close()
        raise _missing("file")
    if not isinstance(purpose, str) or not purpose:
        await form.close()
        raise _missing("purpose")
    if form.get("expires_after[anchor]") or form.get("expires_after[seconds]"):
        await form.close()
        raise InvalidRequest(
            "Files don't expire here: leave 'expires_after' out, and delete the file when it is "
            "no longer needed.",
            param="expires_after",
            code="unsupported_parameter",
        )
    size = file.size or 0
    if size > settings.max_upload_bytes:
        await form.close()
        raise BodyTooLarge(settings.max_upload_bytes)
    return Upload(file.file, (file.filename or "file").replace("\0", "")[:255], size, purpose)


async def _pieces(
    request: Request, most: int, settings: RouterSettings
) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    deadline = clock() + settings.upload_timeout_s
    size = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        piece = message.get("body", b"")
        size += len(piece)
        if size > most:
            raise BodyTooLarge(settings.max_upload_bytes)
        more = message.get("more_body", False)
        if more and LATE in request.scope and clock() > deadline:
            raise RequestTimeout
        yield piece
        if not more:
            return


def _missing(field: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{field}'.", param=field, code="missing_required_parameter"
    )
