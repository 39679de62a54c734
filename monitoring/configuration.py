"""The files that Prometheus and Grafana read, written from the code that owns their contents.

`write(folder)` makes prometheus.yml, rules.yml and dashboards/*.json. The copies under
monitoring/generated/ are committed; a test compares them with what this would write.
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


def prometheus(addresses: Addresses = ADDRESSES, interval: str = "5s") -> dict[str, Any]:
    """Prometheus's configuration."""
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [{"targets": [where] if isinstance(where, str) else [*where]}],
                **(_COLONS if job == "vllm" else {}),
            }
            for job, where in addresses.items()
        ],
    }


def files(
    addresses: Addresses = ADDRESSES, interval: str = "5s", budget_interval: str = "1m"
) -> dict[str, str]:
    """{name: contents}, with / between folders."""
    return {
        "prometheus.yml": _HEAD.format(source="configuration.py")
        + _yaml(prometheus(addresses, interval)),
        "rules.yml": _HEAD.format(source="rules.py") + _yaml(rules.document(budget_interval)),
        **{f"dashboards/{name}": text for name, text in dashboards.files().items()},
    }


def write(
    folder: Path,
    addresses: Addresses = ADDRESSES,
    interval: str = "5s",
    budget_interval: str = "1m",
) -> list[Path]:
    """Write all files below `folder`, made if need be; the paths written."""
    written = []
    for name, text in files(addresses, interval, budget_interval).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written


def _yaml(value: Any) -> str:
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return text
