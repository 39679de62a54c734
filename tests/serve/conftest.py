"""One real vLLM for all slow tests of this room: a start costs half a minute."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from monitoring.metrics import Metrics
from registry import Registry
from serve.settings import EngineSettings, SwapSettings
from tests.real_engine import RunningEngine, make_adapter, make_base, running_engine
from tests.serve.making import KEY


@dataclass(frozen=True)
class Real:
    """A ready vLLM on a tiny base, its registry, and an adapter that it should serve."""

    engine: RunningEngine
    registry: Registry
    folder: Path
    base: Path
    good: Path
    swap: SwapSettings


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("real")
    base = make_base(folder / "tiny")
    good = make_adapter(base, folder / "good")
    shutil.copy(sqlite_template, folder / "registry.db")
    registry = Registry.open(f"sqlite:///{folder}/registry.db", f"file://{folder}/store")
    registry.tenants.create("acme")
    registry.adapters.create("acme", "triage", base.name)
    registry.aliases.ensure("acme", "triage", "triage")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = EngineSettings(
        base=str(base),
        store_url=f"file://{folder}/store",
        staging=folder / "staging-engine",
        log_file=folder / "engine.log",
        engine_api_key=KEY,
        port=port,
        max_loras=4,
        max_cpu_loras=8,
        kv_cache_gib=0.1,
        heartbeat_s=0.5,
        load_log=folder / "loads",
    )
    with running_engine(settings, registry, Metrics(), timeout_s=500) as engine:
        yield Real(
            engine,
            registry,
            folder,
            base,
            good,
            SwapSettings(engine_api_key=KEY, staging=folder / "staging-swap", drain_s=0.0),
        )
    registry.close()
