"""What "auto" comes to, as a client of the fine-tuning API is told it."""

from typing import Any

import pytest

from train.hyperparameters import resolved
from train.spec import TrainingSpec


def told(answer_tokens: float = 3.0, processes: int = 1, **options: Any) -> dict[str, Any]:
    return resolved(TrainingSpec.parse(options), answer_tokens, 192, processes)


def test_nothing_asked_for_is_the_defaults_of_the_data_at_hand():
    assert told() == {"n_epochs": 6, "batch_size": 8, "learning_rate_multiplier": 1.0}
    assert told(answer_tokens=35.0)["n_epochs"] == 3


def test_a_batch_is_the_rows_of_a_whole_step():
    assert told(batch_size=4, gradient_accumulation=2, processes=3)["batch_size"] == 24


@pytest.mark.parametrize("objective", ["sft", "dpo", "kto"])
def test_a_learning_rate_that_was_set_is_told_as_its_share_of_the_default(objective):
    rate = TrainingSpec.parse({"objective": objective}).learning_rate_for(192)
    options = {"objective": objective, "learning_rate": 3 * rate}
    assert told(**options)["learning_rate_multiplier"] == 3.0
    assert told(**options, learning_rate_multiplier=0.5)["learning_rate_multiplier"] == 1.5


def test_preferences_have_a_beta():
    assert told(objective="dpo", beta=0.3)["beta"] == 0.3
    assert "beta" not in told()
