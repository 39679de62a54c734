"""Is the adapter better than what there was? promote, reject or insufficient, with the figures.

Pure. Compares scores of the same rows in pairs by an exact test (train.paired). Knows nothing about
how the scores came about, nor what a row says: only which rows belong together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np

from train import paired
from train.paired import LEVEL

FEWEST = 10
"""Fewer held-out rows, or fewer conversations that they come from, than this show nothing."""
MIN_EFFECT = 0.05
"""The smallest gain in score that matters, unless the caller says otherwise."""
RESAMPLES = 4000

Systems = Mapping[str, Sequence[float]]
Metrics = Mapping[str, Mapping[str, Sequence[float | None]]]


@dataclass(frozen=True)
class Comparison:
    """One system against the other on the same rows. `p_better` is the one-sided exact probability
    of as large a gain without a difference, `p_worse` of as large a loss. `differences` are ours −
    theirs, in rows' order; `clusters` names the conversation of each row, if they have any."""

    n: int
    wins: int
    losses: int
    gain: float
    p_better: float
    p_worse: float
    differences: tuple[float, ...] = ()
    clusters: tuple[object, ...] | None = None

    @property
    def better(self) -> bool:
        """Better by more than chance, were this the only test."""
        return self.p_better <= LEVEL and self.gain > 0

    @property
    def worse(self) -> bool:
        """Worse by more than chance, were this the only test."""
        return self.p_worse <= LEVEL and self.gain < 0

    @cached_property
    def spread(self) -> float:
        """Mean square of the differences: of right and wrong answers, the discordant share."""
        if not self.differences:
            return (self.wins + self.losses) / self.n if self.n else 0.0
        return sum(d * d for d in self.differences) / self.n

    @cached_property
    def design_effect(self) -> float:
        """How many times more rows it takes because they come in conversations."""
        return paired.design_effect(self.differences, self.clusters)

    @property
    def smallest(self) -> float | None:
        """The smallest difference that these rows show at LEVEL with 80 % power."""
        return paired.smallest_difference(self.n, self.spread, design_effect=self.design_effect)

    def excludes(self, effect: float) -> str:
        """Why a gain of `effect` is ruled out, or "". By power: it would have shown. Or because not
        one row of so many is better, which has a chance under 5 % where that share of rows, or
        more, would be. (A conversation counts as one row there: without a difference, how alike
        its rows are is unknown.)"""
        points = f"a gain of {100 * effect:.3g} points"
        if self.smallest is not None and self.smallest <= effect:
            return f"{self.n} rows would have shown {points}"
        apart = self.n if self.clusters is None else len(set(self.clusters))
        if self.wins == 0 and (1 - effect) ** apart <= 2 * LEVEL:
            return f"not one of {self.n} rows is better, which rules out {points}"
        return ""

    def settled_by(self, effect: float) -> int:
        """How many rows settle it: show the gain that was seen, or rule out one of `effect`."""
        needed = paired.items_needed(
            min(1.0, max(self.gain, effect)), self.spread, design_effect=self.design_effect
        )
        return max(FEWEST, self.n + 1, needed)

    def json(self, adjusted: float | None = None, resamples: int = 0) -> dict[str, Any]:
        """For the version's reasons. `p` is the chance of such a gain, `p_holm` that after Holm,
        `interval` where the gain lies at 95 %."""
        found: dict[str, Any] = {
            "n": self.n,
            "wins": self.wins,
            "losses": self.losses,
            "gain": round(self.gain, 6),
            "p": _short(self.p_better),
            "p_worse": _short(self.p_worse),
            "p_two_sided": _short(min(1.0, 2 * min(self.p_better, self.p_worse))),
        }
        if adjusted is not None:
            found["p_holm"] = _short(adjusted)
        if resamples:
            sums, sizes = paired.cluster_sums(self.differences, self.clusters)
            low, high = paired.interval(sums, sizes, resamples=resamples)
            smallest = self.smallest
            found |= {
                "interval": [round(low, 6), round(high, 6)],
                "conversations": len(sums),
                "design_effect": round(self.design_effect, 3),
                "smallest_visible": None if smallest is None else round(smallest, 4),
            }
        return found


@dataclass(frozen=True)
class Guard:
    """Something beside the rows' scores that may not get worse, on rows of its own. `comparison` is
    what is left of what is allowed, row by row, against nothing: a loss is more than that.
    `summary` says in words what was lost; `figures` stand in the reasons under `name`."""

    name: str
    comparison: Comparison
    summary: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """`verdict` is promote, reject or insufficient; `reasons` has a "summary" and the figures."""

    verdict: str
    reasons: dict[str, Any]


