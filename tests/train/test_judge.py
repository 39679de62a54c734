"""What an evaluation hands to the verdict: rows of one conversation together, slices, guards."""

import pytest

from tests.train.making import row
from train.answers import Score
from train.evaluation import Evaluation


def scored(right, wrong, *, valid=True, fields=None):
    return [Score(True, 1.0, valid, fields)] * right + [Score(False, 0.0, valid, fields)] * wrong


def evaluation(scores, kind="label", **metadata):
    rows = [
        row(f"{'ab'[n % 2]}{'cd' * n}", line=n, **{k: value(n) for k, value in metadata.items()})
        for n in range(100)
    ]
    return Evaluation(rows, scores, {"kind": kind})


GAIN = {"base_zero_shot": scored(0, 100), "adapter": scored(80, 20)}


def test_rows_without_a_conversation_each_count():
    verdict = evaluation(GAIN).judge()
    assert verdict.verdict == "promote"
    assert verdict.reasons["against_base_zero_shot"]["conversations"] == 100


@pytest.mark.parametrize("field", ["conversation_id", "ticket"])
def test_rows_of_one_conversation_count_as_one(field):
    found = evaluation(GAIN, **{field: lambda n: n // 2})
    reasons = found.judge(group_by="ticket" if field == "ticket" else None).reasons
    assert reasons["against_base_zero_shot"]["conversations"] == 50


def test_a_slice_of_the_rows_metadata_may_not_get_worse():
    base, adapter = scored(0, 80) + scored(20, 0), scored(80, 20)
    found = evaluation(
        {"base_zero_shot": base, "adapter": adapter},
        slice=lambda n: "english" if n < 80 else "german",
    )
    verdict = found.judge()
    assert (verdict.verdict, verdict.reasons["worse_on"]) == ("reject", "german")
    assert set(verdict.reasons["slices"]) == {"english", "german"}


def test_the_parent_is_a_rival_and_no_baseline():
    verdict = evaluation({**GAIN, "parent": scored(100, 0)}).judge()
    assert (verdict.verdict, verdict.reasons["baseline"]) == ("reject", "base_zero_shot")
    assert "its parent scores 100 %" in verdict.reasons["summary"]


@pytest.mark.parametrize("guard", ["valid", "fields"])
def test_valid_answers_and_fields_may_not_get_fewer(guard):
    good, bad = {"valid": True, "fields": 1.0}, {"valid": True, "fields": 1.0}
    bad[guard] = {"valid": False, "fields": 0.5}[guard]
    scores = {"base_zero_shot": scored(0, 100, **good), "adapter": scored(80, 20, **bad)}
    verdict = evaluation(scores, "json").judge()
    assert (verdict.verdict, verdict.reasons["worse_on"]) == ("reject", guard)
