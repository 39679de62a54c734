"""Fairness: one tenant floods, seven send one request at a time; and who gets what when all wait.

The flood: how much the seven's 99th percentile grows, through the router and with plain vLLM, the
same engine for both, in turns. Backlog: two tenants that always have requests waiting, with twice
as many clients on one side. Their service may differ by 2U at most, in any interval, where
U = max(w_p · L, w_q · M): L the longest prompt, M the tokens that the engine works on at once
(Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024); a token of a prompt counts
w_p = 1, one of an answer w_q = 2, and a tenant's service is divided by its weight.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import cast as making
from bench.cliff import BASE
from bench.load import TOKENS, Route, Sample, Window, closed_loop, percentile, session, touch
from bench.platform import EngineOptions, Platform
from bench.report import Report, middle

TENANTS = 8
FLOOD_CLIENTS = 64
PROMPT_COST, ANSWER_COST = 1.0, 2.0
BACKLOG_CLIENTS = (3, 1.5)
"""Times the engine's max_num_seqs, for the two tenants."""
WHERE = f"engine, router and load share all cores; {TOKENS} tokens a request"


@dataclass
class Seen:
    """One side's requests of the quiet tenants, by tenant, over all rounds; seconds."""

    route: Route
    alone: dict[str, list[float]] = field(default_factory=dict)
    flooded: dict[str, list[float]] = field(default_factory=dict)
    flood_rates: list[float] = field(default_factory=list)
    failed: int = 0

    def slowdowns(self) -> list[float]:
        """For each quiet tenant: its p99 under the flood ÷ without."""
        return [
            percentile(self.flooded[tenant], 0.99) / percentile(took, 0.99)
            for tenant, took in self.alone.items()
        ]


async def flood(
    platform: Platform, sides: Sequence[Seen], *, rounds: int, seconds: float, clients: int
) -> None:
    """Without and with the flood, side after side; every other round in the opposite order."""
    for side in sides:
        await touch(side.route)
    *quiet, loud = list(platform.keys)
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            for flooded in (False, True):
                loads = [_one_tenant(side.route, name, 1, seconds, number) for name in quiet]
                if flooded:
                    loads.append(_one_tenant(side.route, loud, clients, seconds, number))
                windows = await asyncio.gather(*loads)
                into = side.flooded if flooded else side.alone
                for name, window in zip(quiet, windows, strict=False):
                    took = [sample.seconds for sample in window.samples]
                    into.setdefault(name, []).extend(took)
                side.failed += sum(window.failed for window in windows)
                if flooded:
                    side.flood_rates.append(windows[-1].tokens_per_second())


async def _one_tenant(
    route: Route, tenant: str, clients: int, seconds: float, number: int
) -> Window:
    def pick(_: random.Random) -> str:
        return tenant

    seed = number * 100 + int(tenant[-2:])
    async with session() as http:
        return await closed_loop(
            http, route, pick, clients=clients, seconds=seconds, warm_s=2.0, seed=seed
        )


@dataclass(frozen=True)
class Backlog:
    """What two backlogged tenants got; service is in costs divided by weight."""

    weights: tuple[float, float]
    services: tuple[float, float]
    apart: float
    """The most that their services differ by, over any interval of the window."""
    bound: float


async def backlog(
    platform: Platform, route: Route, weights: tuple[float, float], seconds: float
) -> Backlog:
    """Two tenants with more clients than the engine has places."""
    first, second = list(platform.keys)[:2]
    for tenant, weight in ((first, weights[0]), (second, weights[1])):
        platform.registry.tenants.update(tenant, weight=weight)
    await asyncio.sleep(2.0)  # routers read it within a second
    places = platform.options[0].max_num_seqs
    clients = [round(times * places) for times in BACKLOG_CLIENTS]
    windows = await asyncio.gather(
        _one_tenant(route, first, clients[0], seconds, 7),
        _one_tenant(route, second, clients[1], seconds, 8),
    )
    ends = sorted(
        (sample.ended, side, sample)
        for side, window in enumerate(windows)
        for sample in window.samples
    )
    services, ahead, least, most, prompt = [0.0, 0.0], 0.0, 0.0, 0.0, 0
    for _, side, sample in ends:
        got = _cost(sample) / weights[side]
        services[side] += got
        ahead += got if side == 0 else -got
        least, most = min(least, ahead), max(most, ahead)
        prompt = max(prompt, sample.prompt_tokens)
    unit = max(PROMPT_COST * prompt, ANSWER_COST * places * TOKENS)
    return Backlog(weights, (services[0], services[1]), most - least, 2 * unit)


