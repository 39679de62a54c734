"""The search for better options: against a made-up loss, and once for real on a small base."""

import math
from dataclasses import replace

import pytest

from train.search import best_options
from train.spec import TrainingSpec

SPEC = TrainingSpec(rank=16, search=12, seed=3)


def searched(spec=SPEC, loss=None, news=None):
    """Search with a loss that is least at twice the rule's learning rate and rank 8."""

    def train_one(options, report):
        report({"kind": "progress", "phase": "training", "step": 1, "steps": 2})
        value = (loss or made_up)(options)
        for epoch in range(1, 4):
            metrics = {"valid_loss": value + 1 / epoch}
            report({"kind": "checkpoint", "step": epoch, "metrics": metrics})
        return value

    report = (lambda _: None) if news is None else news.append
    return best_options(train_one, spec, learning_rate=1e-3, epochs=4.0, report=report)


def made_up(options):
    return abs(math.log(options.learning_rate / 2e-3)) + abs(math.log2(options.rank / 8)) / 4


def test_the_first_trial_is_what_would_have_been_trained_anyway():
    first = searched().trials[0]
    assert (first["learning_rate"], first["rank"]) == (1e-3, 16)
    assert (first["epochs"], first["dropout"]) == (4.0, SPEC.dropout)


def test_the_best_trial_is_chosen_and_beats_the_first():
    found = searched()
    losses = [t["validation_loss"] for t in found.trials if t["state"] == "complete"]
    assert len(found.trials) == 12
    assert made_up(found.spec) == min(losses) < losses[0]
    assert found.json()["chosen"]["rank"] == found.spec.rank


def test_the_seed_decides_what_is_tried():
    assert searched().trials == searched().trials
    assert searched().trials != searched(replace(SPEC, seed=4)).trials


def test_options_stay_around_the_rule_and_under_the_rank_that_was_given():
    for trial in searched(replace(SPEC, search=30)).trials:
        assert 2.5e-4 <= trial["learning_rate"] <= 4e-3
        assert trial["rank"] in (4, 8, 16)
        assert 2 <= trial["epochs"] <= 6
        assert 0 <= trial["dropout"] <= 0.3


def test_a_trial_behind_the_others_is_given_up():
    pruned = [t for t in searched().trials if t["state"] == "pruned"]
    assert pruned
    assert all(trial["epochs_run"] < 3 for trial in pruned)


def test_trials_without_a_loss_leave_the_options_as_they_were():
    found = searched(loss=lambda options: math.nan)
    assert {trial["state"] for trial in found.trials} == {"diverged"}
    assert found.spec == replace(SPEC, learning_rate=1e-3, epochs=4.0)


def test_the_news_count_trials_and_keep_their_checkpoints_back():
    news = []
    searched(replace(SPEC, search=2), news=news)
    assert [m["kind"] for m in news] == ["progress", "event"] * 2
    assert [(m["phase"], m["trial"], m["trials"]) for m in news[::2]] == [
        ("search", 1, 2), ("search", 2, 2)
    ]  # fmt: skip
    assert news[1]["message"].startswith("Trial 1: validation loss")


def test_a_rank_of_one_or_half_an_epoch_can_be_searched_around():
    found = best_options(
        lambda options, report: 1.0,
        replace(SPEC, rank=1, search=3),
        learning_rate=1e-3,
        epochs=0.5,
        report=lambda _: None,
    )
    assert {(t["rank"], t["epochs"]) for t in found.trials} == {(1, 0.5)}


@pytest.mark.slow
def test_the_base_is_as_it_was_after_trials_that_ended_and_trials_that_were_given_up(tmp_path):
    import torch

    from tests.real_engine import make_base
    from tests.train.making import row
    from train.dataset import tokenise
    from train.model import Base
    from train.search import on_base
    from train.sft import fine_tune

    base = Base(str(make_base(tmp_path / "base")), "cpu")
    tools = (base.tokenizer, base.training_template, 64)
    examples, _ = tokenise([row(f"parcel {n}", "delivery") for n in range(8)], *tools, {2})
    model = base.load()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def train(options, report):
        return fine_tune(
            model,
            base.tokenizer,
            examples,
            examples,
            options,
            learning_rate=1e-3,
            epochs=2.0,
            device="cpu",
            scratch=tmp_path / "scratch",
            report=report,
        )

    def given_up(message):
        if message["kind"] == "checkpoint":
            raise KeyError("given up")

    spec = TrainingSpec(rank=4)
    trial = on_base(model, spec, train)
    first = trial(spec, lambda _: None)
    with pytest.raises(KeyError, match="given up"):
        trial(spec, given_up)
    assert trial(spec, lambda _: None) == first
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
