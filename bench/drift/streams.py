"""Made-up tenants who send real text: a week with a daily rhythm, bursts and repeats, and changes.

A stream is text numbers with times. Its first day is what every detector may take for ordinary;
when a change comes, and whether one does, only the judge knows.
"""

from __future__ import annotations

from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate
from math import cos, exp, pi
from random import Random

import numpy as np
from numpy.typing import NDArray

from bench.drift.texts import GROUPS, KINDS, Texts

DAY = 86_400.0
PER_DAY = 700
"""Prompts a day, on average."""
CHANGES = {"topic 10 %": 0.1, "topic 20 %": 0.2, "topic 50 %": 0.5, "style": 0.3,
           "language": 0.1, "length": 0.3, "slow": 0.5, "near topic": 0.5}  # fmt: skip
"""By kind of change, the share of traffic. `topic` and `slow`: one topic of another kind of text
comes in. `near topic`: one of the tenant's own kind that was held out until then."""
AFTER = 2000
"""Prompts after a change within which it counts as found."""
_SLOW = 1500  # prompts over which the slow change grows to its share


@dataclass(frozen=True)
class Stream:
    """`texts` and `times` (seconds) by prompt; `first`: how many came on the first day; `changed`:
    the number of the first prompt after the change, or None."""

    name: str
    texts: NDArray[np.int64]
    times: NDArray[np.float64]
    first: int
    changed: int | None


def quiet(texts: Texts, seed: int, count: int) -> Stream:
    """A tenant who never changes: `count` prompts after the first day."""
    return _Tenant(texts, seed, "").send(f"quiet {seed}", count)


def changing(texts: Texts, change: str, seed: int) -> Stream:
    """A tenant who changes some time after the first day."""
    return _Tenant(texts, seed, change).send(f"{change} {seed}", None)


class _Tenant:
    """Topics with hours of their own, and a topic that nobody asks about yet."""

    def __init__(self, texts: Texts, seed: int, change: str) -> None:
        self._rng = rng = Random(f"{change} {seed}")
        self._texts, self._change = texts, change
        kind = seed % len(KINDS)
        held_out = rng.randrange(GROUPS)
        pools = [np.flatnonzero((texts.kind == kind) & (texts.group == g)) for g in range(GROUPS)]
        self._pools = [pool for group, pool in enumerate(pools) if group != held_out and len(pool)]
        elsewhere = (kind + 1 + rng.randrange(len(KINDS) - 1)) % len(KINDS)
        self._new = pools[held_out]
        if change != "near topic":
            self._new = np.flatnonzero((texts.kind == elsewhere) & (texts.group == held_out))
        self._busiest = rng.uniform(0, 24)
        peaks = [rng.uniform(0, 24) for _ in self._pools]
        self._hourly = [
            [*accumulate(len(pool) * exp(0.7 * cos((hour - peak) * pi / 12))
                         for pool, peak in zip(self._pools, peaks, strict=True))]
            for hour in range(24)
        ]  # fmt: skip

    def send(self, name: str, count: int | None) -> Stream:
        rng = self._rng
        before = rng.randint(100, 1000) if self._change else 0
        wanted = before + AFTER if count is None else count
        chosen: list[int] = []
        times: list[float] = []
        now, first, burst, loop, topic = 0.0, 0, 0, 0, 0
        while not first or len(chosen) < first + wanted:
            hour = now / 3600 % 24
            if burst == 0 and rng.random() < 1 / 250:
                burst, topic = rng.randint(5, 30), rng.randrange(len(self._pools))
            burst = max(burst - 1, 0)
            if loop or (chosen and rng.random() < 0.04):  # a retry, or a client in a loop
                chosen.append(chosen[-1] if loop else rng.choice(chosen[-30:]))
                loop = loop - 1 if loop else (rng.randint(10, 60) if rng.random() < 0.01 else 0)
            else:
                since = len(chosen) - first - before if first else -1
                chosen.append(self._prompt(int(hour), topic if burst else None, since))
            times.append(now)
            busy = 1 + 0.6 * cos((hour - self._busiest) * pi / 12)
            now += rng.expovariate(PER_DAY / DAY * busy * (8 if burst else 1))
            if now >= DAY and not first:
                first = len(chosen)
        changed = first + before if self._change else None
        return Stream(name, np.array(chosen), np.array(times), first, changed)

    def _prompt(self, hour: int, topic: int | None, since: int) -> int:
        rng, texts = self._rng, self._texts
        if topic is None:
            topic = bisect(self._hourly[hour], rng.random() * self._hourly[hour][-1])
        pool = self._pools[topic]
        text = int(pool[rng.randrange(len(pool))])
        if not self._change or since < 0:
            return text
        grown = min(since / _SLOW, 1.0) if self._change == "slow" else 1.0
        if rng.random() >= CHANGES[self._change] * grown:
            return text
        if self._change == "style":
            return int(texts.styled[text])
        if self._change == "length":
            return int(texts.longer[text])
        new = texts.foreign if self._change == "language" else self._new
        return int(new[rng.randrange(len(new))])
