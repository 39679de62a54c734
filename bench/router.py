"""What the router costs: the same requests straight to an engine and through the router, in turns.

The engine is the tests' fake one (it answers at once), so that nearly all that is measured is the
way there and back. Keys, selection, snapshot, metrics and exchange records are all on.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from registry import Registry

CONNECTIONS = 32
ENGINE_KEY = "bench"
ADAPTER = "triage"
BODY = {"messages": [{"role": "user", "content": "Where is my parcel?"}], "max_tokens": 8}


@dataclass(frozen=True)
class Route:
    """Where requests go, and what they name."""

    label: str
    url: str
    key: str
    model: str


@dataclass(frozen=True)
class Figures:
    """Requests a second, and milliseconds for one request at a time."""

    per_second: float
    p50_ms: float
    failed: int


def main(seconds: float) -> None:
    """Run and print."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as home, platform(home) as routes:
        rounds = {route: asyncio.run(measure(route, seconds)) for route in routes}
    direct = rounds[routes[0]]
    table = Table(title=f"router: {CONNECTIONS} connections, {seconds:g} s each")
    for column in ("", "requests/s", "of direct", "p50 at 1 connection", "added", "failed"):
        table.add_column(column, justify="right" if column else "left")
    for route, seen in rounds.items():
        table.add_row(
            route.label,
            f"{seen.per_second:,.0f}",
            f"{seen.per_second / direct.per_second:.2f}",
            f"{seen.p50_ms:.2f} ms",
            f"{seen.p50_ms - direct.p50_ms:+.2f} ms",
            str(seen.failed),
        )
    Console().print(table)


async def measure(route: Route, seconds: float) -> Figures:
    """First one connection, then many."""
    headers = {"authorization": f"Bearer {route.key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        alone, failed_alone = await _load(session, route, 1, seconds / 2)
        many, failed = await _load(session, route, CONNECTIONS, seconds)
    return Figures(len(many) / seconds, statistics.median(alone) * 1000, failed + failed_alone)


async def _load(
    session: aiohttp.ClientSession, route: Route, connections: int, seconds: float
) -> tuple[list[float], int]:
    """(seconds of each answered request, number of failed ones)."""
    until = time.monotonic() + seconds
    took: list[float] = []
    failed = 0

    async def client() -> None:
        nonlocal failed
        while (began := time.monotonic()) < until:
            url = f"{route.url}/v1/chat/completions"
            async with session.post(url, json={**BODY, "model": route.model}) as response:
                await response.read()
                if response.status == 200:
                    took.append(time.monotonic() - began)
                else:
                    failed += 1

    await asyncio.gather(*(client() for _ in range(connections)))
    return took, failed


@contextmanager
def platform(home: str) -> Iterator[list[Route]]:
    """A fake engine and a router in processes of their own, and a registry that says so."""
    engine_port, router_port, metrics_port = _free_ports(3)
    environ = {
        **os.environ,
        "SWITCHYARD_HOME": home,
        "SWITCHYARD_ENGINE_API_KEY": ENGINE_KEY,
        "SWITCHYARD_ROUTER_PORT": str(router_port),
        "SWITCHYARD_ROUTER_METRICS_PORT": str(metrics_port),
        # The bench keeps the engine's row; there is no supervisor to renew its heartbeat.
        "SWITCHYARD_ROUTER_ENGINE_STALE_S": "86400",
    }
    registry = Registry.open(f"sqlite:///{home}/registry.db", f"file://{home}/store", migrate=True)
    registry.tenants.create("acme")
    key = registry.tenants.create_key("acme").secret
    registry.adapters.create("acme", ADAPTER, "switchyard-tiny")
    version = registry.versions.publish(
        "acme",
        ADAPTER,
        hashlib.sha256(b"bench").hexdigest(),
        manifest={},
        evaluation={},
        verdict="promote",
    )
    registry.aliases.ensure("acme", ADAPTER, ADAPTER)
    registry.aliases.flip("acme", ADAPTER, version.digest)
    engine_url = f"http://127.0.0.1:{engine_port}"
    registry.engines.register("bench", engine_url, "switchyard-tiny", max_loras=4, max_lora_rank=16)
    registry.engines.heartbeat("bench", "ready")
    python = sys.executable
    commands = [
        [python, "-m", "tests.fake_engine", "--port", str(engine_port), "--api-key", ENGINE_KEY,
         "--adapter", version.served_name],
        [python, "-m", "cli.main", "router", "run"],
    ]  # fmt: skip
    with (Path(home) / "bench.log").open("wb") as log:
        processes = [
            subprocess.Popen(command, env=environ, stdout=log, stderr=log) for command in commands
        ]
        try:
            router_url = f"http://127.0.0.1:{router_port}"
            asyncio.run(_ready(f"{router_url}/ready", Path(home) / "bench.log"))
            asyncio.run(_ready(f"{engine_url}/health", Path(home) / "bench.log"))
            yield [
                Route("direct", engine_url, ENGINE_KEY, version.served_name),
                Route("through the router", router_url, key, ADAPTER),
            ]
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(timeout=30)
            registry.close()


async def _ready(url: str, log: Path, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < until:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {seconds:g} s:\n{log.read_text()[-2000:]}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
