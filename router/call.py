"""A call: one completion request on its way through the router, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from registry.exchanges import CONTROL
from registry.tenants import Tenant
from registry.versions import Version
from router.admission import Admission
from router.answer import Outcome
from router.errors import Headers
from router.select import CANARY, Target
from router.traceparent import Trace
from router.view import Replica

CLIENT_LEFT = 499
"""What logs and metrics call a request whose client did not wait (nginx's number)."""


@dataclass(slots=True)
class Call:
    """`started`, `first_byte` and `ended` (0.0 while it is not) are monotonic seconds, `created_at`
    is seconds since the epoch. Whatever knows a little more fills in its part."""

    id: str
    completion_id: str
    started: float
    created_at: float
    tenant: Tenant | None = None
    target: Target | None = None
    engine: Replica | None = None
    version: Version | None = None
    """What answers: a version, or None for the base."""
    fallback: str = ""
    status: int = 0
    code: str | None = None
    first_byte: float | None = None
    client: tuple[bytes, bytes, bytes] = (b"", b"", b"")
    """What its client says of itself: `User-Agent`, and language and version of its library."""
    messages: bytes = b""
    prompt_estimate: int = 0
    """Tokens of the prompt as estimated at admission; 0 when nobody did."""
    completion_estimate: int = 0
    """The same of the answer."""
    role: str = ""
    """What answers for this request: router.select.LIVE, CANARY, SHADOW or CONTROL, or ""."""
    shadow_of: str | None = None
    """Of a shadow: the completion's id whose client got the real answer."""
    key: int = 0
    """The conversation as a number, where the alias splits its traffic."""
    replica_key: int = 0
    """The same for choosing among replicas, more roughly; 0 where there is one, or no saying."""
    queued_s: float = 0.0
    """Waiting in the router for a place in an engine."""
    patience_s: float = float("inf")
    """How long the client itself waits for bytes."""
    upstream_headers: bytes = b""
    """Header lines that go on to the engine."""
    outcome: Outcome = field(default_factory=Outcome)
    limits: Headers = field(default_factory=list)
    """`x-ratelimit-*`, where the tenant has limits."""
    admission: Admission | None = None
    """What it took of the tenant's limits, once it was let in."""
    weight: int = 0
    """Of its body, as estimates go by it."""
    trace: Trace | None = None
    """Where its spans belong; None without telemetry."""
    asked_at: float = 0.0
    """When the engine that answered, or the last one, was asked; monotonic seconds."""
    sent: bool = False
    """Whether an engine was asked: it may be at work before anything of it is seen."""
    kept: list[bytes] = field(default_factory=list)
    """The answer as its client gets it, for signals and, where its tenant opted in, for keeping."""
    cut: bool = False
    """Whether the answer was too long for `kept` to have all of it."""
    ended: float = 0.0

    def keep(self, block: bytes, room: int) -> int:
        """Keep a part of the answer, as far as there is room; the bytes of room that are left."""
        if len(block) > room:
            self.cut = True
            block = block[:room]
        if block:
            self.kept.append(block)
        return room - len(block)

    @property
    def text_bytes(self) -> int:
        """What it holds of the request's and the answer's text."""
        return len(self.messages) + sum(map(len, self.kept))

    def forget_text(self) -> None:
        """Let go of it."""
        self.messages, self.kept, self.cut = b"", [], True

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
        headers += self.limits
        if self.tenant is not None:
            headers.append((b"x-switchyard-tenant", self.tenant.name.encode()))
        if self.target is not None:
            headers.append((b"x-switchyard-asked", _value(self.target.asked)))
            if self.engine is not None:
                headers.append((b"x-switchyard-version", self.served_name.encode()))
                headers.append((b"x-switchyard-fallback", (self.fallback or "none").encode()))
                if self.role in (CANARY, CONTROL):
                    headers.append((b"x-switchyard-role", self.role.encode()))
        return headers


def _value(text: str) -> bytes:
    """A header's value: a base's name may hold what HTTP doesn't take."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return "".join(c if c.isprintable() else "?" for c in text).encode("latin-1", "replace")
