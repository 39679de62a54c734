"""Two systems on the same items: is the difference chance, how large is it, what could be seen?

Pure: takes differences (ours − theirs, one an item) or counts of them; knows nothing about models,
metrics or verdicts. Items that belong together (a conversation, a customer) are one cluster: they
err together, so a cluster, not an item, is what a test may count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

LEVEL = 0.025
"""How often a one-sided test claims what isn't there, at most: two-sided 5 %."""
POWER = 0.8
"""How often a difference that is there is to be seen."""

Numbers = npt.NDArray[np.float64]
_CELLS = 2**20  # the most numbers that the bootstrap holds at once
_FINEST = 200_000  # steps of the sign-flip distribution: bounds its time at some tenths of a second


def tail(wins: int, losses: int) -> float:
    """P(at least `wins` heads in wins + losses throws of a fair coin), exact: one-sided McNemar."""
    n = wins + losses
    ways: int = sum(math.comb(n, k) for k in range(wins, n + 1))
    return float(ways / 2**n)


def cluster_sums(
    differences: Sequence[float] | Numbers, clusters: Sequence[object] | None = None
) -> tuple[Numbers, Numbers]:
    """(sum of the differences, number of items) of each cluster, both of shape (clusters,).

    `clusters[i]` names item i's; None: each item is one. Raises ValueError for another length.
    """
    values = np.asarray(differences, dtype=np.float64)
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise ValueError(f"{len(clusters)} clusters for {len(values)} items: expected one each")
    numbers: dict[object, int] = {}
    index = np.array([numbers.setdefault(c, len(numbers)) for c in clusters], dtype=np.intp)
    count = len(numbers)
    return (
        np.bincount(index, weights=values, minlength=count).astype(np.float64),
        np.bincount(index, minlength=count).astype(np.float64),
    )


def sign_flip(sums: Sequence[float] | Numbers) -> tuple[float, float]:
    """(P(a total at least as high), P(one at least as low)) if each sum's sign is a fair coin's.

    `sums` are cluster sums. Fisher's randomisation test for pairs (The Design of Experiments, 1935,
    §21) with clusters as the pairs, exact by convolution rather than by drawing. Where every sum is
    −1, 0 or 1 it is the exact McNemar test. Fractions are rounded to thousandths (coarser where
    their total exceeds 200), which keeps the level: rounding knows no sign.
    """
    values = np.asarray(sums, dtype=np.float64)
    whole = bool(np.all(values == np.rint(values)))
    total = float(np.abs(values).sum())
    scale = 1.0 if whole else min(1000.0, _FINEST / total)
    steps = np.rint(values * scale).astype(np.int64)
    sizes = Counter(int(size) for size in np.abs(steps) if size)
    reach, observed = sum(size * n for size, n in sizes.items()), int(steps.sum())
    if list(sizes) in ([], [1]):
        wins = (reach + observed) // 2
        return tail(wins, reach - wins), tail(reach - wins, wins)
    # Of the sizes whose coin falls heads, the total: chance[h] = P(h). T = 2h − reach.
    chance = np.ones(1)
    for size, count in sizes.items():
        longer = np.zeros(len(chance) + size * count)
        for heads, share in enumerate(_coins(count)):
            longer[heads * size : heads * size + len(chance)] += share * chance
        chance = longer
    heads = (reach + observed) // 2
    return min(1.0, float(chance[heads:].sum())), min(1.0, float(chance[: heads + 1].sum()))


def _coins(count: int) -> list[float]:
    ways, every = 1, 2**count
    shares = []
    for heads in range(count + 1):
        shares.append(ways / every)
        ways = ways * (count - heads) // (heads + 1)
    return shares


