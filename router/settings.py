"""Settings of the router process: `SWITCHYARD_ROUTER_*`, read once by `registry.settings.load`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from registry.tenants import Tenant

_PORT = {"range": (0, 65535)}
_SECONDS = {"range": (0.001, 86400)}


@dataclass(frozen=True)
class RouterSettings:
    """Times are seconds, sizes bytes. A port of 0 means any free one."""

    host: str = "127.0.0.1"
    port: int = field(default=8080, metadata=_PORT)
    metrics_host: str = "127.0.0.1"
    metrics_port: int = field(default=8081, metadata=_PORT)
    engine_api_key: str | None = None
    """Sent to engines; never leaves towards a client. Filled from SWITCHYARD_ENGINE_API_KEY."""
    admin_key: str | None = None
    """Opens the admin API, which is not there without it. At least 16 characters."""
    admin_host: str = "127.0.0.1"
    admin_port: int = field(default=8084, metadata=_PORT)

    max_body_bytes: int = field(default=8 << 20, metadata={"range": (1024, 1 << 30)})
    max_upload_bytes: int = field(default=512 << 20, metadata={"range": (1024, 1 << 36)})
    """Largest file that a tenant may upload to learn from."""
    upload_timeout_s: float = field(default=600.0, metadata=_SECONDS)
    """An upload that takes longer is answered 408."""
    max_active_jobs: int = field(default=20, metadata={"range": (1, 100_000)})
    """Fine-tuning jobs that a tenant may have waiting, running or paused at once."""
    max_field_bytes: int = field(default=64 << 10, metadata={"range": (1024, 1 << 30)})
    """Longest field of a body that is not part of the prompt: schemas, biases, lists of tokens."""
    max_sequences: int = field(default=64, metadata={"range": (1, 16384)})
    """Answers that one request may ask for: `n` times its prompts."""
    revision_interval_s: float = field(default=0.25, metadata=_SECONDS)
    """How often the registry is asked whether anything changed."""
    reload_interval_s: float = field(default=2.0, metadata=_SECONDS)
    """How often everything is read anew in any case: heartbeats don't move the revision."""
    engine_stale_s: float = field(default=15.0, metadata=_SECONDS)
    """An engine whose last heartbeat was older than this, when it was read, is not used."""

    redis_url: str | None = field(default=None, repr=False)
    """Where limits are shared with other routers; may hold a password, and is never shown."""
    redis_timeout_s: float = field(default=0.25, metadata=_SECONDS)
    """Longest wait for Redis; then this process keeps limits of its own until it is back."""
    redis_prefix: str = "switchyard"

    connect_timeout_s: float = field(default=2.0, metadata=_SECONDS)
    read_timeout_s: float = field(default=600.0, metadata=_SECONDS)
    """Longest silence of an engine, also before its first byte."""
    keepalive_s: float = field(default=4.0, metadata=_SECONDS)
    """Idle engine connections go before vLLM's own 5 s are over, or requests would race it."""
    cooldown_s: float = field(default=1.0, metadata=_SECONDS)
    """An engine that refused or dropped a connection is left alone for this long."""
    max_slowdown: float = field(default=1.3, metadata={"range": (1.0, 1000.0)})
    """How much longer one tenant's many requests may make the others' engine steps; a large number
    gives every seat to whoever wants it."""
    aging_s: float = field(default=10.0, metadata=_SECONDS)
    """Who has waited so long for an adapter's slot is next to get one."""
    queue_limit: int = field(default=1000, metadata={"range": (0, 1_000_000)})
    """Requests that wait for one replica at most; then whoever has most of them is sent away."""
    queue_timeout_s: float = field(default=30.0, metadata=_SECONDS)
    """Longest wait for a place in a replica."""
    shadow_concurrent: int = field(default=4, metadata={"range": (0, 1000)})
    """Shadow requests under way at once, at most."""
    retry_after_s: int = field(default=1, metadata={"range": (1, 3600)})
    """What a 503 tells the client to wait."""
    watch_after_s: float = field(default=0.2, metadata=_SECONDS)
    """From this age on a request is watched for a client that left (quicker ones never are)."""
    head_timeout_s: float = field(default=15.0, metadata=_SECONDS)
    """A connection that does not finish a request's head for so long is closed."""
    body_timeout_s: float = field(default=60.0, metadata=_SECONDS)
    """A body that takes longer is answered 408; what of it nobody wants is read for no longer."""
    answer_timeout_s: float = field(default=60.0, metadata=_SECONDS)
    """A client that reads nothing of its answer for so long is gone."""
    drain_s: float = field(default=30.0, metadata={"range": (0, 86400)})
    """On shutdown, how long requests under way may take to finish."""
    drain_grace_s: float = field(default=0.0, metadata={"range": (0, 3600)})
    """Before that, how long new requests are still served while /ready says 503: load balancers
    need a few seconds to notice. 0 where clients reach the router directly."""
    stall_s: float = field(default=60.0, metadata=_SECONDS)
    """An event loop that has not turned for so long is stuck, not busy: /health says so."""
    otlp_endpoint: str | None = None
    """An OpenTelemetry collector, as http://host:4318: spans go to /v1/traces there. Filled from
    OTEL_EXPORTER_OTLP_ENDPOINT; without it nothing is traced."""
    trace_sample: float = field(default=1.0, metadata={"range": (0, 1)})
    """The share of traces that is recorded."""
    otlp_metrics: bool = False
    """Whether GenAI metrics go to /v1/metrics at that collector, too."""
    workers: int = field(default=1, metadata={"range": (1, 64)})
    """Processes that share the port; each needs about a core to be worth its memory."""

    record_queue: int = field(default=10_000, metadata={"range": (1, 10_000_000)})
    record_queue_bytes: int = field(default=32 << 20, metadata={"range": (1 << 20, 1 << 40)})
    """Text (of prompts, and of answers for their signals) that may wait for the registry."""
    record_batch: int = field(default=500, metadata={"range": (1, 10_000)})
    record_interval_s: float = field(default=0.25, metadata=_SECONDS)
    records_per_second: float = field(default=500.0, metadata={"range": (1, 1_000_000)})
    """Exchanges written at most; those beyond are dropped and counted."""
    record_share: float = field(default=0.01, metadata={"range": (0.0, 1)})
    """Of a core, what writing them may take while the process has no time to spare."""
    sketches_per_second: float = field(default=100.0, metadata={"range": (1, 1_000_000)})
    """Prompts sketched for drift at most, for each tenant; a sketch costs as much as a request."""
    record_text_bytes: int = field(default=256 << 10, metadata={"range": (0, 1 << 30)})
    """Longer prompts and answers, in bytes of JSON, are not kept (and no tenant's that did not opt
    in)."""
    signal_bytes: int = field(default=64 << 10, metadata={"range": (0, 1 << 30)})
    """Of an answer, in bytes of JSON or of events, looked at for its signals; then let go."""
    redact_text: bool = True
    """Whether secrets and personal data are taken out of text before it is kept."""
    prompt_price: float | None = field(default=None, metadata={"range": (0, 1_000_000)})
    """Of a million tokens read, in any currency: then each exchange has its cost."""
    completion_price: float | None = field(default=None, metadata={"range": (0, 1_000_000)})
    """The same of tokens written."""
    feedback_wait_s: float = field(default=1.0, metadata={"range": (0, 60)})
    """How long feedback waits for an exchange that another process may yet write."""
    feedback_timeout_s: float = field(default=5.0, metadata=_SECONDS)
    """Longest wait for the registry to take feedback; then it is answered 503."""
    access_log: bool = True
    access_log_sample: float = field(default=1.0, metadata={"range": (0, 1)})
    """The share of requests with a 2xx status that get a line; all others always do."""

    def __post_init__(self) -> None:
        if self.redis_url is not None:
            _check_redis(self.redis_url)
        if self.admin_key is not None and len(self.admin_key) < 16:
            raise ValueError("ADMIN_KEY is too short to be safe: expected at least 16 characters")

    def text_room(self, tenant: Tenant | None) -> int:
        """Bytes of an answer that are held until its row is made."""
        keeps = tenant is not None and tenant.store_text
        return max(self.record_text_bytes, self.signal_bytes) if keeps else self.signal_bytes


def _check_redis(url: str) -> None:
    """Raises ValueError. It shows nothing of the URL: what looks like a host or a port there may be
    a part of a password."""
    try:
        parts = urlsplit(url)
        found = parts.scheme, parts.hostname, parts.port  # the port is parsed here
    except ValueError:
        found = "", None, None
    scheme, host, _ = found
    if scheme not in ("redis", "rediss", "unix") or (scheme != "unix" and not host) or "#" in url:
        raise ValueError(
            "REDIS_URL: expected redis://, rediss:// or unix:// with host, port and database; a "
            "password's special characters are percent-encoded"
        )
