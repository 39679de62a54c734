"""What is measured: our router with everything on, its peers, and the engine without a router."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Child, free_ports, own_environ
from bench.router import peers
from bench.router.measure import HERE, LOAD_CORE, ROUTER_CORE
from registry import Registry

ENGINE_KEY = "bench-engine-key"
TENANTS = 8
BASE = "base"
ALIAS = "triage"
UNWATCHED = "unwatched"
"""Our router again, with as few records, sketches and signals as it can be told to make."""
_FEWEST = {
    "SWITCHYARD_ROUTER_RECORDS_PER_SECOND": "1",
    "SWITCHYARD_ROUTER_SKETCHES_PER_SECOND": "1",
    "SWITCHYARD_ROUTER_SIGNAL_BYTES": "0",
}
_START_S = 120.0


@dataclass(frozen=True)
class Target:
    """Where requests go, who sends them and what they name; `child` is None for the engine."""

    name: str
    url: str
    keys: tuple[str, ...]
    model: str
    child: Child | None
    metrics: str | None = None
    """Where ours shows its own."""


@contextmanager
def targets(
    folder: Path, peers_folder: Path, without: frozenset[str], *, access_log: bool
) -> Iterator[list[Target]]:
    """All of them, running: routers on one core, the engine on the other. Raises BenchError."""
    with ExitStack() as stack:
        (port,) = free_ports(1)
        backend = f"http://127.0.0.1:{port}"
        engine = Child.start(
            "the engine", ["node", str(HERE / "backend.js"), str(port), "32"],
            folder / "backend.log", core=LOAD_CORE,
        )  # fmt: skip
        stack.callback(engine.stop)
        engine.wait_for(f"{backend}/health", 30.0)
        found = [Target("direct", backend, ("none",), BASE, None)]
        found.append(ours(folder, backend, access_log=access_log))
        stack.callback(_stop, found[-1])
        if UNWATCHED not in without:
            found.append(ours(folder, backend, access_log=access_log, watched=False))
            stack.callback(_stop, found[-1])
        if "vllm-router" not in without:
            found.append(vllm_router(folder, backend, peers_folder))
            stack.callback(_stop, found[-1])
        if "litellm" not in without:
            found.append(litellm(folder, backend, peers_folder))
            stack.callback(_stop, found[-1])
        for target in found[1:]:
            assert target.child is not None
            path = "/health/liveliness" if target.name == "litellm" else "/health"
            ready = "/ready" if target.name in ("switchyard", UNWATCHED) else path
            target.child.wait_for(target.url + ready, _START_S)
        yield found


def ours(
    folder: Path, backend: str, *, access_log: bool, tenants: int = TENANTS, watched: bool = True
) -> Target:
    """Keys, aliases, limits (high, but counted), metrics, records and fairness are all on; records
    unless it is not `watched`."""
    called = "switchyard" if watched else UNWATCHED
    home = folder / called
    home.mkdir()
    registry = Registry.open(f"sqlite:///{home}/registry.db", f"file://{home}/store", migrate=True)
    keys = []
    for number in range(tenants):
        name = f"tenant-{number}"
        registry.tenants.create(
            name,
            requests_per_minute=100_000_000,
            tokens_per_minute=1_000_000_000,
            tokens_per_day=2_000_000_000,
            max_concurrent=10_000,
        )
        keys.append(registry.tenants.create_key(name).secret)
        registry.adapters.create(name, ALIAS, BASE)
        version = registry.versions.publish(
            name,
            ALIAS,
            hashlib.sha256(name.encode()).hexdigest(),
            manifest={"base": BASE, "rank": 8},
            evaluation={},
            verdict="promote",
        )
        registry.aliases.ensure(name, ALIAS, ALIAS)
        registry.aliases.flip(name, ALIAS, version.digest)
    registry.engines.register(
        "bench", backend, BASE, max_loras=16, max_lora_rank=16, max_num_seqs=256
    )
    registry.engines.heartbeat("bench", "ready")
    registry.close()
    port, metrics_port = free_ports(2)
    child = Child.start(
        called,
        [sys.executable, "-m", "cli.main", "router", "run"],
        folder / f"{called}.log",
        environ=own_environ(
            **({} if watched else _FEWEST),
            SWITCHYARD_HOME=str(home),
            SWITCHYARD_ENGINE_API_KEY=ENGINE_KEY,
            SWITCHYARD_ROUTER_PORT=str(port),
            SWITCHYARD_ROUTER_METRICS_PORT=str(metrics_port),
            SWITCHYARD_ROUTER_ACCESS_LOG=str(access_log).lower(),
            # Nobody renews the engine's heartbeat here.
            SWITCHYARD_ROUTER_ENGINE_STALE_S="86400",
        ),
        core=ROUTER_CORE,
    )
    metrics = f"http://127.0.0.1:{metrics_port}/metrics"
    return Target(called, f"http://127.0.0.1:{port}", tuple(keys), ALIAS, child, metrics)


def vllm_router(folder: Path, backend: str, peers_folder: Path) -> Target:
    """vLLM's own router: no tenants and no keys."""
    port, metrics_port = free_ports(2)
    command = [
        str(peers.command("vllm-router", peers_folder)),
        *("--host", "127.0.0.1", "--port", str(port), "--worker-urls", backend),
        *("--policy", "round_robin", "--prometheus-port", str(metrics_port)),
    ]
    log = folder / "vllm-router.log"
    child = Child.start("vllm-router", command, log, core=ROUTER_CORE, cwd=folder)
    return Target("vllm-router", f"http://127.0.0.1:{port}", ("none",), BASE, child)


def litellm(folder: Path, backend: str, peers_folder: Path) -> Target:
    """LiteLLM's proxy with one key and one model."""
    (port,) = free_ports(1)
    parameters = {"model": f"openai/{BASE}", "api_base": f"{backend}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": BASE, "litellm_params": parameters}],
        "litellm_settings": {"telemetry": False},
        "general_settings": {"master_key": "sk-bench"},
    }
    (folder / "litellm.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [
        str(peers.command("litellm", peers_folder)),
        *("--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1"),
        *("--port", str(port), "--num_workers", "1"),
    ]
    child = Child.start(
        "litellm",
        command,
        folder / "litellm.log",
        environ={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # or it asks the network
        core=ROUTER_CORE,
        cwd=folder,
    )
    return Target("litellm", f"http://127.0.0.1:{port}", ("sk-bench",), BASE, child)


def _stop(target: Target) -> None:
    if target.child is not None:
        target.child.stop()
