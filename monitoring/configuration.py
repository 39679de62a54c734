"""The files that Prometheus, Alertmanager and Grafana read, written from the code that owns their
contents.

`write(folder)` makes prometheus.yml, rules.yml, alertmanager.yml and dashboards/*.json. The copies
under monitoring/generated/ are committed; a test compares them with what this would write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from monitoring import dashboards, rules

GENERATED = Path(__file__).parent / "generated"
Addresses = Mapping[str, str | Sequence[str]]
"""{scrape job: where its processes have their metrics, one or several}."""
ADDRESSES: Addresses = {
    "switchyard-router": "127.0.0.1:8081",
    "switchyard-controller": "127.0.0.1:8082",
    "switchyard-worker": "127.0.0.1:8083",
    "vllm": "127.0.0.1:8100",
}
"""Scrape jobs and where `switchyard up` has their metrics."""

ALERTMANAGER = "127.0.0.1:9093"
WEBHOOK = "http://127.0.0.1:8084/v1/alerts"
"""The admin API's, as `switchyard up` has it where a key is set."""
KEY_FILE = "admin-key"
"""The admin key alone, in a file beside alertmanager.yml: it is in no configuration."""

_COLONS: dict[str, Any] = {
    "metric_relabel_configs": [
        {
            "source_labels": ["__name__"],
            "regex": "vllm_(.+)",
            "target_label": "__name__",
            "replacement": "vllm:$1",
        }
    ]
}
"""prometheus_client shows vLLM's `vllm:` names as `vllm_` to a Prometheus before 3.0 that asks for
OpenMetrics (it escapes colons); this gives them one name under every version."""

_HEAD = "# Written by `switchyard dashboards write`; change monitoring/{source} instead.\n"


def prometheus(
    addresses: Addresses = ADDRESSES, interval: str = "5s", alertmanager: str = ALERTMANAGER
) -> dict[str, Any]:
    """Prometheus's configuration. `alertmanager` is host:port of who is told of alerts."""
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": ["rules.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [where] if isinstance(where, str) else [*where]}],
                **(_COLONS if job == "vllm" else {}),
            }
            for job, where in addresses.items()
        ],
    }


def alertmanager(webhook: str = WEBHOOK, group_wait: str = "30s") -> dict[str, Any]:
    """Alertmanager's configuration: all alerts go to `people`, which is empty until somebody says
    how people are called; those that speak of traffic or answers go to the platform as well."""
    asking = "|".join(alert.name for alert in rules.alerts() if alert.retrain)
    key = {"authorization": {"type": "Bearer", "credentials_file": KEY_FILE}}
    return {
        "route": {
            "receiver": "people",
            "group_by": ["alertname", "tenant"],
            "group_wait": group_wait,
            "routes": [
                {
                    "receiver": "switchyard",
                    "matchers": [f'alertname=~"{asking}"'],
                    "continue": True,
                },
                {"receiver": "people"},
            ],
        },
        "receivers": [
            {"name": "people"},
            {
                "name": "switchyard",
                "webhook_configs": [{"url": webhook, "send_resolved": False, "http_config": key}],
            },
        ],
    }


def files(
    addresses: Addresses = ADDRESSES,
    interval: str = "5s",
    budget_interval: str = "1m",
    runbook: str = rules.RUNBOOK,
) -> dict[str, str]:
    """{name: contents}, with / between folders."""
    return {
        "prometheus.yml": _HEAD.format(source="configuration.py")
        + _yaml(prometheus(addresses, interval)),
        "rules.yml": _HEAD.format(source="rules.py")
        + _yaml(rules.document(budget_interval, runbook)),
        "alertmanager.yml": _HEAD.format(source="configuration.py") + _yaml(alertmanager()),
        **{f"dashboards/{name}": text for name, text in dashboards.files().items()},
    }


def write(
    folder: Path,
    addresses: Addresses = ADDRESSES,
    interval: str = "5s",
    budget_interval: str = "1m",
    runbook: str = rules.RUNBOOK,
) -> list[Path]:
    """Write all files below `folder`, made if need be; the paths written."""
    written = []
    for name, text in files(addresses, interval, budget_interval, runbook).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text
