"""How a version that the loop trained gets to traffic, as a pure function of what is known.

    shadow (copies, nobody gets its answers) → canary at 1, 10, 50 % → live
       └── harm is proven in any channel, at any time: rejected, traffic stays where it was

Each stage wants some answers of the challenger's before the next; the last step wants more: proof
that it does no harm of the margin or more. Where traffic is too thin for that, patience decides,
and the receipt says so: the gate has passed the version on held-out rows already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from monitoring.comparison import Reading
from monitoring.harms import CHANNELS, FAILED, INVALID, REFUSED

PROVEN = (FAILED, INVALID, REFUSED)
"""Those in which harm must be ruled out: people say something of too few answers for that."""
_DOUBT = math.log(5)
"""Evidence of harm that keeps a version where it is: chance brings it once in five times."""
_FINE = 0.05
"""Chance of ruling out a harm of the margin that is there, in each channel."""


@dataclass(frozen=True)
class RolloutSettings:
    """`shadow`: copies before the first client sees it; 0 leaves that stage out. `weights`: shares
    of traffic, rising. `requests`: the challenger's answers that a stage wants. `margin`: harm that
    would be too much (0 to 1). `risk`: chance of rejecting one that does no harm. `patience_s`:
    seconds after which a stage ends with what came."""

    shadow: int = 50
    weights: tuple[float, ...] = (0.01, 0.1, 0.5)
    requests: int = 30
    margin: float = 0.05
    risk: float = 0.01
    patience_s: float = 86_400.0


@dataclass(frozen=True)
class Trial:
    """One challenger at one moment. `weight` is its share now; None while it is a shadow, and
    before. `answers`: its answers in this stage. `readings` by channel, over the whole trial."""

    stage: str
    """"new", "shadow" or "canary"."""
    weight: float | None
    certified: bool
    """Whether the engine's check is behind it; until then it meets no traffic."""
    answers: int
    since_s: float
    """Seconds in this stage."""
    readings: Mapping[str, Reading]


@dataclass(frozen=True)
class Step:
    """`kind`: "wait", "shadow", "canary" (at `weight`), "promote" or "reject"."""

    kind: str
    rule: str
    reason: str
    weight: float = 0.0


def next_step(trial: Trial, settings: RolloutSettings) -> Step:
    """What to do with a challenger now."""
    if trial.stage == "new":
        if settings.shadow:
            return Step("shadow", "rollout-begins", "copies of requests first, nobody is answered")
        return _canary(settings.weights[0], "rollout-begins", "the first clients")
    harmed = _harm(trial, settings)
    if harmed is not None:
        name, reading = harmed
        return Step(
            "reject",
            f"{trial.stage}-harm:{name}",
            f"{name} {reading.challenger:.1%} of {reading.outcomes} answers, "
            f"the live version {reading.champion:.1%}",
        )
    if not trial.certified:
        return Step("wait", "engine-check", "the engine's check is not done")
    wanted = settings.shadow if trial.stage == "shadow" else settings.requests
    enough, patient = trial.answers >= wanted, trial.since_s >= settings.patience_s
    if not (enough or patient):
        return Step("wait", "answers", f"{trial.answers} of {wanted} answers came")
    doubted = [n for n, reading in trial.readings.items() if reading.suspicion >= _DOUBT]
    if doubted:
        return Step("wait", "doubt", f"{doubted[0]} may be worse: more answers will tell")
    rule = "stage-passed" if enough else "patience"
    came = f"{trial.answers} of {wanted} answers and no harm"
    if trial.stage == "shadow":
        return _canary(settings.weights[0], rule, came)
    higher = [weight for weight in settings.weights if weight > (trial.weight or 0.0)]
    if higher:
        return _canary(higher[0], rule, came)
    open_ = [
        name
        for name, reading in trial.readings.items()
        if name in PROVEN and reading.outcomes and not reading.is_fine(_FINE)
    ]
    if not open_:
        return Step("promote", "no-harm-proven", f"harm of {settings.margin:.0%} is ruled out")
    if patient:
        return Step("promote", "patience", f"no harm seen; not ruled out for {', '.join(open_)}")
    return Step("wait", "proof", f"harm of {settings.margin:.0%} is not ruled out: {open_[0]}")


def _canary(weight: float, rule: str, reason: str) -> Step:
    return Step("canary", rule, reason, weight)


def _harm(trial: Trial, settings: RolloutSettings) -> tuple[str, Reading] | None:
    """The worst channel in which harm is proven. All channels share the risk."""
    risk = settings.risk / len(CHANNELS)
    found = [(name, reading) for name, reading in trial.readings.items() if reading.is_worse(risk)]
    return max(found, key=lambda pair: pair[1].worse, default=None)
