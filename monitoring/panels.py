"""All dashboards and everything that they ask Prometheus for.

Every query uses series that `Metrics` declares, that a recording rule makes, or that VLLM lists;
tests hold it to that, and hold every panel against a real Prometheus.
"""

from __future__ import annotations

from monitoring.operator_panels import OPERATOR
from monitoring.panel import Board
from monitoring.retraining_panels import RETRAINING
from monitoring.tenant_panels import TENANT

_LIVE = "switchyard_version_live_timestamp_seconds"

BOARDS = (
    Board("Operator", OPERATOR, deploys=f"max by (tenant, alias, version) ({_LIVE}) * 1000"),
    Board(
        "Tenant",
        TENANT,
        per_tenant=True,
        deploys=f'max by (tenant, alias, version) ({_LIVE}{{tenant="$tenant"}}) * 1000',
    ),
    Board("Retraining", RETRAINING, deploys=f"max by (tenant, alias, version) ({_LIVE}) * 1000"),
)

VLLM = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:generation_tokens_total",
    "vllm:prompt_tokens_total",
    "vllm:request_queue_time_seconds_sum",
    "vllm:request_queue_time_seconds_count",
    "vllm:request_prefill_time_seconds_sum",
    "vllm:request_prefill_time_seconds_count",
    "vllm:request_decode_time_seconds_sum",
    "vllm:request_decode_time_seconds_count",
)
"""Series of the engine itself that dashboards use. vLLM labels all of them with the base's name."""

OF_PROMETHEUS = ("up", "scrape_duration_seconds")
"""Series that Prometheus makes of every scrape."""


def queries(tenant: str = "$tenant", price: str = "$price") -> list[str]:
    """Every query of every panel and of every mark, as PromQL."""
    found = [
        expr
        for board in BOARDS
        for _, panels in board.rows
        for panel in panels
        for expr, _ in panel.queries
    ]
    found += [board.deploys for board in BOARDS if board.deploys]
    return [expr.replace("$tenant", tenant).replace("$price", price) for expr in found]
