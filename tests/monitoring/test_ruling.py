"""The retraining rule, with values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from monitoring.ruling import Situation, rule, wait_s
from monitoring.settings import ControllerSettings

SETTINGS = ControllerSettings(retrain_age_s=90 * 86_400.0)
QUIET = Situation(corrections=40)
READY = replace(QUIET, drift=True, of_drift=40)


def _rule(situation: Situation, **change: Any) -> tuple[str, str]:
    ruling = rule(replace(situation, **change), SETTINGS)
    assert ruling.reason
    return ruling.kind, ruling.rule


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"drift": True, "of_drift": 40}, "sustained-drift-with-corrections"),
        ({"worse": "invalid"}, "quality-down-with-corrections"),
        (
            {"drift": True, "of_drift": 40, "worse": "invalid"},
            "sustained-drift-with-corrections",
        ),
        ({"drift": True, "of_drift": 39, "worse": "invalid"}, "quality-down-with-corrections"),
        ({"drift": True, "of_drift": 1, "age_s": 90 * 86_400.0}, "age"),
        ({"old_base": True, "corrections": 0}, "new-base"),
        ({"alerted_by": "alert AnswersBad"}, "alerted"),
        ({"age_s": 90 * 86_400.0, "corrections": 1}, "age"),
        ({"asked_by": "ada", "corrections": 0}, "asked"),
        ({"asked_by": "ada", "auto_retrain": False, "since_retrain_s": 1.0}, "asked"),
        ({"asked_by": "ada", "pipeline": "no user text"}, "asked"),
        ({"asked_by": "ada", "artifact": "another base"}, "asked"),
    ],
)
def test_each_trigger_retrains_and_is_named(change: dict[str, Any], name: str) -> None:
    assert _rule(QUIET, **change) == ("retrain", name)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"auto_retrain": False}, "tenant-policy"),
        ({"active_job": "ftjob-1"}, "job-active"),
        ({"candidate": "support@0123456789ab"}, "candidate-waiting"),
        ({"training_file": False}, "no-training-file"),
        ({"of_drift": 39}, "waiting-for-corrections"),
        ({"since_retrain_s": 3599.0}, "cooldown"),
        ({"pipeline": "the system prompt is gone"}, "pipeline-changed"),
        ({"artifact": "on engine-0: another base"}, "artifact-changed"),
        ({"artifact": "another base", "pipeline": "no user text"}, "pipeline-changed"),
        ({"artifact": "another base", "worse": "invalid", "can_go_back": True}, "artifact-changed"),
    ],
)
def test_each_obstacle_holds_and_is_named(change: dict[str, Any], name: str) -> None:
    assert _rule(READY, **change) == ("hold", name)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"auto_retrain": False}, "tenant-policy"),
        ({"corrections": 39}, "waiting-for-corrections"),
        ({"since_retrain_s": 3599.0}, "cooldown"),
        ({"pipeline": "the system prompt is gone"}, "pipeline-changed"),
        ({"artifact": "on engine-0: another base"}, "artifact-changed"),
    ],
)
def test_what_a_person_may_pass_an_alert_may_not(change: dict[str, Any], name: str) -> None:
    assert _rule(QUIET, alerted_by="alert AnswersBad", **change) == ("hold", name)


def test_a_changed_pipeline_is_told_even_where_nothing_else_is_wrong() -> None:
    assert _rule(QUIET, pipeline="no user text") == ("hold", "pipeline-changed")


def test_without_evidence_nothing_is_decided() -> None:
    assert rule(QUIET, SETTINGS).kind == "none"
    assert rule(replace(QUIET, age_s=1e12), ControllerSettings()).kind == "none", "age is off"


def test_worse_answers_to_the_same_questions_roll_a_fresh_version_back() -> None:
    assert _rule(QUIET, worse="invalid", can_go_back=True) == (
        "rollback", "quality-down-after-promotion"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("own", "kind"), [({"failing_own": True}, "rollback"), ({"failing_own": False}, "hold")]
)
def test_a_version_that_fails_is_rolled_back_only_where_that_is_shown_to_be_its_own(
    own: dict[str, Any], kind: str
) -> None:
    assert _rule(QUIET, failing="7 of 12", can_go_back=True, **own) == (kind, "slo-burn")


@pytest.mark.parametrize("change", [{"drift": True}, {"can_go_back": False}])
def test_worse_answers_to_other_questions_or_of_an_old_version_do_not(
    change: dict[str, Any],
) -> None:
    kind, _ = _rule(QUIET, **{"worse": "invalid", "can_go_back": True, **change})
    assert kind == "retrain"


def test_each_failure_in_a_row_doubles_the_wait() -> None:
    assert [wait_s(n, SETTINGS) for n in (0, 1, 2, 6, 60)] == [
        3600, 7200, 14400, 3600 * 64, 3600 * 64
    ]  # fmt: skip
    assert _rule(READY, since_retrain_s=7100.0, failures=1) == ("hold", "cooldown")
    assert _rule(READY, since_retrain_s=7200.0, failures=1)[0] == "retrain"
