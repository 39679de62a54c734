"""Meters: a tenant's series, looked up once and not at every request.

Finding a series by its labels costs more than moving it; a completion moves seven.
"""

from __future__ import annotations

from prometheus_client import Counter

from monitoring.metrics import Metrics
from router.call import Call

_SHOWN_S = 0.001
"""Shorter waits for a place are none."""


class Meters:
    """One tenant's series. `tenant` is its name; monitoring.labels.NOBODY before one is known."""

    def __init__(self, metrics: Metrics, tenant: str) -> None:
        self.in_flight = metrics.in_flight.labels(tenant)
        self._metrics = metrics
        self._tenant = tenant
        self._duration = metrics.request_duration_seconds.labels(tenant)
        self._first_token = metrics.time_to_first_token_seconds.labels(tenant)
        self._prompt = metrics.tokens_total.labels(tenant, "prompt")
        self._completion = metrics.tokens_total.labels(tenant, "completion")
        self._requests: dict[tuple[str, int], Counter] = {}

    def crowded(self) -> None:
        """A request was sent away because too many of the tenant's own wait for an engine."""
        self._metrics.rate_limited_total.labels(self._tenant, "queue").inc()

    def count(self, call: Call) -> None:
        """Move what a call that is over moves; not the gauge of those under way."""
        key = (call.served, call.status)
        requests = self._requests.get(key)
        if requests is None:
            requests = self._metrics.requests_total.labels(self._tenant, *key)
            self._requests[key] = requests
        requests.inc()
        if call.tenant is not None:
            self._duration.observe(call.ended - call.started)
        if call.code is not None or call.status >= 400:
            self._metrics.errors_total.labels(self._tenant, call.code or call.status).inc()
        if call.queued_s > _SHOWN_S:
            self._metrics.replicas.queue_seconds.observe(call.queued_s)
        if call.engine is None:
            return
        if call.first_byte is not None:
            self._first_token.observe(call.first_byte - call.started)
        self._prompt.inc(call.outcome.prompt_tokens)
        self._completion.inc(call.outcome.completion_tokens)
        if call.fallback:
            self._metrics.fallbacks_total.labels(self._tenant, call.fallback).inc()
