"""Kinds: what tells the endpoints apart that an engine answers.

One way through the router serves all of them; a kind says which fields go in, how an answer's names
and usage are found, and how its stream ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from router import answer, fields, responses, sse
from router.answer import Names, Outcome
from router.errors import ApiError, EngineFailed


class Stream(Protocol):
    """A stream on its way to the client: `router.sse.Relay`, `router.responses.Relay`."""

    outcome: Outcome
    done: bool
    broken: EngineFailed | None

    def feed(self, data: bytes) -> bytes:
        """Whole events for the client."""

    def last(self, error: ApiError) -> bytes:
        """The event that ends a stream which broke."""


@dataclass(frozen=True)
class Kind:
    """An endpoint. `passed`: the fields that reach an engine."""

    path: str
    prompt_field: str
    id_prefix: str
    passed: frozenset[str]
    whole: Callable[[bytes, Names], tuple[bytes, Outcome]] = answer.completion
    relay: Callable[[Names, bool, int], Stream] | None = sse.Relay
    """Makes a stream of (names, whether to show usage, tokens a chunk); None: it never streams."""
    says: bool = True
    """Whether its answers are text: vectors are not looked at."""


CHAT = Kind("/v1/chat/completions", "messages", "chatcmpl-", fields.CHAT)
TEXT = Kind("/v1/completions", "prompt", "cmpl-", fields.TEXT)
RESPONSES = Kind(
    "/v1/responses", "input", "resp_", fields.RESPONSES, responses.whole, responses.Relay
)
EMBEDDINGS = Kind("/v1/embeddings", "input", "embd-", fields.EMBEDDINGS, relay=None, says=False)
KINDS = (CHAT, TEXT, RESPONSES, EMBEDDINGS)
