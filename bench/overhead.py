"""What the router takes from a real engine: tokens a second through it ÷ direct, and the time that
it adds to the first token.

One vLLM on the CPU, one adapter, both ways in turns: throughput round by round in changing order,
the first token request by request, so that what the machine does besides cancels.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench import cast as making
from bench.cliff import BASE
from bench.load import TOKENS, Route, ask, closed_loop, percentile, session, touch
from bench.platform import EngineOptions, Platform
from bench.report import Report, middle

CLIENTS = 32
PAIRS = 300
WHERE = f"engine, router and load share all cores; {CLIENTS} clients, {TOKENS} tokens a request"


async def rates(
    routes: Sequence[Route], *, stream: bool, rounds: int, seconds: float
) -> list[list[float]]:
    """Tokens a second of each route, a figure a round."""
    seen: list[list[float]] = [[] for _ in routes]
    (tenant,) = routes[0].doors

    def pick(_: random.Random) -> str:
        return tenant

    for number in range(rounds):
        order = range(len(routes)) if number % 2 == 0 else reversed(range(len(routes)))
        for which in order:
            async with session() as http:
                window = await closed_loop(
                    http,
                    routes[which],
                    pick,
                    clients=CLIENTS,
                    seconds=seconds,
                    warm_s=2.0,
                    seed=number,
                    stream=stream,
                )
            seen[which].append(window.tokens_per_second())
    return seen


async def first_tokens(routes: Sequence[Route], pairs: int) -> list[list[float]]:
    """Seconds to the first byte of a stream, one request at a time, the routes in turns."""
    seen: list[list[float]] = [[] for _ in routes]
    (tenant,) = routes[0].doors
    async with session() as http:
        for number in range(pairs + 20):
            order = range(len(routes)) if number % 2 == 0 else reversed(range(len(routes)))
            for which in order:
                sample = await ask(http, routes[which], tenant, number, stream=True, tokens=2)
                if number >= 20:  # connections and caches are warm
                    seen[which].append(sample.first - sample.began)
    return seen


def measure(folder: Path, rounds: int, seconds: float) -> Report:
    """On a platform of its own."""
    cast = making.make(BASE, folder, 1)
    with Platform(folder / "platform", cast, [EngineOptions(max_loras=4)]) as platform:
        routes = [platform.through_router(), platform.direct("direct")]
        for route in routes:
            asyncio.run(touch(route))
        whole = asyncio.run(rates(routes, stream=False, rounds=rounds, seconds=seconds))
        streamed = asyncio.run(rates(routes, stream=True, rounds=rounds, seconds=seconds))
        first = asyncio.run(first_tokens(routes, PAIRS))
        router_mib, engine_mib = platform.rss_mib()
    return _report(whole, streamed, first, router_mib, engine_mib)


def _report(
    whole: list[list[float]],
    streamed: list[list[float]],
    first: list[list[float]],
    router_mib: float,
    engine_mib: float,
) -> Report:
    report = Report(
        "overhead: one real engine, through the router and direct",
        WHERE,
        ("", "tokens/s whole", "tokens/s streamed", "first byte p50", "p90"),
    )
    for number, name in enumerate(("router", "direct")):
        report.add(
            name,
            f"{middle(whole[number]):,.0f}",
            f"{middle(streamed[number]):,.0f}",
            f"{percentile(first[number], 0.5) * 1000:.2f} ms",
            f"{percentile(first[number], 0.9) * 1000:.2f} ms",
        )
    ratios = {
        "whole": middle([a / b for a, b in zip(*whole, strict=True)]),
        "streamed": middle([a / b for a, b in zip(*streamed, strict=True)]),
    }
    added_ms = middle([(a - b) * 1000 for a, b in zip(*first, strict=True)])
    report.figures = {
        "tokens_per_second": {"whole": whole, "streamed": streamed},
        "ratio": ratios,
        "first_byte_p50_ms": [percentile(each, 0.5) * 1000 for each in first],
        "first_byte_added_ms": added_ms,
        "rss_mib": {"router": router_mib, "engine": engine_mib},
    }
    for name, ratio in ratios.items():
        report.judge(f"tokens/s of direct, {name}: {ratio:.3f} (to be ≥ 0.98)", ratio >= 0.98)
    report.judge(f"first byte: {added_ms:+.2f} ms added (to be ≤ 2)", added_ms <= 2.0)
    return report


def main(rounds: int, seconds: float) -> list[Report]:
    """Run it."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder:
        return [measure(Path(folder), rounds, seconds)]
