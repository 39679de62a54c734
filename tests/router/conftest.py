"""A running router for every test: real uvicorn, real registry, the fake engine behind it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import openai
import pytest

from monitoring.metrics import Metrics
from registry import Registry
from registry.versions import Version
from router.server import Server
from router.settings import RouterSettings
from tests.fake_engine import FakeEngine
from tests.real_redis import RealRedis

BASE = "switchyard-tiny"
ENGINE_KEY = "engine-key-that-never-leaves"


async def until(condition: Callable[[], Any], what: str, seconds: float = 10.0) -> Any:
    """Poll until the condition holds (it may be a coroutine function); its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.01)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealRedis]:
    """A Redis that all tests share: each keeps to a prefix of its own."""
    with RealRedis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@dataclass
class World:
    """A registry with three tenants, as tests see it."""

    registry: Registry
    keys: dict[str, str] = field(default_factory=dict)

    def tenant(self, name: str, **fields: Any) -> None:
        self.registry.tenants.create(name, **fields)
        self.keys[name] = self.registry.tenants.create_key(name).secret

    def version(
        self, tenant: str, adapter: str, content: str, *, live: str | None = None
    ) -> Version:
        """A published version; live under the alias `live` if one is named."""
        self.registry.adapters.ensure(tenant, adapter, BASE)
        version = self.registry.versions.publish(
            tenant,
            adapter,
            hashlib.sha256(content.encode()).hexdigest(),
            manifest={"base": BASE, "tenant": tenant, "adapter": adapter},
            evaluation={},
            verdict="promote",
        )
        if live:
            self.registry.aliases.ensure(tenant, live, adapter)
            self.registry.aliases.flip(tenant, live, version.digest)
        return version

    def engine(self, engine: FakeEngine, name: str = "engine-0") -> None:
        """Register it and say that it is ready."""
        self.registry.engines.register(name, engine.url, engine.base, max_loras=4, max_lora_rank=16)
        self.registry.engines.heartbeat(name, "ready")


@pytest.fixture
def world(sqlite_registry: Registry) -> World:
    """`acme` and `lex` have one live version each, `solo` has no adapter."""
    world = World(sqlite_registry)
    world.tenant("acme", store_text=True)
    world.tenant("lex")
    world.tenant("solo")
    world.version("acme", "triage", "triage one", live="triage")
    world.version("lex", "clauses", "clauses one", live="clauses")
    return world


@pytest.fixture
async def engine(world: World) -> AsyncIterator[FakeEngine]:
    """A fake engine that finds every version there is, registered and ready."""
    names = {version.served_name for version in world.registry.versions.all()}
    async with FakeEngine(base=BASE, adapters=names, api_key=ENGINE_KEY) as engine:
        world.engine(engine)
        yield engine


@dataclass
class Running:
    """A router that serves."""

    url: str
    metrics_url: str
    metrics: Metrics
    server: Server
    world: World

    def client(self, tenant: str = "acme", **options: Any) -> openai.AsyncOpenAI:
        """The real SDK with a tenant's key; it doesn't retry unless told to."""
        key = options.pop("api_key", None) or self.world.keys[tenant]
        options.setdefault("max_retries", 0)
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, **options)

    async def post(
        self, body: bytes, path: str = "/v1/chat/completions", **headers: str
    ) -> tuple[int, Any, Any]:
        """A raw request as acme: (status, decoded body, headers)."""
        given = {"authorization": f"Bearer {self.world.keys['acme']}", **headers}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, data=body, headers=given) as response,
        ):
            return response.status, await response.json(), response.headers

    async def raw(self, body: bytes, path: str = "/v1/chat/completions") -> tuple[int, str]:
        """A raw request as acme: (status, text of the answer)."""
        headers = {"authorization": f"Bearer {self.world.keys['acme']}"}
        async with (
            aiohttp.ClientSession() as session,
            session.post(self.url + path, data=body, headers=headers) as response,
        ):
            return response.status, await response.text()

    async def get(self, path: str, **headers: str) -> tuple[int, Any, Any]:
        """A raw GET: (status, decoded body, headers)."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(self.url + path, headers=headers) as response,
        ):
            return response.status, await response.json(), response.headers

    def value(self, name: str, **labels: str) -> float:
        """A metric's value now, 0.0 when it has no such series."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def dropped(self, reason: str) -> float:
        """Exchanges that were not written, for that reason."""
        return self.value("switchyard_exchanges_dropped_total", reason=reason)


@asynccontextmanager
async def running(world: World, **settings: Any) -> AsyncIterator[Running]:
    """A router on free ports, in a thread with an event loop of its own."""
    metrics = Metrics()
    options = {"port": 0, "metrics_port": 0, "record_interval_s": 0.02, "cooldown_s": 0.2}
    options |= {"engine_api_key": ENGINE_KEY, "drain_s": 2.0, "access_log": False}
    options |= {"feedback_wait_s": 0.05}  # there is one process, unless a test says otherwise
    options |= {"engine_stale_s": 600.0}  # nobody beats the heart of a fake engine
    server = Server(RouterSettings(**(options | settings)), world.registry, metrics)
    server.startup()
    thread = threading.Thread(target=server.run, name="router")
    thread.start()
    try:
        router = Running(server.url, server.metrics_url, metrics, server, world)

        async def up() -> bool:
            try:
                status, _, _ = await router.get("/ready")
            except aiohttp.ClientError:
                return False
            return status == 200 or not world.registry.engines.ready()

        await until(up, "the router to be ready")
        yield router
    finally:
        server.shutdown()
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive(), "the router did not shut down"


@pytest.fixture
async def router(world: World, engine: FakeEngine) -> AsyncIterator[Running]:
    """The router with default settings, in front of one engine."""
    async with running(world) as router:
        yield router