def interval(
    sums: Numbers, sizes: Numbers, *, resamples: int = 4000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the mean difference an item, drawing whole clusters.

    `sums` and `sizes` as `cluster_sums` gives them. Percentiles (Efron and Tibshirani 1993, ch. 13)
    taken a little further out, as Student's t is wider than the normal, because plain ones are too
    narrow for few clusters (Hesterberg 2015, "expanded percentile interval", doi
    10.1080/00031305.2015.1089789). The same seed gives the same interval. Raises ValueError without
    clusters.
    """
    count = len(sums)
    if not count:
        raise ValueError("0 clusters have no mean: expected at least 1")
    if count == 1:
        return -1.0, 1.0  # one conversation says nothing of others
    rng = np.random.default_rng(seed)
    means = []
    for start in range(0, resamples, batch := max(1, _CELLS // count)):
        drawn = rng.multinomial(
            count, np.full(count, 1 / count), size=min(batch, resamples - start)
        ).astype(np.float64)
        means.append(drawn @ sums / (drawn @ sizes))
    spread = math.sqrt(count / (count - 1)) * _student(0.5 + level / 2, count - 1)
    outside = NormalDist().cdf(-spread)
    low, high = np.quantile(np.concatenate(means), [outside, 1 - outside])
    return float(low), float(high)


def _student(share: float, freedom: int) -> float:
    """Quantile of Student's t; exact for 1 and 2 degrees of freedom, else Abramowitz and Stegun
    26.7.5 (within 0.02 of it at 97.5 %), so that no statistics library is needed for one number."""
    if freedom == 1:
        return math.tan(math.pi * (share - 0.5))
    if freedom == 2:
        return (2 * share - 1) * math.sqrt(2 / (4 * share * (1 - share)))
    z = NormalDist().inv_cdf(share)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return float(sum(term / freedom**power for power, term in enumerate(terms)))


def holm(p: Mapping[Any, float]) -> dict[Any, float]:
    """Adjusted p of each test, by Holm's step-down (1979, Scand. J. Statist. 6, 65–70).

    Rejecting where the adjusted p ≤ level claims one false difference or more at most that often,
    however the tests depend on each other. The order of `p` is kept.
    """
    ranked = sorted(p, key=lambda name: p[name])
    adjusted: dict[Any, float] = {}
    worst = 0.0
    for rank, name in enumerate(ranked):
        worst = max(worst, min(1.0, (len(ranked) - rank) * p[name]))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p}


def design_effect(
    differences: Sequence[float] | Numbers, clusters: Sequence[object] | None = None
) -> float:
    """How many times more items clustering asks for, at least 1.

    The ratio of the mean's variance over clusters to that over items (Rao and Scott 1992,
    Biometrics 48, 577–585). Never below 1: an estimate below that is noise more often than luck.
    """
    values = np.asarray(differences, dtype=np.float64)
    if clusters is None or not len(values):
        return 1.0
    centred = values - values.mean()
    alone = float((centred**2).sum())
    together = float((cluster_sums(centred, clusters)[0] ** 2).sum())
    return max(1.0, together / alone) if alone else 1.0


def items_needed(
    difference: float,
    spread: float,
    *,
    design_effect: float = 1.0,
    level: float = LEVEL,
    power: float = POWER,
) -> int:
    """How many items show a mean `difference` with this power, at this one-sided level.

    `spread` is the mean square of the differences: for right and wrong answers, the share of
    discordant items. It is taken as at least `difference`, since that many items must differ for
    answers to be so much better. Normal approximation (Connor 1987, Biometrics 43, 207–211), times
    the design effect. Raises ValueError for a difference that is not in (0, 1].
    """
    return math.ceil(_items(difference, spread, level, power) * design_effect - 1e-9)


def smallest_difference(
    items: int,
    spread: float,
    *,
    design_effect: float = 1.0,
    level: float = LEVEL,
    power: float = POWER,
) -> float | None:
    """The smallest mean difference, 0 to 1, that so many items show with this power; None where
    they can show none. The inverse of `items_needed`, to 1e-6."""
    alone = items / design_effect
    if _items(1.0, spread, level, power) > alone:
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (
            (low, middle) if _items(middle, spread, level, power) <= alone else (middle, high)
        )
    return high


def _items(difference: float, spread: float, level: float, power: float) -> float:
    if not 0 < difference <= 1:
        raise ValueError(f"a difference of {difference} can't be planned for: expected in (0, 1]")
    spread = max(spread, difference)
    far, near = NormalDist().inv_cdf(1 - level), NormalDist().inv_cdf(power)
    return ((far * math.sqrt(spread) + near * math.sqrt(spread - difference**2)) / difference) ** 2
