"""A fleet for tests: engines and routers as processes of their own, so that a kill is a kill."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import openai

import router
from tests.router.conftest import BASE, ENGINE_KEY, World
from tests.router.test_workers import Command, command

ROOT = Path(router.__file__).parents[1]


@dataclass
class EngineProcess:
    """The fake engine's command line; it keeps its port over a restart."""

    name: str
    adapters: Iterable[str]
    slow_ms: float
    port: int = 0
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Until it listens."""
        options = ["--base", BASE, "--api-key", ENGINE_KEY, "--port", str(self.port)]
        options += ["--slow-ms", str(self.slow_ms)]
        for adapter in self.adapters:
            options += ["--adapter", adapter]
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.fake_engine", *options),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            said = (await self.process.stdout.readline()).decode().strip()
        self.port = int(said.rpartition(":")[2])

    async def running(self) -> float:
        """How many requests it works on."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/metrics") as answer,
        ):
            lines = (await answer.text()).splitlines()
        (line,) = [line for line in lines if line.startswith("vllm:num_requests_running")]
        return float(line.split()[-1])

    async def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def announce(self, world: World) -> None:
        """As `switchyard engine run` does when its engine answers."""
        engines = world.registry.engines
        engines.register(self.name, self.url, BASE, max_loras=8, max_lora_rank=16)
        engines.heartbeat(self.name, "ready")


@asynccontextmanager
async def engines(world: World, count: int, slow_ms: float) -> AsyncIterator[list[EngineProcess]]:
    """So many, announced."""
    names = [version.served_name for version in world.registry.versions.all()]
    started = [EngineProcess(f"engine-{number}", names, slow_ms) for number in range(count)]
    try:
        for engine in started:
            await engine.start()
            engine.announce(world)
        yield started
    finally:
        for engine in started:
            await engine.kill()


@asynccontextmanager
async def routers(
    world: World, home: Path, count: int, **settings: Any
) -> AsyncIterator[list[Command]]:
    """So many, each a `switchyard router run` of its own, on one registry."""
    async with AsyncExitStack() as stack:
        yield list(
            await asyncio.gather(
                *(
                    stack.enter_async_context(
                        command(world, home / f"router-{number}", 1, **settings)
                    )
                    for number in range(count)
                )
            )
        )


@dataclass
class Load:
    """Clients of several tenants that never stop asking. Each answer is judged:

    right: from the tenant's own version, whole; told: an error in OpenAI's shape, or an event of
    one in a stream; refused: the connection was; wrong: everything else, as sentences.
    """

    world: World
    targets: dict[str, tuple[str, str]]
    """Tenant → the model that it asks for, and the served name that must answer."""
    outcomes: Counter[str] = field(default_factory=Counter)
    by_engine: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    told: Counter[str] = field(default_factory=Counter)
    stopping: bool = False

    async def sdk(self, url: str, tenant: str, stream: bool) -> None:
        """The openai SDK, which doesn't retry."""
        model, served = self.targets[tenant]
        client = openai.AsyncOpenAI(
            base_url=f"{url}/v1", api_key=self.world.keys[tenant], max_retries=0, timeout=30
        )
        number = 0
        async with client:
            while not self.stopping:
                number += 1
                said = f"{tenant} {number}"
                messages: Any = [{"role": "user", "content": said}]
                try:
                    if stream:
                        chunks = await client.chat.completions.create(
                            model=model, messages=messages, stream=True
                        )
                        parts = [c.choices[0] async for c in chunks if c.choices]
                        text = "".join(part.delta.content or "" for part in parts)
                        if parts[-1].finish_reason != "stop":
                            self.wrong.append(f"a stream that just stopped: {text!r}")
                    else:
                        whole = await client.chat.completions.create(model=model, messages=messages)
                        text = whole.choices[0].message.content or ""
                except openai.APITimeoutError:
                    self.wrong.append("hung")
                except openai.APIConnectionError as error:
                    self._gone(url, repr(error.__cause__))
                    await asyncio.sleep(0.01)
                except openai.APIError as error:
                    self._tell(error.body)
                else:
                    self._judge(text, f"{served} says: {said}")

    async def raw(self, url: str, tenant: str, stream: bool) -> None:
        """Bytes: an end without `[DONE]` and without an error event would show here."""
        model, served = self.targets[tenant]
        headers = {"authorization": f"Bearer {self.world.keys[tenant]}"}
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            number = 0
            while not self.stopping:
                number += 1
                said = f"{tenant} raw {number}"
                body = {"model": model, "messages": [{"role": "user", "content": said}]}
                try:
                    async with session.post(
                        f"{url}/v1/chat/completions", json=body | {"stream": stream}
                    ) as response:
                        if response.status != 200:
                            self._tell((await response.json())["error"])
                        elif stream:
                            self._stream(await response.text(), f"{served} says: {said}")
                        else:
                            answer = await response.json()
                            text = answer["choices"][0]["message"]["content"]
                            self._judge(text, f"{served} says: {said}")
                except TimeoutError:
                    self.wrong.append("hung")
                except aiohttp.ClientError as error:
                    self._gone(url, repr(error))
                    await asyncio.sleep(0.01)

    def _stream(self, text: str, wanted: str) -> None:
        events = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
        last = events[-1] if events else ""
        if last == "[DONE]":
            chunks = [json.loads(event) for event in events[:-1]]
            deltas = [c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"]]
            self._judge("".join(deltas), wanted)
        elif '"error"' in last:
            self._tell(json.loads(last)["error"])
        else:
            self.wrong.append(f"a stream without an end: {text[-200:]!r}")

    def _judge(self, text: str, wanted: str) -> None:
        self.outcomes["right"] += text == wanted
        if text != wanted:
            self.wrong.append(f"{text!r} where {wanted!r} was wanted")

    def _tell(self, error: Any) -> None:
        error = error or {}
        shape = {"message", "type", "param", "code"}
        if not shape <= error.keys() <= shape | {"usage"}:
            self.wrong.append(f"an error of another shape: {error!r}")
        self.outcomes["told"] += 1
        self.told[str(error.get("code"))] += 1

    def _gone(self, url: str, why: str) -> None:
        self.outcomes["refused"] += 1
        self.refused.append(f"{url}: {why}")
