"""Refusals: an engine's error that is about the request itself, whichever engine had been asked.

Pure. Trying elsewhere would not help, and the engine is not to blame for it.
"""

from __future__ import annotations

from router.answer import BROKEN, decode
from router.body import Request
from router.errors import EndpointNotSupported, EngineRefusedRequest

_CONSTRAINED = "structured_outputs"


def refuse(request: Request, asked: str, status: int, data: bytes) -> None:
    """Raises EndpointNotSupported or EngineRefusedRequest where the answer is such an error."""
    if status in (404, 501) and _no_such_route(data, status):
        raise EndpointNotSupported(request.kind.path, asked)
    if blames_request(request, status):
        raise EngineRefusedRequest(
            400,
            f"The engine failed to constrain its output as '{_CONSTRAINED}' says: "
            "check its grammar or expression.",
            param=_CONSTRAINED,
            code="invalid_grammar",
        )


def blames_request(request: Request, status: int) -> bool:
    """vLLM 0.32 answers 500 to a grammar that its compiler doesn't take (a left recursion)."""
    return status == 500 and _CONSTRAINED in request.fields


def _no_such_route(data: bytes, status: int) -> bool:
    """FastAPI's own 404, not vLLM's about a model."""
    if status == 501:
        return True
    try:
        return "error" not in decode(data)
    except BROKEN:
        return False
