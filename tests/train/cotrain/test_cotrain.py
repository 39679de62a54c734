"""Co-training for real on a tiny base: who else is on board makes no difference to an adapter."""

from dataclasses import replace

import pytest
import torch

from tests.real_engine import make_base
from tests.train.making import row, tickets
from train import dataset
from train.cotrain.fitness import obstacle
from train.cotrain.loop import cotrain
from train.cotrain.trainee import CoJob
from train.model import Base
from train.rows import Row
from train.sft import fine_tune
from train.spec import TrainingSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return Base(str(make_base(tmp_path_factory.mktemp("base") / "tiny")), "cpu")


@pytest.fixture(scope="module")
def model(base):
    return base.load()


def examples(base, count, seed=0):
    rows = [Row(n, tuple(each["messages"])) for n, each in enumerate(tickets(count, seed))]
    found, _ = dataset.tokenise(
        rows, base.tokenizer, base.training_template, 256, base.stop_tokens()
    )
    return found


def job(base, name, count=12, seed=0, epochs=2.0, held=0, **options):
    spec = TrainingSpec.parse({"seed": seed, "rank": 4, "batch_size": 4, **options})
    rows = examples(base, count + held, seed)
    return CoJob(name, rows[:count], rows[count:], spec, spec.learning_rate or 2e-3, epochs)


@pytest.fixture(scope="module")
def crew(base):
    return [
        job(base, "a", seed=1, rank=4, dropout=0.1, held=4),
        job(base, "b", seed=2, rank=8, dropout=0.3, count=9, batch_size=2, epochs=1.5),
        job(base, "c", seed=3, rank=2, dropout=0.0, learning_rate=1e-2, checkpoints=1),
        job(base, "d", seed=4, rank=4, alpha=3.0, gradient_accumulation=2, epochs=1.0),
    ]


@pytest.fixture(scope="module")
def alone(model, crew):
    return {each.id: next(iter(cotrain(model, [each], seats=1))) for each in crew}


def assert_same(one, other, tolerance=2e-4):
    """Within rounding, which AdamW enlarges where a gradient is next to nothing."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert float((tensor - other[name]).norm()) <= tolerance * float(tensor.norm()), name


def test_each_adapter_is_the_one_it_becomes_alone_whoever_comes_and_goes(model, crew, alone):
    """Ranks, batches, drop-outs, schedules and ends differ; two seats for four."""
    together = list(cotrain(model, crew, seats=2))
    assert sorted(each.id for each in together) == ["a", "b", "c", "d"]
    for each in together:
        assert_same(alone[each.id].weights, each.weights)
        assert each.steps == alone[each.id].steps


def test_who_comes_late_learns_beside_those_who_train_and_the_same(model, crew, alone):
    told = []

    def coming():
        yield crew[0]
        yield from [None] * 3  # nobody waits for three steps
        yield crew[2]
        while True:
            yield None

    together = list(cotrain(model, coming(), report=lambda name, news: told.append(name)))
    assert {each.id for each in together} == {"a", "c"}
    for each in together:
        assert_same(alone[each.id].weights, each.weights)
    assert 3 < told.index("c") < len(told) - 1 - told[::-1].index("a")


def test_a_step_in_several_passes_is_the_same_step(model, crew, alone):
    for each in cotrain(model, crew, seats=4, most_tokens=64):
        assert_same(alone[each.id].weights, each.weights)


def test_what_was_compared_had_learnt_something(alone):
    for each in alone.values():
        changed = [tensor for name, tensor in each.weights.items() if "lora_B" in name]
        assert all(float(tensor.abs().max()) > 1e-4 for tensor in changed)


def test_the_adapter_is_the_one_that_trl_trains(base, tmp_path):
    """One batch an epoch, so that the order of rows is no matter; rows of unequal length."""
    wanted = job(base, "a", count=4, epochs=6.0, dropout=0.0, held=3)
    plain = base.load()
    began = {}

    def remember(_):
        if not began:
            began.update(adapter(plain))

    trained = fine_tune(
        plain,
        base.tokenizer,
        wanted.examples,
        wanted.validation,
        wanted.spec,
        learning_rate=wanted.learning_rate,
        epochs=wanted.epochs,
        device="cpu",
        scratch=tmp_path,
        report=remember,
    )
    (own,) = cotrain(base.load(), [replace(wanted, start=began)], seats=1)
    assert own.steps == trained.steps == 6
    assert own.best_validation_loss == pytest.approx(trained.best_validation_loss, abs=1e-5)
    assert own.first_loss == pytest.approx(trained.first_loss, abs=1e-3)
    assert_same(adapter(plain), own.weights, tolerance=2e-3)
    for ours, theirs in zip(own.rows, trained.rows, strict=True):
        assert ours["step"] == theirs["step"]
        for name in ("train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy"):
            assert ours[name] == pytest.approx(theirs[name], abs=1e-3), name
    assert own.rows[-1]["train_accuracy"] > own.rows[0]["train_accuracy"], "or it says nothing"


def adapter(model):
    return {
        f"base_model.model.{name}".replace(".default", ""): weights.detach().clone()
        for name, weights in model.named_parameters()
        if "lora_" in name
    }


def test_a_paused_job_goes_on_as_if_nothing_had_been(model, crew, alone, tmp_path):
    asked = []

    def wish(name):
        asked.append(name)
        return "pause" if name == "a" and asked.count("a") == 4 else ""

    first = list(cotrain(model, crew[:2], seats=2, wish=wish, pausing=lambda _: tmp_path))
    assert [each.id for each in first] == ["b"]
    (again,) = cotrain(model, [replace(crew[0], resume=tmp_path)], seats=1)
    assert again.steps == alone["a"].steps
    assert again.best_validation_loss == alone["a"].best_validation_loss
    assert_same(alone["a"].weights, again.weights, tolerance=1e-6)


def test_a_job_that_was_killed_goes_on_from_its_last_state(model, crew, alone, tmp_path):
    """Two states, one with weights of an epoch's end; a state of another job is left aside."""
    told = []
    crew = [replace(crew[0], key="one"), crew[2]]
    training = cotrain(
        model,
        crew,
        report=lambda name, news: told.append((name, news)),
        keeping=lambda name, step: tmp_path / name / str(step),
        every_s=0.0,
    )
    assert next(training).id in "ac"
    training.close()
    for job, step in ((crew[0], 2), (crew[1], 5)):
        assert (job.id, step) in [(name, n["step"]) for name, n in told if n["kind"] == "state"]
        state = tmp_path / job.id / str(step)
        (again,) = cotrain(model, [replace(job, resume=state)])
        assert_same(alone[job.id].weights, again.weights)  # its first steps were made in company
        assert again.checkpoints.keys() == alone[job.id].checkpoints.keys()
    told.clear()
    other = replace(crew[0], key="other", resume=tmp_path / "a" / "2")
    (anew,) = cotrain(model, [other], report=lambda name, news: told.append((name, news)))
    assert any("starts anew" in news.get("message", "") for _, news in told)
    assert_same(alone["a"].weights, anew.weights, tolerance=1e-6)


