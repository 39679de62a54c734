"""Embeddings: an engine's vectors, made into what the client gets. Pure.

An engine that generates has no such route: reach.py's refusal says so by name.
"""

from __future__ import annotations

from router.answer import BROKEN, Names, Outcome, decode, rename
from router.errors import EngineFailed


def whole(data: bytes, names: Names) -> tuple[bytes, Outcome]:
    """The answer with the client's names in it. Raises EngineFailed."""
    outcome = Outcome()
    try:
        answer = decode(data)
        renamed = rename(answer, names)
        outcome.take(answer)
    except BROKEN:
        raise EngineFailed("The engine's answer holds no embeddings.") from None
    return renamed, outcome
