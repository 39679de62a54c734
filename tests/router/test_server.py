"""The router as a process of its own: signals, drain, ports."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path

import openai
import pytest

import router
from monitoring import exposition
from monitoring.metrics import Metrics
from registry import Registry
from router.server import PortInUse, Server
from router.settings import RouterSettings
from tests.fake_engine import FakeEngine
from tests.router.conftest import ENGINE_KEY, World
from tests.router.test_chat import HELLO

PROCESS = """
import sys
import structlog
structlog.configure(logger_factory=structlog.WriteLoggerFactory(sys.stderr))
from monitoring.metrics import Metrics
from registry import Registry
from router.server import Server
from router.settings import RouterSettings
settings = RouterSettings(
    port=0, metrics_port=0, engine_api_key=sys.argv[3], drain_s=20, engine_stale_s=600
)
server = Server(settings, Registry.open(sys.argv[1], sys.argv[2]), Metrics())
server.startup()
print(server.url, flush=True)
server.run()
print("closed", flush=True)
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_streams_finish_and_ends_with_exit_code_0(
    world: World, engine: FakeEngine, sign: signal.Signals
) -> None:
    registry: Registry = world.registry
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROCESS,
        registry.database.url,
        registry.store.url,
        ENGINE_KEY,
        cwd=Path(router.__file__).parent.parent,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout
        url = (await process.stdout.readline()).decode().strip()
        engine.slow_ms = 100
        client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=world.keys["acme"])
        async with client:
            stream = await client.chat.completions.create(
                model="triage", messages=HELLO, stream=True
            )
            chunks = [await anext(aiter(stream))]
            process.send_signal(sign)
            chunks += [chunk async for chunk in stream]
        assert chunks[-1].choices[0].finish_reason == "stop"
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0
        assert out.decode().endswith("closed\n")
        assert world.keys["acme"] not in out.decode() and HELLO[0]["content"] not in out.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert len(registry.exchanges.since(0)) == 1


def test_ports_in_use_are_named(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"127.0.0.1:{port}: the port is in use"):
            Server(RouterSettings(port=port), world.registry, Metrics()).startup()
        with pytest.raises(exposition.PortInUse, match=str(port)):
            Server(RouterSettings(port=0, metrics_port=port), world.registry, Metrics()).startup()


def test_a_server_that_was_not_started_says_so(world: World) -> None:
    server = Server(RouterSettings(), world.registry, Metrics())
    with pytest.raises(RuntimeError, match="not started"):
        assert server.url
