"""The cliff: what a working set beyond an engine's LoRA slots costs, and what is done about it.

(a) one replica as `serve/plan.py` plans it: 32 adapters beside 4; plain vLLM at 4 slots beside it.
(b) two replicas of 8 slots, 16 adapters: the router's placement beside round-robin over them.
(c) 4 slots, 32 adapters, Zipf traffic: the router beside plain vLLM.

Real vLLM on the CPU; all sides of each part in one run, in turns, several rounds. Plain vLLM is the
same build with the same flags and its own default for the rest, asked directly: it keeps no more
adapters in host memory than it has slots, and reads any other from disk. (c) has our own engine,
asked directly, as a third side. (b) is judged on a base whose step grows with its batch about as it
does on a GPU (base.py), and shown on the shipped one besides.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import cast as making
from bench.base import deep
from bench.load import Route, Window, closed_loop, percentile, session, touch
from bench.platform import EngineOptions, Platform
from bench.report import Report, middle
from router.settings import RouterSettings

BASE = Path(__file__).parent.parent / "train" / "base" / "switchyard-tiny"
ADAPTERS = 32
PLAIN_4 = EngineOptions(max_loras=4, max_cpu_loras=4)
PLAIN_8 = EngineOptions(max_loras=8, max_cpu_loras=8)
"""As vLLM sets `max_cpu_loras` by itself."""
PAIRS = (
    ("deep", "a deep base", PLAIN_8, 1.3),
    ("deep", "a deep base, all adapters in host memory", EngineOptions(max_loras=8), 1.0),
    ("tiny", "switchyard-tiny, all adapters in host memory", EngineOptions(max_loras=8), 1.0),
)
DEEP_TURNS = 2.5
"""Times the length of others: an answer of the deep base takes seconds."""
WHERE = "engines, router and load share all cores; 32 tokens a request"


@dataclass
class Side:
    """One side of a comparison, and what was seen of it, a window a round."""

    name: str
    route: Route
    tenants: Sequence[str]
    weights: Sequence[float] | None
    clients: int
    counter: Callable[[], int]
    windows: list[Window]
    loads: list[int]
    requests: list[int]

    @classmethod
    def of(
        cls,
        name: str,
        platform: Platform,
        route: Route,
        *,
        adapters: int,
        clients: int,
        zipf: bool = False,
    ) -> Side:
        tenants = list(route.doors)[:adapters]
        weights = [1 / (rank + 1) for rank in range(adapters)] if zipf else None
        return cls(name, route, tenants, weights, clients, platform.loads, [], [], [])

    def pick(self, chooses: random.Random) -> str:
        return chooses.choices(self.tenants, self.weights)[0]

    def tokens_per_second(self) -> float:
        return middle([window.tokens_per_second() for window in self.windows])

    def loads_a_request(self) -> float:
        return sum(self.loads) / max(1, sum(self.requests))

    def failed(self) -> int:
        return sum(window.failed for window in self.windows)

    def latencies(self) -> dict[str, list[float]]:
        """{tenant: seconds of each request}, over all rounds."""
        found: dict[str, list[float]] = {}
        for window in self.windows:
            for sample in window.samples:
                found.setdefault(sample.tenant, []).append(sample.seconds)
        return found


async def in_turns(sides: Sequence[Side], *, rounds: int, seconds: float, warm_s: float) -> None:
    """Each side once a round; every other round in the opposite order, so that drift cancels."""
    for side in sides:
        await touch(side.route)
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            await _once(side, number, seconds, warm_s)


async def _once(side: Side, number: int, seconds: float, warm_s: float) -> None:
    marks: list[int] = []

    async def mark(after_s: float) -> None:
        await asyncio.sleep(after_s)
        marks.append(side.counter())

    async with session() as http:
        window, *_ = await asyncio.gather(
            closed_loop(
                http,
                side.route,
                side.pick,
                clients=side.clients,
                seconds=seconds,
                warm_s=warm_s,
                seed=number,
            ),
            mark(warm_s),
            mark(warm_s + seconds),
        )
    side.windows.append(window)
    side.loads.append(marks[1] - marks[0])
    side.requests.append(len(window.samples))


def ratio(side: Side, other: Side) -> float:
    """Of tokens a second: the median of the rounds' ratios."""
    pairs = zip(side.windows, other.windows, strict=True)
    return middle([a.tokens_per_second() / b.tokens_per_second() for a, b in pairs])


