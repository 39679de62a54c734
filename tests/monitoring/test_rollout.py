"""The rule of a rollout: which step comes next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitoring.comparison import CHALLENGER, CHAMPION, Reading, compare
from monitoring.rollout import RolloutSettings, Trial, next_step

SETTINGS = RolloutSettings(shadow=20, requests=10, patience_s=1000)


def _reading(champion: float, challenger: float, pairs: int = 200) -> Reading:
    return compare([(CHAMPION, champion), (CHALLENGER, challenger)] * pairs, 0.05)


FINE = {"failed": _reading(0, 0), "invalid": _reading(0, 0)}
CANARY = Trial("canary", 0.01, certified=True, answers=10, since_s=5, readings=FINE)


def test_a_rollout_begins_with_copies() -> None:
    step = next_step(Trial("new", None, False, 0, 0, {}), SETTINGS)
    assert (step.kind, step.rule) == ("shadow", "rollout-begins")


def test_without_shadows_it_begins_with_the_first_clients() -> None:
    step = next_step(Trial("new", None, False, 0, 0, {}), replace(SETTINGS, shadow=0))
    assert (step.kind, step.weight) == ("canary", 0.01)


@pytest.mark.parametrize(("weight", "next_weight"), [(0.01, 0.1), (0.1, 0.5), (0.05, 0.1)])
def test_enough_answers_without_harm_lead_to_the_next_share(
    weight: float, next_weight: float
) -> None:
    step = next_step(replace(CANARY, weight=weight), SETTINGS)
    assert (step.kind, step.weight, step.rule) == ("canary", next_weight, "stage-passed")


def test_the_last_step_wants_proof_of_no_harm() -> None:
    last = replace(CANARY, weight=0.5)
    assert next_step(last, SETTINGS).kind == "promote"
    few = replace(last, readings={"failed": _reading(0, 0, pairs=20)})
    step = next_step(few, SETTINGS)
    assert (step.kind, step.rule) == ("wait", "proof")
    assert "failed" in step.reason


def test_what_people_say_need_not_be_proven() -> None:
    said = replace(CANARY, weight=0.5, readings={**FINE, "disliked": _reading(0, 0, pairs=3)})
    assert next_step(said, SETTINGS).kind == "promote"


def test_patience_ends_a_stage_with_what_came_and_says_so() -> None:
    thin = replace(CANARY, answers=2, since_s=1001, readings={"failed": _reading(0, 0, pairs=2)})
    step = next_step(thin, SETTINGS)
    assert (step.kind, step.rule) == ("canary", "patience")
    last = next_step(replace(thin, weight=0.5), SETTINGS)
    assert (last.kind, last.rule) == ("promote", "patience")
    assert "not ruled out for failed" in last.reason


@pytest.mark.parametrize("stage", ["shadow", "canary"])
def test_proven_harm_ends_it_at_any_stage_and_names_the_channel(stage: str) -> None:
    harmed = replace(CANARY, stage=stage, readings={**FINE, "invalid": _reading(0, 1, pairs=15)})
    step = next_step(harmed, SETTINGS)
    assert (step.kind, step.rule) == ("reject", f"{stage}-harm:invalid")
    assert "100.0% of 15 answers" in step.reason


def test_without_the_engines_check_nothing_goes_on() -> None:
    step = next_step(replace(CANARY, certified=False, since_s=1e6), SETTINGS)
    assert (step.kind, step.rule) == ("wait", "engine-check")