def test_a_layer_that_learns_nothing_ends_its_job_before_the_first_step_and_no_other(
    model, crew, alone
):
    """A and B of one layer are nothing, so neither will ever move."""
    cut = "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"
    start = {
        name: torch.zeros_like(each) if "lora_B" in name or name == cut else each
        for name, each in alone["c"].weights.items()
    }
    told, failed = [], {}
    results = cotrain(
        model,
        [replace(crew[2], id="cut off", start=start), crew[0]],
        report=lambda name, news: told.append((name, news)),
        failed=failed.setdefault,
    )
    (left,) = results
    assert_same(alone["a"].weights, left.weights)
    assert failed.keys() == {"cut off"}
    reason = "1 of 28 adapted modules get no gradient"
    assert reason in failed["cut off"].message
    assert "layers.1.self_attn.v_proj" in failed["cut off"].message
    assert {news.get("step") for name, news in told if name == "cut off"} == {0}
    assert left.proof["adapted_modules"] == 28
    assert left.proof["least_gradient_norm"] > 0


def test_a_job_whose_numbers_fell_apart_takes_no_other_with_it(base, model):
    healthy = job(base, "healthy", seed=1, dropout=0.1)
    other = job(base, "other", seed=3, rank=2, dropout=0.0)
    (expected,) = cotrain(model, [healthy])
    (learnt,) = cotrain(model, [other])
    layer = "layers.0.self_attn.q_proj.lora_B"
    broken = {
        name: torch.full_like(tensor, float("nan")) if layer in name else tensor
        for name, tensor in learnt.weights.items()
    }
    failed = {}
    crew = [replace(other, id="broken", start=broken), healthy]  # the broken one's rows come first
    (result,) = cotrain(model, crew, failed=failed.setdefault)
    assert list(failed) == ["broken"]
    assert_same(expected.weights, result.weights)


def test_the_last_epochs_weights_are_kept(alone):
    (kept,) = alone["c"].checkpoints.values()
    assert list(alone["c"].checkpoints) == [alone["c"].steps]
    assert_same(alone["c"].weights, kept, tolerance=1e-9)
    assert alone["a"].checkpoints == {}


def test_a_cancelled_job_gives_its_seat_to_the_next(model, crew, alone):
    wish = {"a": "cancel"}.get
    left = list(cotrain(model, crew[:2], seats=1, wish=lambda name: wish(name, "")))
    assert [each.id for each in left] == ["b"]
    assert_same(alone["b"].weights, left[0].weights)


def test_training_stops_when_the_validation_loss_gets_worse_and_keeps_the_best(base, model):
    told = []
    rows = [row("tell me", answer) for answer in ("billing", "delivery")]
    pair, _ = dataset.tokenise(
        rows, base.tokenizer, base.training_template, 256, base.stop_tokens()
    )
    wanted = job(base, "a", patience=1, learning_rate=0.05, epochs=40.0)
    wanted = replace(wanted, examples=pair[:1], validation=pair[1:])
    (result,) = cotrain(model, [wanted], report=lambda name, news: told.append((name, news)))
    losses = [news["metrics"]["valid_loss"] for _, news in told if news["kind"] == "checkpoint"]
    assert result.steps < 40
    assert losses[-1] > min(losses) == pytest.approx(result.best_validation_loss)
    assert result.best_epoch == losses.index(min(losses)) + 1
    steps = [news["step"] for _, news in told if news["kind"] == "progress"]
    assert steps == list(range(result.steps + 1))


def test_the_base_is_as_it_was(base, model):
    before = base.load()
    assert [name for name, _ in model.named_modules()] == [
        name for name, _ in before.named_modules()
    ]
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("objective", "dpo"),
        ("method", "dora"),
        ("method", "rslora"),
        ("replay", 0.5),
        ("quantize", "nf4"),
        ("packing", True),
        ("search", 4),
    ],
)
def test_jobs_that_need_more_than_plain_rows_and_plain_lora_are_not_for_it(option, value):
    assert obstacle(TrainingSpec.parse({option: value})) == f"{option}={value}"
    assert obstacle(TrainingSpec.parse({"rank": 64, "checkpoints": 3})) == ""
