"""A real vLLM is killed under load, with another engine beside it and two routers in front."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest

from tests.fake_engine import FakeEngine
from tests.router.conftest import Running, World, running, until
from tests.router.test_errors import is_error
from tests.serve.conftest import Real
from tests.serve.making import KEY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CLIENTS = 8


async def client(
    router: Running, base: str, stream: bool, seen: Counter[str], over: asyncio.Event
) -> None:
    """Ask again and again; each answer is whole, or an error that says so."""
    body: dict[str, Any] = {"model": base, "max_tokens": 24, "stream": stream}
    headers = {"authorization": f"Bearer {router.world.keys['acme']}"}
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        while not over.is_set():
            # Each a conversation of its own, or all of them would stay with one replica.
            said = f"{seen.total()} {id(session)} the invoice was wrong again"
            messages = {"messages": [{"role": "user", "content": said}]}
            url = f"{router.url}/v1/chat/completions"
            async with session.post(url, json=body | messages) as answer:
                text = await answer.text()
            if answer.status != 200:
                assert is_error(json.loads(text), "engine_unavailable"), text
                seen["told"] += 1
                await asyncio.sleep(0.01)
                continue
            if not stream:
                whole = json.loads(text)
                assert whole["model"] == base and whole["choices"][0]["finish_reason"], text
            else:
                last = text.rstrip().rpartition("data: ")[2]
                if last != "[DONE]":
                    assert json.loads(last)["error"]["code"] == "stream_interrupted", text[-300:]
                    seen["told"] += 1
                    continue
            seen["fake" if "says:" in text else "real"] += 1


async def test_a_real_engine_killed_under_load_loses_no_answer_without_an_error(real: Real) -> None:
    registry, base = real.registry, real.base.name
    victim = registry.engines.ready()[0]
    world = World(registry, {"acme": registry.tenants.create_key("acme").secret})
    seen: Counter[str] = Counter()
    over = asyncio.Event()

    clients: list[asyncio.Task[None]] = []

    def counted(kind: str, more: int) -> bool:
        """Whether so many answers came; a client that met a wrong one ends the test."""
        for ended in (task for task in clients if task.done()):
            ended.result()
        return seen[kind] > more

    def returned() -> bool:
        row = registry.engines.get(victim.id)
        return row.state == "ready" and row.started_at > victim.started_at

    options = {"engine_api_key": KEY, "cooldown_s": 0.5}
    async with FakeEngine(base=base, api_key=KEY, slow_ms=5) as other:
        world.engine(other, "engine-beside")
        try:
            async with running(world, **options) as first, running(world, **options) as second:
                routers = (first, second)
                clients = [
                    asyncio.create_task(client(routers[n % 2], base, n % 4 < 2, seen, over))
                    for n in range(CLIENTS)
                ]
                await until(lambda: counted("real", 20) and counted("fake", 20), "traffic", 60)
                pid = real.engine.supervisor.pid
                assert pid is not None
                os.kill(pid, signal.SIGKILL)
                killed = time.monotonic()

                def opened() -> bool:
                    name = "switchyard_replica_breaker"
                    return all(router.value(name, engine=victim.id) > 0 for router in routers)

                await until(opened, "both breakers to open", killed + 2.0 - time.monotonic())
                before = seen["fake"]
                await until(lambda: counted("fake", before + 100), "the other engine", 60)
                over.set()  # vLLM takes long enough to start without them
                await asyncio.gather(*clients)
                await asyncio.to_thread(real.engine.wait_until, returned, "back", 240)
                over.clear()
                back = seen["real"]
                clients = [
                    asyncio.create_task(client(routers[n % 2], base, n % 4 < 2, seen, over))
                    for n in range(CLIENTS)
                ]
                await until(lambda: counted("real", back + 20), "its traffic", 60)
                over.set()
                await asyncio.gather(*clients)
        finally:
            over.set()
            registry.engines.remove("engine-beside")
    assert seen["told"] <= CLIENTS * 4, seen
