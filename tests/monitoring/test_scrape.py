"""A real Prometheus scrapes real exposition servers: no rule that can't be read, no empty panel."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from monitoring import configuration, rules
from monitoring.exposition import serve
from monitoring.metrics import Metrics
from monitoring.panels import VLLM, queries
from tests.monitoring.prometheus import program, running, wait_for


def _move(metrics: Metrics) -> None:
    """What the processes do in a second of life."""
    for served, status in (("adapter", 200), ("base", 503)):
        metrics.requests_total.labels("acme", served, status).inc()
    metrics.request_duration_seconds.labels("acme").observe(0.4)
    metrics.time_to_first_token_seconds.labels("acme").observe(0.1)
    metrics.tokens_total.labels("acme", "prompt").inc(30)
    metrics.fallbacks_total.labels("acme", "engine-error").inc()
    metrics.errors_total.labels("acme", "engine_unavailable").inc()
    metrics.adapter_load_seconds.observe(0.2)
    metrics.train_tokens_total.inc(100)
    for gauge in (
        metrics.parity_abs_logprob,
        metrics.effect_abs_logprob,
        metrics.train_loss,
        metrics.drift_statistic,
        metrics.drift_threshold,
        metrics.drift_reference_prompts,
    ):
        gauge.labels("acme").set(1)
    metrics.engine_up.labels("e1").set(1)
    metrics.last_tick_timestamp_seconds.set_to_current_time()


def test_every_panel_and_every_rule_has_data_in_a_real_prometheus(tmp_path: Path) -> None:
    program("prometheus")
    metrics = Metrics()
    metrics.know_tenants(["acme"])
    metrics.show_versions({("acme", "support"): "support@0123456789ab"})
    engine = CollectorRegistry()
    gauges = [Gauge(name, name, registry=engine) for name in VLLM if not name.endswith("_total")]
    counters = [Counter(name, name, registry=engine) for name in VLLM if name.endswith("_total")]
    servers = [serve(metrics, 0) for _ in rules.JOBS]
    vllm, thread = start_http_server(0, "127.0.0.1", registry=engine)
    try:
        addresses = {
            job: f"{server.host}:{server.port}"
            for job, server in zip(rules.JOBS, servers, strict=True)
        }
        addresses["vllm"] = f"127.0.0.1:{vllm.server_port}"
        configuration.write(tmp_path, addresses, interval="1s")
        asked = [expr.replace("$tenant", "acme") for expr in queries()]
        asked += [rule.expr for rule in rules.recordings()]
        with running(tmp_path / "prometheus.yml", tmp_path) as prometheus:

            def empty() -> list[str]:
                _move(metrics)
                for gauge in gauges:
                    gauge.set(0.5)
                for counter in counters:
                    counter.inc()
                return [expr for expr in asked if not prometheus.query(expr)]

            try:
                wait_for(lambda: empty() == [], "every panel to have data")
            except AssertionError as error:
                raise AssertionError(f"{error}; empty: {empty()}") from error
            health = [
                rule["health"]
                for group in prometheus.get("rules")["groups"]
                for rule in group["rules"]
            ]
            assert len(health) == len(rules.recordings()) + len(rules.alerts())
            assert set(health) == {"ok"}
            for alert in rules.alerts():
                prometheus.query(alert.expr)
            (up,) = prometheus.query('sum(up{job=~"switchyard-.*"})')
            assert float(up["value"][1]) == len(rules.JOBS)
    finally:
        for server in servers:
            server.close()
        vllm.shutdown()
        vllm.server_close()
        thread.join(timeout=5)