def part_a(folder: Path, rounds: int, seconds: float) -> list[Report]:
    """The planned replica keeps its speed at 32 adapters."""
    cast = making.make(BASE, folder, ADAPTERS)
    planned = Platform(folder / "planned", cast, [EngineOptions(max_loras=None)])
    plain = Platform(folder / "plain", cast, [PLAIN_4])
    with both(planned, plain):
        routed, straight = planned.through_router(), plain.direct()
        slots = planned.slots()
        sides = [
            Side.of(f"router, {slots} slots", planned, routed, adapters=4, clients=128),
            Side.of(f"router, {slots} slots", planned, routed, adapters=ADAPTERS, clients=128),
            Side.of("plain vLLM, 4 slots", plain, straight, adapters=4, clients=128),
            Side.of("plain vLLM, 4 slots", plain, straight, adapters=ADAPTERS, clients=128),
        ]
        asyncio.run(in_turns(sides, rounds=rounds, seconds=seconds, warm_s=4.0))
    report = _report("cliff (a): 128 clients, uniform choice", sides)
    ours, theirs = ratio(sides[1], sides[0]), ratio(sides[3], sides[2])
    report.figures |= {"planned_32_to_4": ours, "plain_32_to_4": theirs}
    report.judge(
        f"32 adapters ≥ 0.9 of 4 as planned: {ours:.2f} (plain: {theirs:.2f})", ours >= 0.9
    )
    return [report]


def part_b(folder: Path, rounds: int, seconds: float) -> list[Report]:
    """Placement beats round-robin over the same two replicas."""
    reports = []
    bases = {"deep": deep(BASE, folder / "deep"), "tiny": BASE}
    for base, label, options, least in PAIRS:
        here = folder / f"{base}-{options.max_cpu_loras}"
        cast = making.make(bases[base], here / "cast", 16)
        times = DEEP_TURNS if base == "deep" else 1.0
        with Platform(here / "two", cast, [options] * 2) as two:
            sides = [
                Side.of("router", two, two.through_router(), adapters=16, clients=64),
                Side.of("round-robin", two, two.direct("round-robin"), adapters=16, clients=64),
            ]
            turns = in_turns(sides, rounds=rounds, seconds=times * seconds, warm_s=times * 5.0)
            asyncio.run(turns)
        report = _report(f"cliff (b), {label}: 2 × 8 slots, 16 adapters, 64 clients", sides)
        gain, loads = ratio(*sides), sides[0].loads_a_request()
        report.figures |= {"router_to_round_robin": gain, "loads_a_request": loads}
        said = f"≥ {least} × round-robin over the same two: {gain:.2f}"
        report.judge(said, gain >= least)
        report.judge(f"under 1 % of requests cause a load: {loads:.2%}", loads < 0.01)
        reports.append(report)
    return reports


