"""The chart: Helm takes it, Kubernetes' schemas take what comes out, and it keeps its promises."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from cli import room_settings
from cli.home import Home
from monitoring.rules import JOBS
from tests.helm.rendering import (
    CASES,
    CHART,
    EVERYTHING,
    GPU,
    MINIMAL,
    S3,
    environment,
    find,
    notes,
    pods,
    render,
)

GOLDEN = Path(__file__).parent / "golden" / "default.yaml"
KUBERNETES = ("1.27", "1.31", "1.34")
PROCESSES = ("router", "engine", "worker", "controller")


@pytest.fixture(params=CASES)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each set of values in turn."""
    return dict(CASES[request.param])


def test_lint_finds_nothing_to_say(values: dict[str, Any]) -> None:
    report = helm_python.lint(CHART, values, strict=True, with_subcharts=True)
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []
    assert report["total_charts_linted"] == 1


def test_every_manifest_is_what_kubernetes_expects(values: dict[str, Any]) -> None:
    for manifest in render(values):
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            continue  # the operator's own kind; its shape has a test below
        for version in KUBERNETES:
            kubernetes_validate.validate(manifest, version, strict=True)


def test_names_are_unique_and_labels_say_whose_they_are(values: dict[str, Any]) -> None:
    manifests = render(values)
    names = [(m["kind"], m["metadata"]["name"]) for m in manifests]
    assert len({*names}) == len(names)
    for manifest in manifests:
        labels = manifest["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == "prod", manifest["metadata"]["name"]
        assert all(len(name) <= 63 for _, name in names)


def test_a_long_release_name_still_gives_valid_names() -> None:
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render({}, name="a" * 53, namespace="ml")
    for name, text in files.items():
        if name.endswith(".yaml"):
            for manifest in filter(None, yaml.safe_load_all(text)):
                assert len(manifest["metadata"]["name"]) <= 63


def test_no_container_runs_as_root_or_writes_into_its_image(values: dict[str, Any]) -> None:
    for component, pod in pods(render(values)).items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, component
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        [container] = spec["containers"]
        security = container["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        writable = {mount["mountPath"] for mount in container["volumeMounts"]}
        assert {"/var/lib/switchyard", "/tmp"} <= writable
        assert container["resources"]["requests"]["memory"]
        assert container["resources"]["limits"]["memory"]
        assert ":latest" not in container["image"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_kubernetes_puts_no_variables_of_its_own_among_the_settings(
    values: dict[str, Any],
) -> None:
    """A Service `switchyard-engine` would be SWITCHYARD_ENGINE_PORT=tcp://… in every pod."""
    for component, pod in pods(render(values)).items():
        assert pod["spec"]["enableServiceLinks"] is False, component


def test_no_secret_stands_in_a_manifest(values: dict[str, Any]) -> None:
    manifests = render(values)
    assert not [m for m in manifests if m["kind"] == "Secret"]
    for pod in pods(manifests).values():
        for variable in pod["spec"]["containers"][0]["env"]:
            if variable["name"].endswith(("_KEY", "DATABASE_URL", "REDIS_URL")):
                assert "secretKeyRef" in variable["valueFrom"], variable["name"]


def test_every_process_takes_the_settings_that_its_pod_gives(
    values: dict[str, Any], tmp_path: Path
) -> None:
    """Through the very code that reads them: an unknown name or a wrong value raises here."""
    rendered = pods(render(values))
    readers: dict[str, Callable[[Home], Any]] = {
        "engine": room_settings.engine,
        "router": room_settings.router,
        "worker": room_settings.worker,
        "controller": room_settings.controller,
    }
    for component, read in readers.items():
        home = Home(tmp_path, environment(rendered[component]))
        read(home)
        assert (
            home.urls()[0]
            == f"secret-{values.get('registry', {}).get('databaseUrlKey', 'database-url')}"
        )
    room_settings.swap(Home(tmp_path, environment(rendered["controller"])))
    assert not (tmp_path / "engine.key").exists(), "the key comes from the Secret"


def test_every_container_runs_a_command_that_there_is() -> None:
    import typer.main

    from cli.main import app

    commands: Any = typer.main.get_command(app)
    for component, pod in pods(render({})).items():
        command = commands
        for word in pod["spec"]["containers"][0]["args"]:
            assert word in command.commands, f"{component}: no command {word!r}"
            command = command.commands[word]


def test_processes_listen_where_probes_services_and_policies_look(values: dict[str, Any]) -> None:
    manifests = render(values)
    rendered = pods(manifests)
    for component in PROCESSES:
        [container] = rendered[component]["spec"]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        listened = {
            int(value)
            for name, value in environment(rendered[component]).items()
            if name.endswith("_PORT")
        }
        assert listened == {*ports.values()}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in ports
        services = [
            m
            for m in manifests
            if m["kind"] == "Service"
            and m["spec"]["selector"]["app.kubernetes.io/component"] == component
        ]
        assert services
        for service in services:
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports.keys()
    hosts = {
        name: v
        for pod in rendered.values()
        for name, v in environment(pod).items()
        if name.endswith("_HOST")
    }
    assert {*hosts.values()} == {"0.0.0.0"}, hosts


def test_the_router_is_alive_by_health_and_in_service_by_ready() -> None:
    [container] = pods(render({}))["router"]["spec"]["containers"]
    # Not of the port that tenants keep busy: a router with much to do would be killed for it.
    assert container["livenessProbe"]["httpGet"] == {"path": "/health", "port": "metrics"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_a_router_pod_has_the_time_to_drain() -> None:
    values = {"router": {"drainSeconds": 120, "drainGraceSeconds": 20}}
    pod = pods(render(values))["router"]["spec"]
    assert environment({"spec": pod})["SWITCHYARD_ROUTER_DRAIN_S"] == "120"
    assert environment({"spec": pod})["SWITCHYARD_ROUTER_DRAIN_GRACE_S"] == "20"
    assert pod["terminationGracePeriodSeconds"] > 120 + 20


def test_only_router_controller_worker_and_prometheus_reach_the_engine() -> None:
    manifests = render({})
    policy = find(manifests, "NetworkPolicy", "-engine")["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "engine"
    assert policy["policyTypes"] == ["Ingress"]
    [rule] = policy["ingress"]
    assert rule["ports"] == [{"port": 8100, "protocol": "TCP"}]
    pods_let_in = [
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for peer in rule["from"]
        if "namespaceSelector" not in peer
    ]
    assert pods_let_in == ["router", "controller", "worker"]
    [prometheus] = [peer for peer in rule["from"] if "namespaceSelector" in peer]
    assert prometheus == {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }


def test_the_engine_can_not_be_published_by_any_value(values: dict[str, Any]) -> None:
    manifests = render(values)
    for manifest in manifests:
        if manifest["kind"] == "Service" and "engine" in manifest["metadata"]["name"]:
            assert manifest["spec"]["clusterIP"] == "None"
            assert manifest["spec"].get("type", "ClusterIP") == "ClusterIP"
        if manifest["kind"] == "Ingress":
            assert "engine" not in yaml.safe_dump(manifest["spec"])


def test_every_process_has_a_policy_and_only_the_routers_front_door_is_open() -> None:
    manifests = render({})
    for component in PROCESSES:
        rules = find(manifests, "NetworkPolicy", f"-{component}")["spec"]["ingress"]
        open_to_all = [
            port["port"] for rule in rules if "from" not in rule for port in rule["ports"]
        ]
        assert open_to_all == ([8080] if component == "router" else [])


def test_there_is_one_controller_and_never_two_for_a_moment() -> None:
    controller = find(render({}), "Deployment", "-controller")["spec"]
    assert (controller["replicas"], controller["strategy"]) == (1, {"type": "Recreate"})
    with pytest.raises(helm_python.HelmValuesError, match="'replicas' not allowed"):
        render({"controller": {"replicas": 2}})


def test_the_schema_is_migrated_before_anything_starts() -> None:
    job = find(render({}), "Job", "-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["registry", "migrate"]
    needed = yaml.safe_dump(job["spec"])
    assert "serviceAccountName" not in needed, "the chart's account isn't there yet"
    assert "persistentVolumeClaim" not in needed, "nor is its volume"
    assert not [m for m in render(MINIMAL) if m["kind"] == "Job"]


def test_on_a_gpu_engine_and_worker_ask_for_it_and_bring_its_image() -> None:
    rendered = pods(render(GPU))
    for component, gpus in (("engine", 2), ("worker", 1)):
        [container] = rendered[component]["spec"]["containers"]
        assert container["image"] == f"switchyard-{component}-gpu:0.1.0"
        assert container["resources"]["limits"]["nvidia.com/gpu"] == gpus
        assert {"secretRef": {"name": "hub"}} in container["envFrom"]
    engine = environment(rendered["engine"])
    assert rendered["engine"]["spec"]["runtimeClassName"] == "nvidia"
    assert engine["SWITCHYARD_ENGINE_DEVICE"] == "cuda"
    assert engine["SWITCHYARD_ENGINE_TENSOR_PARALLEL_SIZE"] == "2"
    assert engine["SWITCHYARD_ENGINE_BASE"] == GPU["base"]["model"]
    assert environment(rendered["worker"])["SWITCHYARD_WORKER_BASE"] == GPU["base"]["model"]


def test_on_a_cpu_nobody_asks_for_a_gpu() -> None:
    assert "nvidia" not in yaml.safe_dump(render({}))
    rendered = pods(render({}))
    assert rendered["engine"]["spec"]["containers"][0]["image"] == "switchyard-engine-cpu:0.1.0"
    assert "SWITCHYARD_ENGINE_TENSOR_PARALLEL_SIZE" not in environment(rendered["engine"])


def test_with_s3_there_is_no_shared_volume() -> None:
    manifests = render(S3)
    assert not [m for m in manifests if m["kind"] == "PersistentVolumeClaim"]
    for component in PROCESSES:
        pod = pods(manifests)[component]
        variables = environment(pod)
        assert variables["SWITCHYARD_REGISTRY_STORE_URL"] == "s3://adapters/prod"
        assert variables["AWS_ENDPOINT_URL"] == "https://s3.example"
        assert {"secretRef": {"name": "s3"}} in pod["spec"]["containers"][0]["envFrom"]
        assert "store" not in {volume["name"] for volume in pod["spec"]["volumes"]}


def test_without_s3_every_process_mounts_the_same_volume() -> None:
    manifests = render({})
    claim = find(manifests, "PersistentVolumeClaim", "-store")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    for component in PROCESSES:
        pod = pods(manifests)[component]["spec"]
        [volume] = [v for v in pod["volumes"] if v["name"] == "store"]
        assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        [mount] = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "store"]
        assert (
            environment({"spec": pod})["SWITCHYARD_REGISTRY_STORE_URL"]
            == f"file://{mount['mountPath']}"
        )


def test_an_engine_is_known_by_a_name_that_survives_its_pod() -> None:
    manifests = render({})
    service = find(manifests, "Service", "-engine")
    assert (
        find(manifests, "StatefulSet", "-engine")["spec"]["serviceName"]
        == service["metadata"]["name"]
    )
    assert service["spec"]["publishNotReadyAddresses"] is True
    variables = environment(pods(manifests)["engine"])
    assert variables["SWITCHYARD_ENGINE_ID"] == "prod-switchyard-engine-0"
    assert variables["SWITCHYARD_ENGINE_ADVERTISE_URL"] == (
        "http://prod-switchyard-engine-0.prod-switchyard-engine.ml.svc:8100"
    )


def test_with_autoscaling_the_autoscaler_alone_says_how_many_routers() -> None:
    manifests = render(EVERYTHING)
    assert "replicas" not in find(manifests, "Deployment", "-router")["spec"]
    scaler = find(manifests, "HorizontalPodAutoscaler", "-router")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 20)
    assert find(render({}), "Deployment", "-router")["spec"]["replicas"] == 2


def test_the_service_monitor_finds_every_metrics_port() -> None:
    manifests = render(EVERYTHING)
    monitor = find(manifests, "ServiceMonitor", "")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    found = {
        m["spec"]["selector"]["app.kubernetes.io/component"]
        for m in manifests
        if m["kind"] == "Service" and wanted <= m["metadata"]["labels"].items()
    }
    assert found == {*PROCESSES}
    [endpoint] = monitor["spec"]["endpoints"]
    assert endpoint["port"] == "metrics"
    assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/component"
    jobs = {relabelled(process, endpoint["relabelings"]) for process in PROCESSES}
    assert jobs == {*JOBS, "vllm"}, "or the alerts on targets look for jobs that are not there"
    assert not [m for m in render({}) if m["kind"] == "ServiceMonitor"]


def relabelled(job: str, rules: list[dict[str, Any]]) -> str:
    """What Prometheus makes of a target's job."""
    for rule in rules:
        assert rule["sourceLabels"] == ["job"] and rule["targetLabel"] == "job"
        found = re.fullmatch(rule["regex"], job)
        if found:
            job = found.expand(rule["replacement"].replace("$", "\\"))
    return job


def test_the_admin_api_is_off_until_it_is_asked_for_and_never_leaves_the_cluster() -> None:
    manifests = render({})
    assert not [m for m in manifests if m["metadata"]["name"].endswith("-admin")]
    assert "SWITCHYARD_ROUTER_ADMIN_KEY" not in environment(pods(manifests)["router"])

    manifests = render(EVERYTHING)
    service = find(manifests, "Service", "-router-admin")["spec"]
    assert service["type"] == "ClusterIP", "whatever the tenants' Service is"
    assert [port["port"] for port in service["ports"]] == [8084]
    for manifest in manifests:
        kind = manifest.get("spec", {}).get("type")
        if manifest["kind"] == "Ingress" or kind == "LoadBalancer":
            assert "8084" not in yaml.safe_dump(manifest)
            assert "admin" not in yaml.safe_dump(manifest)
    [container] = pods(manifests)["router"]["spec"]["containers"]
    [key] = [v for v in container["env"] if v["name"] == "SWITCHYARD_ROUTER_ADMIN_KEY"]
    assert key["valueFrom"]["secretKeyRef"] == {"name": "prod-db", "key": "admin-key"}
    rules = find(manifests, "NetworkPolicy", "-router")["spec"]["ingress"]
    [rule] = [rule for rule in rules if rule["ports"][0]["port"] == 8084]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"team": "platform"}}}]
    rules = find(render({"router": {"admin": {"enabled": True}}}), "NetworkPolicy", "-router")
    assert {port["port"] for rule in rules["spec"]["ingress"] for port in rule["ports"]} == {
        8080,
        8081,
    }, "no pod reaches it unless one is named"
    assert "svc/prod-switchyard-router-admin 8084:8084" in notes(EVERYTHING)