def _cost(sample: Sample) -> float:
    return PROMPT_COST * sample.prompt_tokens + ANSWER_COST * sample.completion_tokens


def measure(folder: Path, rounds: int, seconds: float, seqs: int) -> list[Report]:
    """Both parts, on one platform."""
    cast = making.make(BASE, folder, TENANTS)
    options = EngineOptions(max_loras=TENANTS, max_num_seqs=seqs)
    with Platform(folder / "platform", cast, [options]) as platform:
        sides = [Seen(platform.through_router()), Seen(platform.direct())]
        asyncio.run(flood(platform, sides, rounds=rounds, seconds=seconds, clients=FLOOD_CLIENTS))
        shares = [
            (side.route.label, asyncio.run(backlog(platform, side.route, weights, seconds)))
            for weights in ((1.0, 1.0), (1.0, 2.0))
            for side in sides
        ]
        waited_s = max(
            (row.queue_ms for row in platform.registry.exchanges.since(0, limit=1_000_000)),
            default=0.0,
        )
    return [_flood_report(sides, seqs), _backlog_report(shares, waited_s / 1000)]


def _flood_report(sides: Sequence[Seen], seqs: int) -> Report:
    report = Report(
        f"fairness: 7 quiet tenants, one floods with {FLOOD_CLIENTS} clients, "
        f"{TENANTS} slots, max_num_seqs {seqs}",
        WHERE,
        ("", "p99 alone s", "p99 flooded s", "slowdown", "worst tenant's", "p50 alone",
         "p50 flooded", "flood tokens/s", "requests", "failed"),
    )  # fmt: skip
    for side in sides:
        alone = [took for each in side.alone.values() for took in each]
        flooded = [took for each in side.flooded.values() for took in each]
        ratio = percentile(flooded, 0.99) / percentile(alone, 0.99)
        worst = max(side.slowdowns())
        report.figures[side.route.label] = {
            "p99_alone_s": percentile(alone, 0.99),
            "p99_flooded_s": percentile(flooded, 0.99),
            "slowdown": ratio,
            "slowdowns": side.slowdowns(),
            "flood_tokens_per_second": side.flood_rates,
            "failed": side.failed,
        }
        report.add(
            side.route.label,
            f"{percentile(alone, 0.99):.3f}",
            f"{percentile(flooded, 0.99):.3f}",
            f"{ratio:.2f}",
            f"{worst:.2f}",
            f"{percentile(alone, 0.5):.3f}",
            f"{percentile(flooded, 0.5):.3f}",
            f"{middle(side.flood_rates):,.0f}",
            f"{len(alone)} + {len(flooded)}",
            str(side.failed),
        )
    ours = report.figures[sides[0].route.label]
    report.judge(
        f"the quiet tenants' p99 within 2 ×: {ours['slowdown']:.2f}", ours["slowdown"] <= 2
    )
    return report


def _backlog_report(shares: Sequence[tuple[str, Backlog]], waited_s: float) -> Report:
    report = Report(
        "fairness: two backlogged tenants, the first with twice the clients",
        WHERE,
        ("", "weights", "service of the first", "of the second", "apart at most", "2U"),
    )
    report.figures["shares"] = []
    for label, seen in shares:
        report.add(
            label,
            f"{seen.weights[0]:g}:{seen.weights[1]:g}",
            *(f"{service:,.0f}" for service in seen.services),
            f"{seen.apart:,.0f}",
            f"{seen.bound:,.0f}",
        )
        report.figures["shares"].append(
            {"side": label, "weights": seen.weights, "services": seen.services,
             "apart": seen.apart, "bound": seen.bound}
        )  # fmt: skip
        if label == shares[0][0]:
            report.judge(
                f"weights {seen.weights[0]:g}:{seen.weights[1]:g}: {seen.apart:,.0f} apart "
                f"at most, 2U = {seen.bound:,.0f}",
                seen.apart < seen.bound,
            )
    report.figures["longest_in_router_queue_s"] = waited_s
    return report


def main(rounds: int, seconds: float, seqs: int) -> list[Report]:
    """Run it on a platform of its own."""
    with tempfile.TemporaryDirectory(prefix="switchyard-bench-") as folder:
        return measure(Path(folder), rounds, seconds, seqs)