def part_c(folder: Path, rounds: int, seconds: float) -> list[Report]:
    """Where it doesn't fit: nobody is worse off than with plain vLLM."""
    cast = making.make(BASE, folder, ADAPTERS)
    few = Platform(folder / "few", cast, [EngineOptions(max_loras=4)])
    plain = Platform(folder / "plain", cast, [PLAIN_4])
    with both(few, plain):
        sides = [
            Side.of(label, platform, route, adapters=ADAPTERS, clients=64, zipf=True)
            for label, platform, route in (
                ("router", few, few.through_router()),
                ("plain vLLM", plain, plain.direct()),
                ("our engine, asked directly", few, few.direct()),
            )
        ]
        asyncio.run(in_turns(sides, rounds=rounds, seconds=seconds, warm_s=4.0))
        waited_s = _longest_queue_s(few)
    report = _report("cliff (c): 4 slots, 32 adapters, Zipf traffic, 64 clients", sides)
    gain, alone = ratio(sides[0], sides[1]), ratio(sides[0], sides[2])
    ours, theirs, engines = (worst_p99(side) for side in sides)
    report.figures |= {
        "router_to_plain": gain,
        "router_to_our_engine_directly": alone,
        "worst_p99_s": {"router": ours, "plain": theirs, "our engine": engines},
        "longest_in_router_queue_s": waited_s,
    }
    report.judge(
        f"tokens/s ≥ plain vLLM's: {gain:.2f} (our engine, asked directly: {alone:.2f})",
        gain >= 1.0,
    )
    report.judge(
        f"worst tenant's p99 ≤ plain vLLM's: {ours:.2f} s, {theirs:.2f} s"
        f" (our engine, asked directly: {engines:.2f} s)",
        ours <= theirs,
    )
    bound_s = RouterSettings().aging_s
    said = f"longest wait in the router's queue: {waited_s:.2f} s, bound {bound_s:g} s"
    report.judge(said, waited_s <= bound_s)
    return [report]


def worst_p99(side: Side) -> float:
    """Of the tenants with at least 20 answered requests (fewer have no 99th percentile)."""
    enough = [percentile(took, 0.99) for took in side.latencies().values() if len(took) >= 20]
    return max(enough, default=float("nan"))


class both:
    """Platforms that come up side by side."""

    def __init__(self, *platforms: Platform) -> None:
        self.platforms = platforms

    def __enter__(self) -> None:
        try:
            for platform in self.platforms:
                platform.spawn()
            for platform in self.platforms:
                platform.await_ready()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        for platform in self.platforms:
            platform.close()


def _longest_queue_s(platform: Platform) -> float:
    """From the exchanges that the router recorded."""
    rows = platform.registry.exchanges.since(0, limit=1_000_000)
    return max((row.queue_ms for row in rows), default=0.0) / 1000


def _report(title: str, sides: Sequence[Side]) -> Report:
    columns = ("", "adapters", "tokens/s", "p50 s", "p99 s", "worst tenant's p99", "longest",
               "loads a request", "requests", "failed")  # fmt: skip
    report = Report(title, WHERE, columns)
    seen = []
    for side in sides:
        took = [seconds for each in side.latencies().values() for seconds in each]
        figures = {
            "side": side.name,
            "adapters": len(side.tenants),
            "tokens_per_second": [w.tokens_per_second() for w in side.windows],
            "p50_s": percentile(took, 0.5),
            "p99_s": percentile(took, 0.99),
            "worst_p99_s": worst_p99(side),
            "longest_s": max(took, default=float("nan")),
            "loads_a_request": side.loads_a_request(),
            "requests": len(took),
            "failed": side.failed(),
            "tenants": {
                tenant: [percentile(each, 0.5), percentile(each, 0.99), len(each)]
                for tenant, each in sorted(side.latencies().items())
            },
        }
        seen.append(figures)
        report.add(
            side.name,
            str(len(side.tenants)),
            f"{side.tokens_per_second():,.0f}",
            *(f"{figures[name]:.2f}" for name in ("p50_s", "p99_s", "worst_p99_s", "longest_s")),
            f"{side.loads_a_request():.3f}",
            str(len(took)),
            str(side.failed()),
        )
    report.figures["sides"] = seen
    return report


PARTS = {"a": part_a, "b": part_b, "c": part_c}


def main(parts: Sequence[str], rounds: int, seconds: float) -> list[Report]:
    """Run some of the parts, each on platforms of its own."""
    reports: list[Report] = []
    for name in parts:
        with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder:
            reports += PARTS[name](Path(folder), rounds, seconds)
    return reports
