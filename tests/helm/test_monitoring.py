"""What the chart gives the Prometheus operator and Grafana: what code wrote, under known names."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import helm_python
import pytest
import yaml

from monitoring import configuration, rules
from monitoring.metrics import Metrics
from monitoring.panels import queries
from tests.helm.rendering import CHART, EVERYTHING, find, render
from tests.helm.test_chart import PROCESSES, relabelled
from tests.monitoring.prometheus import program

TARGET_LABELS = {"namespace", "pod", "service", "container", "endpoint", "node", "instance", "job"}
"""What the operator puts on every series of a ServiceMonitor's targets."""
_JOB = re.compile(r'\bjob(=~|=)"([^"]*)"')


@pytest.fixture(scope="module")
def manifests() -> list[dict[str, Any]]:
    """Of a release with everything."""
    return render(EVERYTHING)


def test_the_charts_copies_are_what_code_writes() -> None:
    written = {
        name: text
        for name, text in configuration.files().items()
        if name not in ("prometheus.yml", "alertmanager.yml")
    }
    copies = CHART / "monitoring"
    found = {
        path.relative_to(copies).as_posix(): path.read_text(encoding="utf-8")
        for path in copies.rglob("*")
        if path.is_file()
    }
    assert found == written, "the chart has old copies: run `make generated`"


def test_the_operators_rules_are_the_rules(manifests: list[dict[str, Any]]) -> None:
    rule = find(manifests, "PrometheusRule", "")
    assert rule["apiVersion"] == "monitoring.coreos.com/v1"
    assert rule["metadata"]["labels"]["release"] == "prometheus", "or no Prometheus selects it"
    assert rule["spec"] == rules.document()


def test_alerts_link_to_the_runbook_that_the_release_names() -> None:
    page = "https://wiki.example/switchyard"
    values = {"prometheusRule": {"enabled": True, "runbook": page}}
    assert find(render(values), "PrometheusRule", "")["spec"] == rules.document(runbook=page)


def test_promtool_takes_the_operators_rules(
    manifests: list[dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(find(manifests, "PrometheusRule", "")["spec"]))
    done = subprocess.run(
        [program("promtool"), "check", "rules", str(path)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_can_be_left_out_by_its_name_and_no_other_name_is_taken() -> None:
    values = {"prometheusRule": {"enabled": True, "without": ["SwitchyardTargetMissing"]}}
    kept = find(render(values), "PrometheusRule", "")["spec"]["groups"]
    names = [rule["alert"] for group in kept for rule in group["rules"] if "alert" in rule]
    left_out = {alert.name for alert in rules.alerts()} - {*names}
    assert left_out == {"SwitchyardTargetMissing"}
    values["prometheusRule"]["without"] = ["SwitchyardTargetsMissing"]
    with pytest.raises(helm_python.HelmRenderError, match="no alert SwitchyardTargetsMissing"):
        render(values)


def test_rules_and_panels_ask_for_jobs_that_the_monitor_makes(
    manifests: list[dict[str, Any]],
) -> None:
    [endpoint] = find(manifests, "ServiceMonitor", "")["spec"]["endpoints"]
    jobs = {relabelled(process, endpoint["relabelings"]) for process in PROCESSES}
    document = rules.document()["groups"]
    asked = [*queries(), *(rule["expr"] for group in document for rule in group["rules"])]
    matchers = {found for expr in asked for found in _JOB.findall(expr)}
    assert {operator for operator, _ in matchers} == {"=", "=~"}
    for operator, wanted in matchers:
        pattern = wanted if operator == "=~" else re.escape(wanted)
        assert any(re.fullmatch(pattern, job) for job in jobs), f"no target's job is {wanted}"


def test_no_label_of_ours_is_one_that_the_operator_puts_on_every_series() -> None:
    """Ours would be renamed exported_…, and every query by it would find nothing."""
    registry: Any = Metrics().registry
    # Not from samples: a family without any yet would go unseen.
    ours = {
        label
        for family in registry._collector_to_names
        for label in getattr(family, "_labelnames", ())
    }
    assert {"tenant", "engine", "kind"} <= ours
    assert not ours & TARGET_LABELS


def test_vllms_names_have_their_colons_as_in_the_generated_configuration(
    manifests: list[dict[str, Any]],
) -> None:
    [endpoint] = find(manifests, "ServiceMonitor", "")["spec"]["endpoints"]
    [theirs] = [
        job["metric_relabel_configs"]
        for job in configuration.prometheus()["scrape_configs"]
        if job["job_name"] == "vllm"
    ]
    camel = {"source_labels": "sourceLabels", "target_label": "targetLabel"}
    assert endpoint["metricRelabelings"] == [
        {camel.get(key, key): value for key, value in rule.items()} for rule in theirs
    ]


def test_grafanas_sidecar_finds_all_dashboards_under_names_of_their_own(
    manifests: list[dict[str, Any]],
) -> None:
    found = find(manifests, "ConfigMap", "-dashboards")
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Switchyard"}
    written = {
        f"switchyard-{name.removeprefix('dashboards/')}": json.loads(text)
        for name, text in configuration.files().items()
        if name.startswith("dashboards/")
    }
    assert {name: json.loads(text) for name, text in found["data"].items()} == written
    # `kubectl apply` keeps a copy in an annotation of at most 256 KiB.
    assert len(json.dumps(found)) < 200_000


def test_nothing_of_the_operators_is_there_until_it_is_asked_for() -> None:
    kinds = {manifest["kind"] for manifest in render({})}
    assert not kinds & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}