def compare(
    ours: Sequence[float], theirs: Sequence[float], clusters: Sequence[object] | None = None
) -> Comparison:
    """Paired: element i of each is row i's. Exact McNemar for right and wrong answers, an exact
    sign-flip test of the mean for scores between, both over whole clusters where those are given.
    Raises ValueError when they don't pair."""
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} scores against {len(theirs)}: expected one each per row")
    differences = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    sums, _ = paired.cluster_sums(differences, clusters)
    better, worse = paired.sign_flip(sums)
    return Comparison(
        n=len(differences),
        wins=int((differences > 0).sum()),
        losses=int((differences < 0).sum()),
        gain=float(differences.mean()) if len(differences) else 0.0,
        p_better=better,
        p_worse=worse,
        differences=tuple(differences.tolist()),
        clusters=None if clusters is None else tuple(clusters),
    )


def decide(
    adapter: Sequence[float],
    baselines: Systems,
    parent: Sequence[float] | None = None,
    *,
    clusters: Sequence[object] | None = None,
    slices: Mapping[str, Sequence[bool]] | None = None,
    metrics: Metrics | None = None,
    guards: Sequence[Guard] = (),
    min_effect: float = MIN_EFFECT,
    gain_on: tuple[str, Sequence[bool]] | None = None,
    resamples: int = RESAMPLES,
) -> Verdict:
    """The adapter against the best of the baselines and, if it replaces one, against its parent.

    promote: better than both by more than chance, and worse nowhere. reject: worse than either by
    more than chance, on the whole, on a slice or by another metric; or not better although a gain
    of `min_effect` would have shown. insufficient: anything between, with the rows that settle it.

    `clusters` names each row's conversation; `slices` says which rows are in each, `metrics` has
    further scores of the systems "adapter", "parent" and the baselines' names, None where a row has
    none. Slices, metrics and `guards` can cost an adapter its promotion and never earn it: so
    promote's error is that of the primary score alone, however many there are. Gains on the whole,
    losses on the whole, and losses
    elsewhere are three families; Holm keeps each at LEVEL. `resamples` 0 leaves out the intervals.

    `gain_on` (a name, and which rows it means): what the parent must be beaten on. A retraining is
    to learn what is new, of which a draw of all rows may hold too little to show anything; the
    others say, as a slice, that nothing was lost for it.
    """
    n = len(adapter)
    best = max(baselines, key=lambda name: sum(baselines[name]), default=None)
    reasons: dict[str, Any] = {
        "n": n, "level": LEVEL, "min_effect": min_effect, "baseline": best
    }  # fmt: skip
    groups = n if clusters is None else len(set(clusters))
    if groups < FEWEST or best is None:
        needed = FEWEST if groups == n else math.ceil(FEWEST * n / groups)
        which = "held-out rows" if groups == n else f"held-out rows of {groups} conversations"
        of = "" if groups == n else " conversations"
        summary = f"{n} {which} are too few to tell: at least {FEWEST}{of} are needed"
        return Verdict("insufficient", {"summary": summary, **reasons, "rows_needed": needed})
    against: dict[str, Sequence[float]] = {best: baselines[best]}
    if parent is not None:
        against["parent"] = parent
    rivals = {name: compare(adapter, scores, clusters) for name, scores in against.items()}
    proofs = dict(rivals)
    if parent is not None and gain_on is not None:
        news, inside = gain_on
        proof = _within(adapter, parent, clusters, inside)
        apart = proof.n if proof.clusters is None else len(set(proof.clusters))
        if apart < FEWEST:
            summary = (
                f"{proof.n} held-out rows of {news!r}, which the adapter was to learn, are too few "
                f"to tell: at least {FEWEST} are needed"
            )
            reasons |= {"gain_on": {"slice": news}, "rows_needed": FEWEST}
            return Verdict("insufficient", {"summary": summary, **reasons})
        proofs["parent"] = proof
    gains = paired.holm({name: result.p_better for name, result in proofs.items()})
    losses = paired.holm({name: result.p_worse for name, result in rivals.items()})
    for name, result in rivals.items():
        adjusted = gains[name] if proofs[name] is result else None
        reasons[f"against_{name}"] = result.json(adjusted, resamples)
    if parent is not None and gain_on is not None:
        figures = proofs["parent"].json(gains["parent"], resamples)
        reasons["gain_on"] = {"slice": gain_on[0], "against_parent": figures}
    parts = _parts(adapter, against, clusters, slices or {}, metrics or {})
    harms = paired.holm(
        {
            **{where: result.p_worse for where, result in parts.items()},
            **{guard.name: guard.comparison.p_worse for guard in guards},
        }
    )
    for guard in guards:
        chance = {
            "p_worse": _short(guard.comparison.p_worse),
            "p_worse_holm": _short(harms[guard.name]),
        }
        reasons[guard.name] = {**guard.figures, **chance}
    for (kind, part, name), result in parts.items():
        shown = {**result.json(), "p_worse_holm": _short(harms[kind, part, name])}
        reasons.setdefault(kind, {}).setdefault(part, {})[f"against_{name}"] = shown
    mine = _percent(adapter)

    def end(verdict: str, summary: str, **more: Any) -> Verdict:
        return Verdict(verdict, {"summary": summary, **reasons, **more})

    for name, result in rivals.items():
        if losses[name] <= LEVEL and result.gain < 0:
            theirs = _percent(against[name])
            return end("reject", f"{_title(name)} scores {theirs}, the adapter {mine}")
    for (kind, part, name), result in parts.items():
        if harms[kind, part, name] <= LEVEL and result.gain < 0:
            where = f"on {part!r}" if kind == "slices" else f"by {part!r}"
            summary = (
                f"{_title(name)} is better {where}, by {-100 * result.gain:.0f} points on "
                f"{result.n} rows (p = {harms[kind, part, name]:.1g}); on the whole the adapter "
                f"scores {mine}"
            )
            return end("reject", summary, worse_on=part)
    for guard in guards:
        if harms[guard.name] <= LEVEL and guard.comparison.gain < 0:
            summary = (
                f"{guard.summary} (p = {harms[guard.name]:.1g}); on its own rows it scores {mine}"
            )
            return end("reject", summary, worse_on=guard.name)

    def on(name: str) -> tuple[str, str, str]:
        """(the adapter's score, a rival's) on the rows where that is to be beaten, and which."""
        inside, of = [True] * n, ""
        if gain_on is not None and name == "parent":
            inside, of = [*gain_on[1]], f" of {gain_on[0]!r}"
        ours, theirs = (_percent([*compress(x, inside)]) for x in (adapter, against[name]))
        return ours, theirs, of

    open_ = [name for name in proofs if not (gains[name] <= LEVEL and proofs[name].gain > 0)]
    for name in open_:
        if why := proofs[name].excludes(min_effect):
            ours, theirs, of = on(name)
            where = of and f" on rows{of}"
            said = f"{_title(name)} scores {theirs}, the adapter {ours}{where}: {why}"
            return end("reject", said)
    if open_:
        name = max(open_, key=lambda name: proofs[name].settled_by(min_effect))
        needed = proofs[name].settled_by(min_effect)
        ours, theirs, of = on(name)
        summary = (
            f"{ours} against {_title(name)}'s {theirs} on {proofs[name].n} rows{of} may be chance "
            f"(p = {gains[name]:.2g}): about {needed} held-out rows would settle it"
        )
        return end("insufficient", summary, rows_needed=needed)
    beaten = []
    for name in proofs:
        ours, theirs, of = on(name)
        where = of and f" on {proofs[name].n} rows{of}, the adapter {ours} there"
        beaten.append(f"{_title(name)} {theirs}{where} (p = {gains[name]:.1g})")
    return end("promote", f"{mine} on {n} held-out rows; {', '.join(beaten)}")