def test_routers_share_limits_through_the_redis_that_a_secret_names() -> None:
    manifests = render({"router": {"redis": {"existingSecret": "limits"}}})
    [container] = pods(manifests)["router"]["spec"]["containers"]
    [url] = [v for v in container["env"] if v["name"] == "SWITCHYARD_ROUTER_REDIS_URL"]
    assert url == {
        "name": "SWITCHYARD_ROUTER_REDIS_URL",
        "valueFrom": {"secretKeyRef": {"name": "limits", "key": "redis-url"}},
    }
    [container] = pods(render(EVERYTHING))["router"]["spec"]["containers"]
    [url] = [v for v in container["env"] if v["name"] == "SWITCHYARD_ROUTER_REDIS_URL"]
    assert url["valueFrom"]["secretKeyRef"] == {"name": "prod-redis", "key": "url"}


def test_only_routers_learn_of_redis_and_without_a_secret_nobody_does() -> None:
    for values, knowing in (({}, set()), (EVERYTHING, {"router"})):
        rendered = pods(render(values))
        assert {name for name in rendered if "REDIS" in str(rendered[name])} == knowing


def test_the_judges_key_comes_from_the_secret_that_values_name_and_only_to_workers() -> None:
    [container] = pods(render({"worker": {"judge": {"existingSecret": "judge"}}}))["worker"][
        "spec"
    ]["containers"]
    [key] = [v for v in container["env"] if v["name"] == "SWITCHYARD_WORKER_JUDGE_API_KEY"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "judge", "key": "judge-api-key"}}
    for values, knowing in (({}, set()), (EVERYTHING, {"worker"})):
        rendered = pods(render(values))
        assert {name for name in rendered if "JUDGE_API_KEY" in str(rendered[name])} == knowing
    assert "wait for Secret prod-judge with the key key" in " ".join(notes(EVERYTHING).split())


