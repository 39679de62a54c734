"""The rule for retraining, as a pure function of what is known. No clock, no database."""

from __future__ import annotations

from dataclasses import dataclass

from monitoring.settings import ControllerSettings


@dataclass(frozen=True)
class Situation:
    """What is known of one adapter at one moment."""

    established: bool
    """Drift has been sustained."""
    corrections: int
    """Corrected examples that no job has used."""
    active_job: str | None
    """A training job of this adapter that waits or runs."""
    candidate: str | None
    """A version of this adapter on its way to traffic."""
    since_retrain_s: float | None
    """Seconds since the controller's last retraining of this adapter; None if there was none."""
    auto_retrain: bool
    """The tenant's policy."""
    training_file: bool
    """Whether the file that the live version was trained on is still there."""


@dataclass(frozen=True)
class Ruling:
    """`kind` is "none", "hold" or "retrain"; `rule` names the rule, `reason` is for people."""

    kind: str
    rule: str
    reason: str


def rule(situation: Situation, settings: ControllerSettings) -> Ruling:
    """The first rule that stands against retraining, or the go-ahead."""
    if not situation.established:
        return Ruling("none", "no-sustained-drift", "no drift has been sustained")
    if not situation.auto_retrain:
        return _hold("tenant-policy", "the tenant wants no automatic retraining")
    if situation.active_job is not None:
        return _hold("job-active", f"job {situation.active_job} is still at work")
    if situation.candidate is not None:
        return _hold("candidate-waiting", f"{situation.candidate} is on its way to traffic")
    if not situation.training_file:
        return _hold(
            "no-training-file",
            "the live version's training file is gone, so old examples can't be replayed",
        )
    if situation.corrections < settings.min_corrections:
        return _hold(
            "waiting-for-corrections",
            f"{situation.corrections} of {settings.min_corrections} corrected examples came in",
        )
    past = situation.since_retrain_s
    if past is not None and past < settings.cooldown_s:
        return _hold("cooldown", f"the last retraining was {past:.0f} s ago")
    return Ruling(
        "retrain",
        "sustained-drift-with-corrections",
        f"drift is sustained and {situation.corrections} corrected examples came in",
    )


def _hold(name: str, reason: str) -> Ruling:
    return Ruling("hold", name, reason)