def _within(
    ours: Sequence[float],
    theirs: Sequence[float],
    clusters: Sequence[object] | None,
    inside: Sequence[bool],
) -> Comparison:
    """A comparison on the rows that are `inside`."""
    within = None if clusters is None else list(compress(clusters, inside))
    return compare(list(compress(ours, inside)), list(compress(theirs, inside)), within)


def _parts(
    adapter: Sequence[float],
    against: Systems,
    clusters: Sequence[object] | None,
    slices: Mapping[str, Sequence[bool]],
    metrics: Metrics,
) -> dict[tuple[str, str, str], Comparison]:
    """(slices or metrics, which, rival) → comparison. A slice of fewer than FEWEST rows is left
    out: it shows nothing, and would cost the others their power. So is a metric that fewer rows
    have of both."""
    found: dict[tuple[str, str, str], Comparison] = {}

    def add(kind: str, part: str, rival: str, ours: Sequence[Any], theirs: Sequence[Any],
            inside: Sequence[bool]) -> None:  # fmt: skip
        if sum(inside) >= FEWEST:
            found[kind, part, rival] = _within(ours, theirs, clusters, inside)

    for rival, scores in against.items():
        for part, inside in slices.items():
            add("slices", part, rival, adapter, scores, inside)
        for metric, systems in metrics.items():
            ours, theirs = systems["adapter"], systems[rival]
            both = [a is not None and b is not None for a, b in zip(ours, theirs, strict=True)]
            add("metrics", metric, rival, ours, theirs, both)
    return found


def _title(name: str) -> str:
    return {
        "base_zero_shot": "the base",
        "base_few_shot": "the base with examples",
        "parent": "its parent",
    }.get(name, name)


def _percent(scores: Sequence[float]) -> str:
    return f"{100 * sum(scores) / len(scores):.0f} %"


def _short(p: float) -> float:
    return float(f"{p:.6g}")
