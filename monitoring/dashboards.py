"""Grafana dashboards by code, from the panels of monitoring/panels.py.

Built with grafana-foundation-sdk (extra `dashboards`). A variable picks the Prometheus data source,
and on the Tenant dashboard another the tenant.
"""

from __future__ import annotations

import json
from typing import Any

from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef

from monitoring.panel import Board, Panel
from monitoring.panels import BOARDS

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def files() -> dict[str, str]:
    """{file name: dashboard, JSON}."""
    return {f"{board.name.lower()}.json": _build(board) for board in BOARDS}


def _build(board: Board) -> str:
    built = (
        grafana.Dashboard(f"Switchyard: {board.name}")
        .uid(f"switchyard-{board.name.lower()}")
        .tags(["switchyard"])
        .refresh("10s")
        .time("now-1h", "now")
        .with_variable(grafana.DatasourceVariable("datasource").type("prometheus"))
    )
    if board.per_tenant:
        built = built.with_variable(
            grafana.QueryVariable("tenant")
            .datasource(_SOURCE)
            .query('label_values(switchyard_drift_active{tenant!~"other|none"}, tenant)')
        ).with_variable(
            grafana.TextBoxVariable("price").label("Price of a million tokens").default_value("1")
        )
    for name, panels in board.rows:
        built = built.with_row(grafana.Row(name))
        for panel in panels:
            built = built.with_panel(_panel(panel))
    plain = _without_nulls(json.loads(json.dumps(built.build(), cls=JSONEncoder)))
    if board.deploys:
        plain["annotations"] = {"list": [_marks(board.deploys)]}
    return json.dumps(plain, indent=2, sort_keys=True) + "\n"


def _marks(expr: str) -> dict[str, Any]:
    """A line at each moment that `expr` gives. The SDK's model has no `useValueForTime`, without
    which Grafana marks when it looked, not what it read."""
    return {
        "name": "Versions that went live",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "enable": True,
        "iconColor": "blue",
        "expr": expr,
        "titleFormat": "{{version}} went live",
        "textFormat": "{{tenant}}/{{alias}}",
        "tagKeys": "tenant,alias",
        "useValueForTime": "on",
    }


def _without_nulls(value: Any) -> Any:
    """Grafana fills in what is absent; what is null it may trip over."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(v) for v in value] if isinstance(value, list) else value


def _panel(panel: Panel) -> Any:
    builder: Any
    if panel.kind == "number":
        builder = stat.Panel().height(4)
    elif panel.kind == "table":
        builder = table.Panel().height(8)
    else:
        builder = timeseries.Panel().height(8).fill_opacity(8).axis_soft_min(0)
    builder = (
        builder.title(panel.title)
        .description(panel.text)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(panel.width)
    )
    for number, (expr, legend) in enumerate(panel.queries):
        target = prometheus.Dataquery().expr(expr).ref_id(chr(ord("A") + number))
        if legend:
            target = target.legend_format(legend)
        if panel.kind == "table":
            target = target.instant().format("table")
        builder = builder.with_target(target)
    return builder
