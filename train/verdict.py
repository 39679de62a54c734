"""Is the adapter better than what there was? promote, reject or insufficient, with the figures.

Pure. Compares scores of the same rows in pairs by an exact test: on rows where two systems differ,
each is as often the better one if there is no difference (McNemar 1947 for right/wrong, the sign
test for scores). Knows nothing about how the scores came about.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEVEL = 0.025
"""How often a gain is claimed where there is none, at most, in each comparison; a loss as often. So
the test is two-sided at 5 %."""
FEWEST = 10
"""Fewer held-out rows than this show nothing."""


@dataclass(frozen=True)
class Comparison:
    """One system against the other on the same rows. `p_better` is the one-sided exact probability
    of as many wins without a difference, `p_worse` of as many losses."""

    n: int
    wins: int
    losses: int
    gain: float
    p_better: float
    p_worse: float

    @property
    def better(self) -> bool:
        """Better by more than chance."""
        return self.p_better <= LEVEL and self.wins > self.losses

    @property
    def worse(self) -> bool:
        """Worse by more than chance."""
        return self.p_worse <= LEVEL and self.losses > self.wins

    def json(self) -> dict[str, Any]:
        """For the version's reasons."""
        return {
            "n": self.n,
            "wins": self.wins,
            "losses": self.losses,
            "gain": round(self.gain, 6),
            "p": float(f"{self.p_better:.6g}"),
        }


@dataclass(frozen=True)
class Verdict:
    """`verdict` is promote, reject or insufficient; `reasons` has a "summary" and the figures."""

    verdict: str
    reasons: dict[str, Any]


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Comparison:
    """Paired: element i of both is the score of row i. Raises ValueError when they don't pair."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} scores against {len(theirs)}: expected one each per row")
    wins = sum(a > b for a, b in zip(ours, theirs, strict=True))
    losses = sum(a < b for a, b in zip(ours, theirs, strict=True))
    n = len(ours)
    gain = (sum(ours) - sum(theirs)) / n if n else 0.0
    return Comparison(n, wins, losses, gain, tail(wins, losses), tail(losses, wins))


def tail(wins: int, losses: int) -> float:
    """P(at least `wins` heads in wins + losses throws of a fair coin), exact."""
    n = wins + losses
    ways: int = sum(math.comb(n, k) for k in range(wins, n + 1))
    return float(ways / 2**n)


def decide(
    adapter: Sequence[float],
    baselines: Mapping[str, Sequence[float]],
    parent: Sequence[float] | None = None,
) -> Verdict:
    """The adapter against the best of the baselines and, if it replaces one, against its parent.

    promote: better than both by more than chance. reject: worse than either by more than chance, or
    not one row better than the baseline. insufficient: anything between, with how many rows might
    settle it.
    """
    n = len(adapter)
    best = max(baselines, key=lambda name: sum(baselines[name]), default=None)
    reasons: dict[str, Any] = {"n": n, "level": LEVEL, "baseline": best}
    if n < FEWEST or best is None:
        summary = f"{n} held-out rows are too few to tell: at least {FEWEST} are needed"
        return Verdict("insufficient", {"summary": summary, **reasons, "rows_needed": FEWEST})
    rivals = {best: compare(adapter, baselines[best])}
    if parent is not None:
        rivals["parent"] = compare(adapter, parent)
    reasons |= {f"against_{name}": result.json() for name, result in rivals.items()}
    mine = _percent(adapter)
    for name, result in rivals.items():
        if result.worse or (name == best and result.wins == 0):
            theirs = _percent(
                parent if name == "parent" and parent is not None else baselines[best]
            )
            return Verdict(
                "reject",
                {"summary": f"{_title(name)} scores {theirs}, the adapter {mine}", **reasons},
            )
    for name, result in rivals.items():
        if not result.better:
            needed = rows_needed(result)
            hint = (
                f"about {needed} held-out rows might" if needed else "more rows are not likely to"
            )
            summary = (
                f"{mine} against {_title(name)}'s {_percent_of(adapter, result)} on {n} rows may "
                f"be chance (p = {result.p_better:.2g}): {hint} settle it"
            )
            return Verdict("insufficient", {"summary": summary, **reasons, "rows_needed": needed})
    parts = ", ".join(
        f"{_title(name)} {_percent_of(adapter, result)} (p = {result.p_better:.1g})"
        for name, result in rivals.items()
    )
    return Verdict("promote", {"summary": f"{mine} on {n} held-out rows; {parts}", **reasons})


def rows_needed(result: Comparison) -> int | None:
    """How many rows would show this difference at LEVEL with 80 % power, if it is real; None when
    there is none to show. Normal approximation (Connor 1987)."""
    discordant = (result.wins + result.losses) / result.n
    difference = (result.wins - result.losses) / result.n
    if difference <= 0:
        return None
    spread = 1.96 * math.sqrt(discordant) + 0.842 * math.sqrt(discordant - difference**2)
    return max(FEWEST, math.ceil((spread / difference) ** 2))


def _title(name: str) -> str:
    return {
        "base_zero_shot": "the base",
        "base_few_shot": "the base with examples",
        "parent": "its parent",
    }.get(name, name)


def _percent(scores: Sequence[float]) -> str:
    return f"{100 * sum(scores) / len(scores):.0f} %"


def _percent_of(adapter: Sequence[float], result: Comparison) -> str:
    return f"{100 * (sum(adapter) / len(adapter) - result.gain):.0f} %"
