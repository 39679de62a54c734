"""Metrics are born at zero, and no name from outside can multiply them."""

from __future__ import annotations

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monitoring.exposition import PortInUse, serve
from monitoring.metrics import Metrics


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"switchyard_{name}", labels)


def test_a_known_tenant_is_born_at_zero() -> None:
    metrics = Metrics()
    metrics.know_tenants(["acme"])
    assert _value(metrics, "requests_total", tenant="acme", served="base", status="200") == 0
    assert _value(metrics, "fallbacks_total", tenant="acme", reason="deadline") == 0
    assert _value(metrics, "request_duration_seconds_count", tenant="acme") == 0


def test_an_unknown_tenant_is_counted_as_other_and_the_overflow_is_counted() -> None:
    metrics = Metrics()
    metrics.know_tenants(["acme"])
    for name in ("scanner-1", "scanner-2"):
        metrics.requests_total.labels(tenant=name, served="base", status=404).inc()
    assert _value(metrics, "requests_total", tenant="other", served="base", status="404") == 2
    assert _value(metrics, "label_overflow_total", label="tenant") == 2


def test_tenants_beyond_the_cap_share_one_series() -> None:
    metrics = Metrics(tenant_cap=2)
    metrics.know_tenants(["a", "b", "c"])
    metrics.in_flight.labels("c").inc()
    assert _value(metrics, "in_flight", tenant="other") == 1
    assert _value(metrics, "in_flight", tenant="b") == 0


def test_a_refused_name_counts_once_so_that_the_alert_about_it_ends() -> None:
    metrics = Metrics(tenant_cap=1)
    metrics.know_tenants(["a", "b", "c"])
    for _ in range(5):
        metrics.in_flight.labels("b").inc()
        metrics.in_flight.labels("c").inc()
    assert _value(metrics, "label_overflow_total", label="tenant") == 2


def test_open_labels_stop_growing_at_their_cap() -> None:
    metrics = Metrics()
    metrics.know_tenants(["acme"])
    for number in range(500):
        metrics.errors_total.labels("acme", f"code-{number}").inc()
    codes = [s for f in metrics.registry.collect() for s in f.samples if s.labels.get("code")]
    assert len([s for s in codes if s.labels["tenant"] == "acme"]) <= 49


def test_a_tenant_that_leaves_takes_its_series_along() -> None:
    metrics = Metrics()
    metrics.know_tenants(["acme", "lex"])
    metrics.show_versions({("acme", "support"): "support@0123456789ab"})
    metrics.know_tenants(["lex"])
    text = {s.labels.get("tenant") for f in metrics.registry.collect() for s in f.samples}
    assert "acme" not in text
    assert "lex" in text


def test_the_version_shown_is_the_one_served_now() -> None:
    metrics = Metrics()
    metrics.know_tenants(["acme"])
    metrics.show_versions({("acme", "support"): "support@000000000000"})
    metrics.show_versions({("acme", "support"): "support@111111111111", ("acme", "x"): None})
    shown = {
        (s.labels["alias"], s.labels["version"])
        for f in metrics.registry.collect()
        for s in f.samples
        if s.name == "switchyard_version_info"
    }
    assert shown == {("support", "support@111111111111"), ("x", "base")}


def test_labels_must_be_the_ones_declared() -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="expected the labels tenant, reason"):
        metrics.fallbacks_total.labels(tenant="acme", cause="x")
    with pytest.raises(ValueError, match="expected the labels tenant, reason"):
        metrics.fallbacks_total.labels("acme")


def test_a_scrape_reads_what_was_counted() -> None:
    metrics = Metrics()
    metrics.know_tenants(["acme"])
    metrics.tokens_total.labels("acme", "prompt").inc(7)
    server = serve(metrics, 0)
    try:
        with urllib.request.urlopen(server.url, timeout=10) as answer:
            text = answer.read().decode()
    finally:
        server.close()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    values = {s.labels["kind"]: s.value for s in families["switchyard_tokens"].samples
              if s.labels["tenant"] == "acme"}  # fmt: skip
    assert values == {"prompt": 7, "completion": 0}
    assert not [name for name in families if name.endswith("_created")]


def test_a_port_in_use_is_named_with_what_to_do() -> None:
    first = serve(Metrics(), 0)
    try:
        with pytest.raises(PortInUse, match=f"{first.port}.*choose another metrics port"):
            serve(Metrics(), first.port)
    finally:
        first.close()
