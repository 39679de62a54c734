"""The chart through Helm's own library, as lists of manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python
import yaml

CHART = Path(__file__).parents[2] / "helm" / "switchyard"

GPU = {
    "engine": {
        "device": "cuda",
        "gpus": 2,
        "runtimeClassName": "nvidia",
        "settings": {"max_loras": 32, "gpu_memory_utilization": 0.85},
    },
    "worker": {"device": "cuda", "gpus": 1},
    "base": {"model": "meta-llama/Llama-3.1-8B-Instruct", "existingSecret": "hub"},
}
S3 = {
    "store": {
        "url": "s3://adapters/prod",
        "endpointUrl": "https://s3.example",
        "existingSecret": "s3",
    },
    "registry": {"existingSecret": "prod-db", "databaseUrlKey": "url"},
    "base": {"model": "/models/llama", "existingClaim": "models"},
    "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/sy"}},
}
EVERYTHING: dict[str, Any] = {
    **S3,
    "image": {
        "repository": "example.org/switchyard",
        "tag": "1.2.3",
        "pullSecrets": [{"name": "p"}],
    },
    "router": {
        "replicas": 5,
        "admin": {"enabled": True, "podSelector": {"matchLabels": {"team": "platform"}}},
        "settings": {"max_body_bytes": 16777216, "access_log": False, "read_timeout_s": 1.5},
        "redis": {"existingSecret": "prod-redis", "urlKey": "url"},
        "autoscaling": {"enabled": True, "maxReplicas": 20},
        "ingress": {
            "enabled": True,
            "host": "llm.example.org",
            "className": "nginx",
            "tlsSecret": "tls",
            "annotations": {"nginx.ingress.kubernetes.io/proxy-buffering": "off"},
        },
        "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
        "nodeSelector": {"pool": "front"},
        "tolerations": [{"key": "front", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "podAnnotations": {"a": "b"},
    },
    "engine": {"replicas": 3, "settings": {"max_lora_rank": 32}},
    "worker": {
        "replicas": 2,
        "settings": {
            "max_attempts": 3,
            "nice": 0,
            "judge_url": "https://judge.example/v1",
            "judge_model": "large",
        },
        "judge": {"existingSecret": "prod-judge", "apiKeyKey": "key"},
    },
    "controller": {"settings": {"min_corrections": 100}, "swapSettings": {"drain_s": 60}},
    "networkPolicy": {"prometheusPodSelector": {"matchLabels": {"app": "prometheus"}}},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "grafanaDashboards": {"enabled": True, "annotations": {"grafana_folder": "Switchyard"}},
}
MINIMAL = {
    "registry": {"migrate": {"enabled": False}},
    "store": {"volume": {"existingClaim": "shared"}},
    "serviceAccount": {"create": False},
    "networkPolicy": {"enabled": False},
    "podDisruptionBudget": {"enabled": False},
    "engine": {"replicas": 0},
    "worker": {"replicas": 0},
}
CASES = {"default": {}, "gpu": GPU, "s3": S3, "everything": EVERYTHING, "minimal": MINIMAL}


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Every manifest of a release `prod` in the namespace `ml`."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="prod", namespace="ml", is_install=True)
    return [
        manifest
        for name, text in sorted(files.items())
        if name.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


def notes(values: dict[str, Any]) -> str:
    """What is printed after an installation."""
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render(values, name="prod", namespace="ml", is_install=True)
    return next(text for name, text in files.items() if name.endswith("NOTES.txt"))


def find(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one manifest of a kind and a name without the release's."""
    [found] = [
        m
        for m in manifests
        if m["kind"] == kind and m["metadata"]["name"] == f"prod-switchyard{name}"
    ]
    return found


def pods(manifests: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """{component: pod template} of everything that starts pods."""
    templates = [m["spec"]["template"] for m in manifests if "template" in m.get("spec", {})]
    return {t["metadata"]["labels"]["app.kubernetes.io/component"]: t for t in templates}


def environment(pod: dict[str, Any]) -> dict[str, str]:
    """A container's variables as its process will see them; secrets and fields filled in."""
    [container] = pod["spec"]["containers"]
    values: dict[str, str] = {}
    for variable in container["env"]:
        if "value" in variable:
            value = variable["value"]
            for name, known in values.items():
                value = value.replace(f"$({name})", known)
        elif "secretKeyRef" in variable["valueFrom"]:
            value = f"secret-{variable['valueFrom']['secretKeyRef']['key']}"
            if variable["name"].endswith("REDIS_URL"):
                value = f"redis://{value}"  # no process would take anything else
        else:
            value = {"metadata.name": "prod-switchyard-engine-0", "metadata.namespace": "ml"}[
                variable["valueFrom"]["fieldRef"]["fieldPath"]
            ]
        assert variable["name"] not in values, f"{variable['name']} is there twice"
        values[variable["name"]] = value
    return values
