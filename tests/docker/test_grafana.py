"""Whether what compose.yaml tells Grafana and the generated dashboards agree, by reading both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "monitoring" / "generated" / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.fixture(params=DASHBOARDS, ids=lambda path: path.stem)
def dashboard(request: pytest.FixtureRequest) -> Any:
    """Each generated dashboard in turn."""
    return json.loads(request.param.read_text())


def provisioned(compose: Any, kind: str) -> Any:
    """What Grafana reads as its data sources, or dashboards."""
    [mount] = [
        each
        for each in compose["services"]["grafana"]["configs"]
        if each["target"].startswith(f"/etc/grafana/provisioning/{kind}/")
    ]
    content = compose["configs"][mount["source"]]["content"]
    assert "$" not in content, "compose would fill it in"
    return yaml.safe_load(content)


def sources(value: Any) -> Iterator[dict[str, str]]:
    """Every reference to a data source, however deep."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "datasource":
                yield inner
            else:
                yield from sources(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from sources(inner)


def test_every_panel_query_and_mark_asks_the_source_that_the_dashboards_variable_picks(
    dashboard: Any,
) -> None:
    found = [*sources(dashboard)]
    drawn = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(found) > len(drawn) > 0
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in found)
    assert all("datasource" in panel for panel in drawn), "else the default is asked"


def test_the_variable_has_the_provisioned_source_to_pick(compose: Any, dashboard: Any) -> None:
    [variable] = [each for each in dashboard["templating"]["list"] if each["type"] == "datasource"]
    assert variable["name"] == "datasource"
    [source] = provisioned(compose, "datasources")["datasources"]
    assert source["type"] == variable["query"]
    assert source["isDefault"] is True, "which is what an unset variable takes"
    assert source["uid"] and "$" not in source["uid"]


def test_the_source_is_prometheus_where_it_listens_and_at_its_pace(compose: Any) -> None:
    [source] = provisioned(compose, "datasources")["datasources"]
    url = urlsplit(source["url"])
    assert url.hostname is not None
    server = compose["services"][url.hostname]
    assert {published.rpartition(":")[2] for published in server["ports"]} == {str(url.port)}
    assert {*server["networks"]} & {*compose["services"]["grafana"]["networks"]}
    configured = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    assert source["jsonData"]["timeInterval"] == configured["global"]["scrape_interval"]


def test_grafana_looks_for_dashboards_where_they_are_mounted(compose: Any) -> None:
    [provider] = provisioned(compose, "dashboards")["providers"]
    mounts = {
        where: source
        for source, where, *_ in (
            volume.split(":") for volume in compose["services"]["grafana"]["volumes"]
        )
    }
    assert ROOT / mounts[provider["options"]["path"]] == DASHBOARDS[0].parent


def test_dashboards_have_ids_that_stay_and_are_their_own() -> None:
    uids = {json.loads(path.read_text())["uid"]: path.stem for path in DASHBOARDS}
    assert uids == {f"switchyard-{path.stem}": path.stem for path in DASHBOARDS}
    assert all(len(uid) <= 40 for uid in uids), "what Grafana takes"
