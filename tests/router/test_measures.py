"""OpenTelemetry's metrics are held to the bounds of the router's own: no name multiplies them."""

from __future__ import annotations

from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from monitoring.metrics import Metrics
from registry.tenants import Tenant
from router.call import Call
from router.measures import Measures
from router.select import Target


def _call(tenant: str, model: str) -> Call:
    made = Call("0" * 32, "chatcmpl-0", 1.0, 1.0)
    made.tenant, made.target, made.ended = Tenant(name=tenant), Target(asked=model), 1.5
    return made


def _seen(reader: InMemoryMetricReader) -> tuple[set[str], set[str]]:
    """(tenants, models)."""
    data = reader.get_metrics_data()
    assert data is not None
    points = [
        point.attributes or {}
        for group in data.resource_metrics
        for scope in group.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    ]
    tenants = {str(point["switchyard.tenant"]) for point in points}
    return tenants, {str(point["gen_ai.request.model"]) for point in points}


def test_tenants_and_models_beyond_their_bounds_are_other() -> None:
    metrics, reader = Metrics(tenant_cap=2), InMemoryMetricReader()
    metrics.know_tenants(["a", "b", "c", "d"])
    measures = Measures(reader, Resource({}), metrics)
    for tenant in "abcd":
        for number in range(5):
            measures.count(_call(tenant, f"{tenant}-{number}"), "chat")
    tenants, models = _seen(reader)
    assert tenants == {"a", "b", "other"}
    assert "other" in models
    assert len(models) == 8 + 1, "four for each tenant that has series of its own"
    measures.shutdown(1.0)
