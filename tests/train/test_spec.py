"""Options of a job: one dial, and every wrong value named."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.errors import InvalidSpec
from train.spec import RANKS, TrainingSpec


def test_nothing_given_is_a_whole_spec():
    spec = TrainingSpec.parse({})
    assert (spec.rank, spec.lora_alpha, spec.keep_good_rows) == (16, 32.0, False)


@given(st.sampled_from(RANKS))
def test_alpha_follows_the_rank(rank):
    assert TrainingSpec.parse({"rank": rank}).lora_alpha == 2 * rank


def test_alpha_and_learning_rate_that_are_given_are_kept():
    spec = TrainingSpec.parse({"rank": 8, "alpha": 4, "learning_rate": 1e-3})
    assert spec.lora_alpha == 4.0
    assert spec.learning_rate_for(192) == spec.learning_rate_for(4096) == 1e-3


def test_short_answers_get_more_epochs_unless_it_is_said_how_many():
    assert TrainingSpec.parse({}).epochs_for(2.5) > TrainingSpec.parse({}).epochs_for(35)
    assert TrainingSpec.parse({"epochs": 2}).epochs_for(2.5) == 2


def test_the_learning_rate_falls_with_the_bases_width():
    spec = TrainingSpec.parse({})
    assert math.isclose(spec.learning_rate_for(2000), 5e-4)
    assert spec.learning_rate_for(192) > spec.learning_rate_for(4096) > 2e-4


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rank": 12}, "rank=12: expected one of 1, 2, 4, 8, 16"),
        ({"rank": True}, "rank=True: expected one of"),
        ({"rank": "16"}, "rank='16': expected one of"),
        ({"epochs": 0}, "epochs=0: expected a number 0.01–1000"),
        ({"epochs": float("nan")}, "epochs=nan: expected a number"),
        ({"epochs": float("inf")}, "epochs=inf: expected a number"),
        ({"epochs": 10**400}, "expected a number"),
        ({"learning_rate": -1}, "learning_rate=-1: expected a number 1e-08–1"),
        ({"batch_size": 1.5}, "batch_size=1.5: expected a whole number 1–1024"),
        ({"keep_good_rows": "yes"}, "keep_good_rows='yes': expected true or false"),
        ({"quantize": "int3"}, "quantize='int3': expected one of none, nf4"),
        ({"suffix": ""}, "suffix='': expected a text that is not empty"),
        ({"lora_r": 8}, "lora_r: no such option; expected one of"),
        ({"seed": None}, "seed=None: expected a whole number"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_what_was_expected(options, complaint):
    with pytest.raises(InvalidSpec) as caught:
        TrainingSpec.parse(options)
    assert complaint in caught.value.message
    assert caught.value.param == next(iter(options))


def test_all_wrong_options_are_told_together():
    with pytest.raises(InvalidSpec) as caught:
        TrainingSpec.parse({"rank": 0, "seed": -1, "colour": "red"})
    assert len(caught.value.message.splitlines()) == 3


def test_what_a_spec_says_of_itself_parses_to_the_same_spec():
    spec = TrainingSpec.parse({"rank": 4, "epochs": 2, "group_by": "customer_id"})
    assert TrainingSpec.parse(spec.json()) == spec


@given(st.dictionaries(st.text(max_size=12), st.none() | st.booleans() | st.integers() | st.text()))
def test_no_json_breaks_the_parser(options):
    try:
        TrainingSpec.parse(options)
    except InvalidSpec as error:
        assert error.message


def test_few_rows_are_advised_to_the_preset_for_few_unless_something_was_asked_for():
    assert "small-data" in TrainingSpec.parse({}).advice(499, {"seed": 1})
    assert TrainingSpec.parse({}).advice(500, {}) == ""
    for option in ({"preset": "balanced"}, {"rank": 8}, {"epochs": 2}, {"search": 3}):
        assert TrainingSpec.parse(option).advice(50, option) == ""


def test_a_preset_fills_in_what_is_not_named():
    spec = TrainingSpec.parse({"preset": "small-data", "epochs": 3})
    assert (spec.rank, spec.epochs) == (4, 3)
    assert TrainingSpec.parse({"preset": "thorough"}).search > 0