def test_no_policy_stands_between_a_router_and_redis() -> None:
    for manifest in render(EVERYTHING):
        if manifest["kind"] == "NetworkPolicy":
            assert manifest["spec"]["policyTypes"] == ["Ingress"], manifest["metadata"]["name"]


def test_large_numbers_and_truth_values_arrive_as_they_were_written() -> None:
    variables = environment(pods(render(EVERYTHING))["router"])
    assert variables["SWITCHYARD_ROUTER_MAX_BODY_BYTES"] == "16777216"
    assert variables["SWITCHYARD_ROUTER_ACCESS_LOG"] == "false"
    assert variables["SWITCHYARD_ROUTER_READ_TIMEOUT_S"] == "1.5"


def test_the_notes_name_the_secret_and_warn_of_an_open_engine() -> None:
    assert "Secret switchyard with the keys" in notes({})
    assert "Warning" not in notes({})
    assert "any pod in the cluster can load adapters" in notes(MINIMAL)


@pytest.mark.parametrize(
    ("router", "pods_let_in"),
    [
        ({}, "2 pods let each tenant have 2 times its limits"),
        ({"replicas": 5}, "5 pods let each tenant have 5 times its limits"),
        (
            {"replicas": 1, "autoscaling": {"enabled": True, "maxReplicas": 20}},
            "20 pods, at most, let each tenant have 20 times its limits",
        ),
    ],
)
def test_the_notes_say_that_routers_without_redis_each_keep_limits_of_their_own(
    router: dict[str, Any], pods_let_in: str
) -> None:
    said = " ".join(notes({"router": router}).split())
    assert f"names no Redis: {pods_let_in}" in said
    shared = notes({"router": {**router, "redis": {"existingSecret": "limits"}}})
    assert "each router pod's own" not in shared
    assert "wait for Secret limits with the key redis-url" in shared


