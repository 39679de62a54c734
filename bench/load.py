"""Closed-loop load: clients that each send the next request when the last one was answered.

Tokens are credited to the time in which a request was under way, so that a window's edges cut
fairly through requests. Client starts are spread over the warm-up: clients that began together
would go on in step, and a window would hold one wave more or less by chance.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.processes import BenchError

TOKENS = 32
_SUBJECTS = ("parcel", "invoice", "refund", "login", "card", "delivery", "password", "order")


@dataclass(frozen=True)
class Door:
    """What one tenant says to be let in, and the model that it names."""

    key: str
    model: str


@dataclass
class Route:
    """A way to the engines: several URLs are taken in turns, request by request."""

    label: str
    urls: Sequence[str]
    doors: dict[str, Door]
    _turn: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._turn = itertools.cycle(self.urls)

    def next_url(self) -> str:
        """Round-robin."""
        return next(self._turn)


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; times are monotonic seconds."""

    tenant: str
    began: float
    first: float
    """When the answer's first byte came."""
    ended: float
    status: int
    prompt_tokens: int
    completion_tokens: int

    @property
    def seconds(self) -> float:
        """From sending to the last byte."""
        return self.ended - self.began


@dataclass
class Window:
    """What was seen between two moments. `samples` are the requests that ended inside."""

    start: float
    end: float
    everything: list[Sample]

    @property
    def samples(self) -> list[Sample]:
        """Answered requests that ended inside."""
        inside = (s for s in self.everything if self.start <= s.ended <= self.end)
        return [sample for sample in inside if sample.status == 200]

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200, whenever."""
        return sum(sample.status != 200 for sample in self.everything)

    def tokens_per_second(self) -> float:
        """Completion tokens of each request, spread over the time that it took."""
        total = 0.0
        for sample in self.everything:
            inside = min(sample.ended, self.end) - max(sample.began, self.start)
            if inside > 0 and sample.status == 200:
                total += sample.completion_tokens * inside / sample.seconds
        return total / (self.end - self.start)


@asynccontextmanager
async def session() -> Any:
    """One without a limit of connections."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as opened:
        yield opened


async def ask(
    http: aiohttp.ClientSession,
    route: Route,
    tenant: str,
    number: int,
    *,
    stream: bool = False,
    tokens: int = TOKENS,
) -> Sample:
    """One request of so many tokens. A failure is a sample with the status 0 or the engine's."""
    door = route.doors[tenant]
    subject = _SUBJECTS[number % len(_SUBJECTS)]
    body: dict[str, Any] = {
        "model": door.model,
        "messages": [{"role": "user", "content": f"Ticket {number}: my {subject} is wrong."}],
        "max_tokens": tokens,
        "ignore_eos": True,
        "temperature": 0,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    began = first = time.monotonic()
    status = 0
    usage: dict[str, int] = {}
    try:
        async with http.post(
            f"{route.next_url()}/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {door.key}"},
        ) as response:
            data = await response.content.readany() if stream else b""
            first = time.monotonic()
            data += await response.read()
            status = response.status
        if status == 200:
            usage = _usage(data) if stream else json.loads(data)["usage"]
    except (aiohttp.ClientError, TimeoutError, OSError):
        status = 0
    ended = time.monotonic()
    return Sample(
        tenant,
        began,
        first,
        ended,
        status,
        usage.get("prompt_tokens", 0),
        usage.get("completion_tokens", 0),
    )


def _usage(data: bytes) -> dict[str, int]:
    """Of a stream's last chunk but `[DONE]`."""
    events = [line for line in data.split(b"\n\n") if line.startswith(b"data: {")]
    return json.loads(events[-1].removeprefix(b"data: ")).get("usage") or {}


async def closed_loop(
    http: aiohttp.ClientSession,
    route: Route,
    pick: Callable[[random.Random], str],
    *,
    clients: int,
    seconds: float,
    warm_s: float = 3.0,
    seed: int = 0,
    stream: bool = False,
) -> Window:
    """`clients` clients, each asking for whom `pick` says, for `warm_s` and then `seconds`."""
    began = time.monotonic()
    start, end = began + warm_s, began + warm_s + seconds
    samples: list[Sample] = []
    numbers = itertools.count(seed * 1_000_003)

    async def client(number: int) -> None:
        chooses = random.Random(f"{seed}/{number}")
        await asyncio.sleep(number / clients * min(2.0, warm_s))
        while time.monotonic() < end:
            sample = await ask(http, route, pick(chooses), next(numbers), stream=stream)
            samples.append(sample)
            if sample.status != 200:
                await asyncio.sleep(0.05)  # a refusal costs nothing: don't spin

    await asyncio.gather(*(client(number) for number in range(clients)))
    return Window(start, end, samples)


async def touch(route: Route) -> None:
    """Each tenant's adapter once at every URL: the first fetch from the store is not measured.

    Raises BenchError when one is not answered.
    """
    async with session() as http:
        for number, tenant in enumerate([name for name in route.doors for _ in route.urls]):
            sample = await ask(http, route, tenant, number)
            if sample.status != 200:
                raise BenchError(f"{route.label}: {tenant} got status {sample.status} for a start")


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them don't exceed; NaN of none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
