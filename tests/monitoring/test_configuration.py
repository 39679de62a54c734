"""Dashboards, rules and Prometheus's configuration: current, and true to the metrics."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from monitoring import configuration, rules
from monitoring.metrics import Metrics
from monitoring.panels import OF_PROMETHEUS, VLLM, queries
from tests.monitoring.prometheus import program

ROOT = Path(__file__).parents[2]
_SERIES = re.compile(r"\b(?:switchyard_|vllm:|[a-z]+:switchyard_|switchyard:)[a-zA-Z0-9_:]*")


def _used(expr: str) -> set[str]:
    return set(_SERIES.findall(expr))


def _known() -> set[str]:
    metrics = Metrics()
    metrics.know_tenants(["acme"])
    return metrics.names() | {r.record for r in (*rules.recordings(), *rules.budgets())} | set(VLLM)


def test_the_committed_files_are_current() -> None:
    for name, text in configuration.files().items():
        committed = (configuration.GENERATED / name).read_text(encoding="utf-8")
        assert committed == text, f"{name} is old: run `switchyard dashboards write`"


def test_writing_makes_every_file(tmp_path: Path) -> None:
    written = configuration.write(tmp_path / "new", {"switchyard-router": "10.0.0.1:1"})
    assert {path.relative_to(tmp_path / "new").as_posix() for path in written} == {
        "prometheus.yml",
        "rules.yml",
        "alertmanager.yml",
        "dashboards/operator.json",
        "dashboards/retraining.json",
        "dashboards/tenant.json",
    }
    assert "10.0.0.1:1" in (tmp_path / "new" / "prometheus.yml").read_text()


@pytest.mark.parametrize("expr", queries())
def test_every_panel_asks_only_for_series_that_exist(expr: str) -> None:
    used = _used(expr) | {name for name in OF_PROMETHEUS if re.search(rf"\b{name}\b", expr)}
    assert used, f"no series of ours in {expr}"
    assert used <= _known() | {*OF_PROMETHEUS}


def test_every_rule_asks_only_for_series_that_exist() -> None:
    known = _known()
    for rule in [*rules.recordings(), *rules.budgets(), *rules.alerts()]:
        assert _used(rule.expr) <= known, rule


def test_every_alert_has_a_section_in_the_runbook_and_no_section_is_left_over() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / rules.RUNBOOK).read_text(), flags=re.M)
    assert sorted(headings) == sorted(alert.name for alert in rules.alerts())


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    metrics = Metrics()
    names = {f.name for f in metrics.registry.collect() if f.name.startswith("switchyard_")}
    missing = sorted(name for name in names if f"`{name}" not in text)
    assert not missing


def test_panels_have_words_for_people_and_dashboards_are_json() -> None:
    for name in ("operator", "tenant", "retraining"):
        made = json.loads(configuration.files()[f"dashboards/{name}.json"])
        panels = [panel for panel in made["panels"] if panel["type"] != "row"]
        assert panels
        for panel in panels:
            assert panel["description"].endswith("."), panel["title"]
            assert panel["targets"], panel["title"]


def test_every_dashboard_marks_the_moments_at_which_versions_went_live() -> None:
    for name, text in configuration.files().items():
        if name.startswith("dashboards/"):
            (marks,) = json.loads(text)["annotations"]["list"]
            assert "switchyard_version_live_timestamp_seconds" in marks["expr"]
            assert marks["useValueForTime"] == "on", "else it marks when it looked"
            assert ('tenant="$tenant"' in marks["expr"]) == (name == "dashboards/tenant.json")


def test_alerts_link_to_the_runbook_wherever_it_is() -> None:
    def links(text: str) -> set[str]:
        alerts = yaml.safe_load(text)["groups"][-1]["rules"]
        return {rule["annotations"]["runbook_url"].partition("#")[0] for rule in alerts}

    assert links(configuration.files()["rules.yml"]) == {"docs/runbook.md"}
    page = "https://wiki.example/switchyard"
    assert links(configuration.files(runbook=page)["rules.yml"]) == {page}


def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    promtool = program("promtool")
    configuration.write(tmp_path)
    for kind, name in (("rules", "rules.yml"), ("config", "prometheus.yml")):
        done = subprocess.run(
            [promtool, "check", kind, str(tmp_path / name)], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
