"""Which objective, method and quantisation go together: the whole table, and no training."""

import itertools

import pytest

from tests.train.making import row
from train.combinations import check, check_rows
from train.errors import InvalidSpec, InvalidTrainingFile
from train.rows import Row
from train.spec import METHODS, OBJECTIVES, QUANTIZE, TrainingSpec

REFUSED = {
    **{(o, m, "nf4"): "quantize" for o in OBJECTIVES for m in ("dora", "full")},
    **{(o, "full", "none"): "method" for o in ("dpo", "kto")},
}


@pytest.mark.parametrize("combination", [*itertools.product(OBJECTIVES, METHODS, QUANTIZE)])
def test_every_combination_is_trained_or_refused_by_name(combination):
    objective, method, quantize = combination
    spec = TrainingSpec(objective=objective, method=method, quantize=quantize)
    if combination not in REFUSED:
        check(spec, "cpu")
        return
    with pytest.raises(InvalidSpec) as caught:
        check(spec, "cpu")
    assert caught.value.param == REFUSED[combination]
    assert "xpected" in caught.value.message


@pytest.mark.parametrize(
    ("spec", "param"),
    [
        (TrainingSpec(packing=True), "packing"),
        (TrainingSpec(objective="dpo", packing=True), "packing"),
        (TrainingSpec(objective="kto", batch_size=1), "batch_size"),
        (TrainingSpec(objective="dpo", method="dora", parent="0" * 64), "method"),
        (TrainingSpec(objective="dpo", method="rslora", parent="0" * 64), "method"),
    ],
)
def test_what_cannot_be_trained_here_is_refused_before_it_starts(spec, param):
    with pytest.raises(InvalidSpec) as caught:
        check(spec, "cpu")
    assert caught.value.param == param


def test_packing_is_left_to_a_gpu():
    check(TrainingSpec(packing=True), "cuda")


def test_a_parent_is_only_compared_with_under_other_objectives():
    check(TrainingSpec(method="dora", parent="0" * 64))


def test_rows_of_another_kind_are_named_by_their_lines():
    rows = [row("a", line=1), Row(7, row("b").messages, kind="preference", rejected="no")]
    with pytest.raises(InvalidTrainingFile, match="1 of 2 are preference rows: lines 7"):
        check_rows(TrainingSpec(), rows)
    with pytest.raises(InvalidTrainingFile, match="dpo learns from preference rows"):
        check_rows(TrainingSpec(objective="dpo"), rows)


def test_ratings_that_are_all_alike_teach_nothing():
    rows = [Row(1, row("b").messages, kind="rated", good=False)] * 3
    with pytest.raises(InvalidTrainingFile, match="only disliked ones"):
        check_rows(TrainingSpec(objective="kto"), rows)


def test_the_learning_rate_is_lower_where_more_moves_or_less_may():
    rate = TrainingSpec().learning_rate_for(4096)
    assert TrainingSpec(method="full").learning_rate_for(4096) == pytest.approx(rate / 10)
    assert TrainingSpec(objective="dpo").learning_rate_for(4096) == pytest.approx(rate / 40)
    assert TrainingSpec(method="full", learning_rate=0.5).learning_rate_for(4096) == 0.5


def test_rank_stabilised_lora_has_one_alpha_for_all_ranks():
    ranks = (4, 16, 256)
    assert {TrainingSpec(method="rslora", rank=rank).lora_alpha for rank in ranks} == {16.0}
    assert TrainingSpec(method="rslora", rank=4, alpha=8.0).lora_alpha == 8.0
