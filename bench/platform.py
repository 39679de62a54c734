"""A platform for a benchmark: real engines, a real router, and a registry that says who may call.

    with Platform(folder, cast, [EngineOptions(max_loras=4)]) as platform: ...

Engines are `switchyard engine run`, so they are registered and beat as in production; the router is
`switchyard router run` with one key a tenant.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from bench.cast import ADAPTER, Cast
from bench.load import Door, Route
from bench.processes import BenchError, Child, free_ports, own_environ
from registry import Registry

ENGINE_KEY = "bench-engine-key"
START_S = 180.0


@dataclass(frozen=True)
class EngineOptions:
    """What the benchmark varies; the rest is the engine's default. max_loras None: the engine plans
    slots, rank and adapters in host memory by itself."""

    max_loras: int | None
    max_lora_rank: int = 8
    max_cpu_loras: int = 64
    max_num_seqs: int = 128
    kv_cache_gib: float = 0.5


@dataclass
class Replica:
    """A running engine."""

    id: str
    url: str
    options: EngineOptions
    child: Child
    load_log: Path

    def loads(self) -> int:
        """How many times a slot was filled so far."""
        if not self.load_log.exists():
            return 0
        return self.load_log.read_bytes().count(b"slot ")


@dataclass
class Platform:
    """Started by `with`; everything it started is gone afterwards. `weights` are by tenant."""

    folder: Path
    cast: Cast
    options: list[EngineOptions]
    weights: dict[str, float] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    """More `SWITCHYARD_*` for the router."""
    replicas: list[Replica] = field(default_factory=list, init=False)
    keys: dict[str, str] = field(default_factory=dict, init=False)
    served: dict[str, str] = field(default_factory=dict, init=False)
    router: Child = field(init=False)
    router_url: str = field(default="", init=False)
    registry: Registry = field(init=False)

    def __enter__(self) -> Platform:
        try:
            self.spawn()
            self.await_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def spawn(self) -> None:
        """Start everything without waiting: several platforms come up side by side."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.registry = Registry.open(
            f"sqlite:///{self.folder}/registry.db", self.cast.store_url, migrate=True
        )
        self._enrol()
        for number, options in enumerate(self.options):
            self.replicas.append(self._engine(f"engine-{number}", options))
        port, metrics_port = free_ports(2)
        self.router_url = f"http://127.0.0.1:{port}"
        self.router = Child.start(
            "the router",
            [sys.executable, "-m", "cli.main", "router", "run"],
            self.folder / "router.log",
            environ=self._environ(
                SWITCHYARD_ROUTER_PORT=str(port),
                SWITCHYARD_ROUTER_METRICS_PORT=str(metrics_port),
                **self.settings,
            ),
        )

    def await_ready(self) -> None:
        """Raises BenchError."""
        for replica in self.replicas:
            try:
                replica.child.wait_for(f"{replica.url}/health", START_S)
            except BenchError as error:
                log = self.folder / f"{replica.id}.vllm.log"
                text = log.read_text(errors="replace")[-3000:] if log.exists() else "(none)"
                raise BenchError(f"{error}\nvLLM's log ends:\n{text}") from None
        self.router.wait_for(f"{self.router_url}/ready", 60.0)

    def close(self) -> None:
        """End what runs, the router first."""
        for child in (getattr(self, "router", None), *(r.child for r in self.replicas)):
            if child is not None:
                child.stop()
        if hasattr(self, "registry"):
            self.registry.close()

    def through_router(self, label: str = "router") -> Route:
        """Each tenant with its own key, naming its alias."""
        doors = {tenant: Door(key, ADAPTER) for tenant, key in self.keys.items()}
        return Route(label, (self.router_url,), doors)

    def direct(self, label: str = "plain vLLM") -> Route:
        """Straight to the engines in turns, naming what they serve."""
        doors = {tenant: Door(ENGINE_KEY, name) for tenant, name in self.served.items()}
        return Route(label, tuple(replica.url for replica in self.replicas), doors)

    def loads(self) -> int:
        """Slots filled so far, in all engines."""
        return sum(replica.loads() for replica in self.replicas)

    def slots(self) -> int:
        """What the first engine started with."""
        return self.registry.engines.all()[0].max_loras

    def rss_mib(self) -> tuple[float, float]:
        """Resident memory of (the router, all engines)."""
        return self.router.rss_mib(), sum(replica.child.rss_mib() for replica in self.replicas)

    def _enrol(self) -> None:
        base = self.cast.base.name
        for part in self.cast.parts:
            self.registry.tenants.create(
                part.tenant,
                weight=self.weights.get(part.tenant, 1.0),
                requests_per_minute=100_000_000,
                tokens_per_minute=1_000_000_000,
                max_concurrent=100_000,
            )
            self.keys[part.tenant] = self.registry.tenants.create_key(part.tenant).secret
            self.registry.adapters.create(part.tenant, ADAPTER, base)
            version = self.registry.versions.publish(
                part.tenant,
                ADAPTER,
                part.digest,
                manifest={"base": base, "rank": 8},
                evaluation={},
                verdict="promote",
            )
            self.registry.aliases.ensure(part.tenant, ADAPTER, ADAPTER, fallback="fail")
            self.registry.aliases.flip(part.tenant, ADAPTER, version.digest)
            self.served[part.tenant] = version.served_name

    def _engine(self, name: str, options: EngineOptions) -> Replica:
        (port,) = free_ports(1)
        load_log = self.folder / f"{name}.loads"
        if options.max_loras is None:
            more = {"SWITCHYARD_ENGINE_PLAN": "true"}
        else:
            more = {
                "SWITCHYARD_ENGINE_MAX_LORAS": str(options.max_loras),
                "SWITCHYARD_ENGINE_MAX_LORA_RANK": str(options.max_lora_rank),
                "SWITCHYARD_ENGINE_MAX_CPU_LORAS": str(options.max_cpu_loras),
            }
        child = Child.start(
            name,
            [sys.executable, "-m", "cli.main", "engine", "run"],
            self.folder / f"{name}.log",
            environ=self._environ(
                SWITCHYARD_ENGINE_ID=name,
                SWITCHYARD_ENGINE_PORT=str(port),
                SWITCHYARD_ENGINE_BASE=str(self.cast.base),
                SWITCHYARD_ENGINE_STAGING=str(self.folder / f"staging-{name}"),
                SWITCHYARD_ENGINE_LOG_FILE=str(self.folder / f"{name}.vllm.log"),
                SWITCHYARD_ENGINE_MAX_NUM_SEQS=str(options.max_num_seqs),
                SWITCHYARD_ENGINE_KV_CACHE_GIB=str(options.kv_cache_gib),
                SWITCHYARD_ENGINE_LOAD_LOG=str(load_log),
                **more,
            ),
        )
        return Replica(name, f"http://127.0.0.1:{port}", options, child, load_log)

    def _environ(self, **values: str) -> dict[str, str]:
        return own_environ(
            SWITCHYARD_HOME=str(self.folder),
            SWITCHYARD_REGISTRY_STORE_URL=self.cast.store_url,
            SWITCHYARD_ENGINE_API_KEY=ENGINE_KEY,
            **values,
        )