def test_the_notes_say_nothing_of_limits_where_one_pod_keeps_them() -> None:
    alone = notes({"router": {"replicas": 1, "autoscaling": {"maxReplicas": 8}}})
    assert "Redis" not in alone and "Limits" not in alone


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"router": {"replcas": 3}}, "at '/router': additional properties 'replcas' not allowed"),
        ({"engin": {}}, "additional properties 'engin' not allowed"),
        ({"engine": {"device": "tpu"}}, "at '/engine/device': value must be one of 'cpu', 'cuda'"),
        ({"router": {"replicas": 0}}, "at '/router/replicas': minimum: got 0, want 1"),
        ({"router": {"replicas": "two"}}, "at '/router/replicas': got string, want integer"),
        ({"registry": {"existingSecret": ""}}, "at '/registry/existingSecret': minLength"),
        (
            {"store": {"url": "gs://bucket"}},
            "at '/store/url': 'gs://bucket' does not match pattern",
        ),
        (
            {"engine": {"resources": {"limits": {"memory": "8 GB"}}}},
            "/engine/resources/limits/memory",
        ),
        (
            {"router": {"redis": {"url": "redis://:secret@redis"}}},
            "at '/router/redis': additional properties 'url' not allowed",
        ),
        (
            {"router": {"redis": {"existingSecret": "redis://:secret@redis"}}},
            "at '/router/redis/existingSecret'",
        ),
        ({"router": {"redis": {"urlKey": ""}}}, "at '/router/redis/urlKey': minLength"),
        ({"router": {"ingress": {"enabled": True}}}, "at '/router/ingress/host': minLength"),
        ({"router": {"settings": {"Read-Timeout": 3}}}, "invalid propertyName 'Read-Timeout'"),
        (
            {"router": {"settings": {"cooldown_s": [1]}}},
            "at '/router/settings/cooldown_s': got array",
        ),
    ],
)
def test_a_wrong_value_is_refused_and_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as error:
        render(values)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"router": {"settings": {"port": 80}}},
            "router.settings.port: the chart sets SWITCHYARD_ROUTER_PORT itself",
        ),
        (
            {"router": {"settings": {"redis_url": "redis://:secret@redis"}}},
            "router.settings.redis_url: the chart sets SWITCHYARD_ROUTER_REDIS_URL itself",
        ),
        (
            {"worker": {"settings": {"judge_api_key": "sk-secret"}}},
            "worker.settings.judge_api_key: the chart sets SWITCHYARD_WORKER_JUDGE_API_KEY itself",
        ),
        (
            {"controller": {"swapSettings": {"base": "/models"}}},
            "controller.swapSettings.base: the chart sets SWITCHYARD_SWAP_BASE itself",
        ),
    ],
)
def test_a_setting_that_the_chart_sets_itself_is_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(helm_python.HelmRenderError) as error:
        render(values)
    assert message in str(error.value)


def test_the_default_release_is_the_one_on_record() -> None:
    """After a change that is meant: SWITCHYARD_WRITE_GOLDEN=1 pytest tests/helm; read the diff."""
    manifests = render({})
    summary: dict[str, Any] = {
        "objects": sorted(f"{m['kind']} {m['metadata']['name']}" for m in manifests)
    }
    for component, pod in sorted(pods(manifests).items()):
        [container] = pod["spec"]["containers"]
        summary[component] = {
            "image": container["image"],
            "args": container["args"],
            "ports": [port["containerPort"] for port in container.get("ports", [])],
            "environment": environment(pod),
            "mounts": [mount["mountPath"] for mount in container["volumeMounts"]],
        }
    text = yaml.safe_dump(summary, sort_keys=False, width=100)
    if os.environ.get("SWITCHYARD_WRITE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
