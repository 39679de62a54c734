"""A call: one completion request on its way through the router, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry.engines import Engine
from registry.tenants import Tenant
from registry.versions import Version
from router.answer import Outcome
from router.errors import Headers
from router.recorder import Record
from router.select import Target

CLIENT_LEFT = 499
"""What logs and metrics call a request whose client did not wait (nginx's number)."""


@dataclass(slots=True)
class Call:
    """`started` is monotonic, `created_at` the wall clock; both in seconds."""

    id: str
    completion_id: str
    started: float
    created_at: float
    tenant: Tenant | None = None
    target: Target | None = None
    engine: Engine | None = None
    version: Version | None = None
    """What answers: a version, or None for the base."""
    fallback: str = ""
    status: int = 0
    code: str | None = None
    first_byte: float | None = None
    messages: bytes = b""
    outcome: Outcome = field(default_factory=Outcome)
    kept: list[bytes] = field(default_factory=list)
    over: bool = False

    @property
    def served(self) -> str:
        """ "adapter" or "base": what answered, or was to answer."""
        if self.engine is None and self.target is not None:
            return "base" if self.target.wants_base else "adapter"
        return "base" if self.version is None else "adapter"

    @property
    def served_name(self) -> str:
        """The version's served name, or "base"."""
        return "base" if self.version is None else self.version.served_name

    def headers(self) -> Headers:
        """`x-request-id` and, as far as it got, who was served what and why."""
        headers = [(b"x-request-id", b"req_" + self.id.encode())]
        if self.tenant is not None:
            headers.append((b"x-switchyard-tenant", self.tenant.name.encode()))
        if self.target is not None:
            headers.append((b"x-switchyard-asked", _value(self.target.asked)))
            if self.engine is not None:
                headers.append((b"x-switchyard-version", self.served_name.encode()))
                headers.append((b"x-switchyard-fallback", (self.fallback or "none").encode()))
        return headers

    def record(self, now: float) -> Record | None:
        """The exchange, once an engine has answered; `now` is monotonic seconds."""
        if self.tenant is None or self.target is None or self.engine is None:
            return None
        first = self.first_byte
        return Record(
            id=self.completion_id,
            tenant=self.tenant.name,
            alias=self.target.alias.name if self.target.alias else None,
            adapter=self.target.adapter,
            digest=self.version.digest if self.version else None,
            served=self.served,
            fallback=self.fallback,
            engine_id=self.engine.id,
            status=self.status,
            created_at=self.created_at,
            latency_ms=(now - self.started) * 1000,
            ttft_ms=None if first is None else (first - self.started) * 1000,
            prompt_tokens=self.outcome.prompt_tokens,
            completion_tokens=self.outcome.completion_tokens,
            finish_reason=self.outcome.finish_reason,
            messages=self.messages,
            store_text=self.tenant.store_text,
            answer=self.kept,
        )


def _value(text: str) -> bytes:
    """A header's value: a base's name may hold what HTTP doesn't take."""
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace")
