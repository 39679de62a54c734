"""The rule for retraining, as a pure function of what is known. No clock, no database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from monitoring.settings import ControllerSettings

_MOST_DOUBLINGS = 6
WITHOUT_CORRECTIONS = ("asked", "new-base")
"""Rules that retrain on the old rows alone where nobody corrected anything."""


@dataclass(frozen=True)
class Situation:
    """What is known of one adapter at one moment. The first block may ask for something, the
    second stands against it."""

    drift: bool = False
    """Sustained, and no broken pipeline."""
    failing: str | None = None
    """How many of its requests fail, where that is more than usual and not everybody's."""
    failing_own: bool = False
    """Whether that is shown to be its own doing."""
    worse: str | None = None
    """The channel of harm in which answers got worse."""
    stopped: str | None = None
    """The channel of harm in which the base was worse than the adapter, and is no more."""
    asked_by: str | None = None
    """The person who wants a retraining: what stands against the loop's own does not hold it."""
    alerted_by: str | None = None
    """The alert that asks for one: evidence like any other."""
    old_base: bool = False
    """The live version was trained for another base than the adapter is for now."""
    age_s: float = 0.0
    """Of the live version, since it took over."""
    pipeline: str | None = None
    """How messages are built now, where they are not as usual."""
    artifact: str | None = None
    """What is wrong with the live version itself: its canary prompts get other answers."""
    can_go_back: bool = False
    """The live version took another's place a short while ago, which is still there."""

    corrections: int = 0
    """Corrected examples that no job has used."""
    of_drift: int = 0
    """Of those, the ones of prompts since drift began."""
    active_job: str | None = None
    """A training job of this adapter that waits or runs."""
    candidate: str | None = None
    """A version of this adapter on its way to traffic."""
    approval: bool = False
    """Whether that waits for a person's word."""
    since_retrain_s: float | None = None
    """Seconds since the controller's last retraining of this adapter; None if there was none."""
    failures: int = 0
    """Of its last retrainings, how many in a row did not end in a promotion that lasted."""
    auto_retrain: bool = True
    """The tenant's policy."""
    training_file: bool = True
    """Whether the file that the live version was trained on is still there."""


@dataclass(frozen=True)
class Ruling:
    """`kind` is "none", "hold", "retrain" or "rollback"; `rule` names the rule, `reason` is for
    people."""

    kind: str
    rule: str
    reason: str


@dataclass(frozen=True)
class _Trigger:
    rule: str
    reason: str
    corrections: int
    """That it needs."""
    there: int
    """That there are."""


def rule(situation: Situation, settings: ControllerSettings) -> Ruling:
    """What the evidence asks for, and the first rule that stands against it, if one does."""
    if situation.failing is not None and situation.asked_by is None:
        return _failing(situation, situation.failing)
    if situation.pipeline is not None and situation.asked_by is None:
        return _hold(
            "pipeline-changed",
            f"messages are built in another way than usual ({situation.pipeline}): that is for "
            "whoever sends them to mend, and nothing to learn from",
        )
    if situation.artifact is not None and situation.asked_by is None:
        return _hold(
            "artifact-changed",
            f"the live version is not answered as it was certified ({situation.artifact}): that is "
            "for whoever runs the engines to mend, and no training mends it",
        )
    explained = situation.drift or situation.worse is None
    if not explained and situation.can_go_back:
        return Ruling(
            "rollback",
            "quality-down-after-promotion",
            f"more answers are {situation.worse} than just after the promotion, to the same kind "
            "of questions",
        )
    triggers = [*_triggers(situation, settings)]
    if not triggers:
        return Ruling("none", "nothing-asks-for-it", "no evidence asks for a retraining")
    trigger = next((t for t in triggers if t.there >= t.corrections), triggers[0])
    held = _held(situation, trigger, settings)
    return held or Ruling("retrain", trigger.rule, trigger.reason)


def _failing(situation: Situation, reason: str) -> Ruling:
    if situation.can_go_back and situation.failing_own:
        return Ruling("rollback", "slo-burn", reason)
    return _hold(
        "slo-burn", f"{reason}: no training mends that, and it is not taken back by itself"
    )


def wait_s(failures: int, settings: ControllerSettings) -> float:
    """Seconds between two retrainings, doubled by each failure in a row."""
    return float(settings.cooldown_s * 2 ** min(failures, _MOST_DOUBLINGS))


def _triggers(situation: Situation, settings: ControllerSettings) -> Iterator[_Trigger]:
    """What asks for a retraining, the strongest reason first."""
    there = situation.corrections
    came = f"{there} corrected examples came in"
    if situation.asked_by is not None:
        yield _Trigger("asked", f"{situation.asked_by} asked for it; {came}", 0, there)
    if situation.old_base:
        yield _Trigger("new-base", "the adapter is for another base now", 0, there)
    if situation.drift:
        yield _Trigger(
            "sustained-drift-with-corrections",
            f"drift is sustained and {situation.of_drift} corrected examples of prompts since it "
            f"began came in, {there} in all",
            settings.min_corrections,
            situation.of_drift,
        )
    if situation.worse is not None:
        yield _Trigger(
            "quality-down-with-corrections",
            f"more answers are {situation.worse} than just after the promotion, and {came}",
            settings.min_corrections,
            there,
        )
    if situation.stopped is not None:
        yield _Trigger(
            "stopped-helping",
            f"the base gives no more {situation.stopped} answers than the adapter any more, "
            f"and {came}",
            settings.min_corrections,
            there,
        )
    if situation.alerted_by is not None:
        yield _Trigger(
            "alerted",
            f"{situation.alerted_by} asked for it, and {came}",
            settings.min_corrections,
            there,
        )
    if 0 < settings.retrain_age_s <= situation.age_s:
        days = situation.age_s / 86_400
        yield _Trigger("age", f"the live version is {days:.0f} days old and {came}", 1, there)


def _held(situation: Situation, trigger: _Trigger, settings: ControllerSettings) -> Ruling | None:
    asked = trigger.rule == "asked"
    if not situation.auto_retrain and not asked:
        return _hold("tenant-policy", "the tenant wants no automatic retraining")
    if situation.active_job is not None:
        return _hold("job-active", f"job {situation.active_job} is still at work")
    if situation.candidate is not None:
        where = "waits for a person's word" if situation.approval else "is on its way to traffic"
        return _hold("candidate-waiting", f"{situation.candidate} {where}")
    if not situation.training_file:
        return _hold(
            "no-training-file",
            "the live version's training file is gone, so old examples can't be replayed",
        )
    if trigger.there < trigger.corrections:
        drifted = trigger.rule == "sustained-drift-with-corrections"
        which = " of prompts since drift began" if drifted else ""
        return _hold(
            "waiting-for-corrections",
            f"{trigger.there} of {trigger.corrections} corrected examples{which} came in",
        )
    past = situation.since_retrain_s
    wait = wait_s(situation.failures, settings)
    if past is not None and past < wait and not asked:
        failed = f", after {situation.failures} in vain" if situation.failures else ""
        return _hold(
            "cooldown", f"the last retraining was {past:.0f} s ago; {wait:.0f} s are wanted{failed}"
        )
    return None


def _hold(name: str, reason: str) -> Ruling:
    return Ruling("hold", name, reason)
