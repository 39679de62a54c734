"""What was forgotten: the guard by simulation, its words, and the figures through an engine."""

import asyncio
import json
import math

import numpy as np
import pytest

from tests.fake_engine import FakeEngine
from tests.train.making import row
from train.answers import Answers
from train.engine import Engine
from train.errors import InvalidSpec
from train.evaluation import Evaluation
from train.exam import Exam, examine, prepare
from train.forgetting import MAX_FORGETTING, Forgetting, forgetting, max_forgetting
from train.general import General
from train.paired import LEVEL
from train.report.forgot import forgot, table
from train.report.page import Judged, page
from train.verdict import decide

SERVED = "triage@0123456789ab"
RUNS = 300


def forgotten(rises, allowed=0.5, talk=1):
    """The base loses 1 nat a token on every row, the adapter so much more."""
    n = len(rises)
    losses = {"base": [1.0] * n, "adapter": [1.0 + float(rise) for rise in rises]}
    return Forgetting("file", losses, [str(i // talk) for i in range(n)], allowed)


def verdict(found, others=()):
    """Of an adapter that is far better than the base on its own rows."""
    guard = found.guard()
    guards = [] if guard is None else [guard]
    ours, base = [1.0] * 100, [0.0] * 100
    metrics = {f"metric {n}": {"adapter": ours, "base": ours} for n in range(len(others))}
    return decide(ours, {"base": base}, metrics=metrics, guards=guards, resamples=0)


def rises(seed, rows, change, runs=RUNS):
    """(runs, rows) whose mean is that of a `change` in perplexity: most rows lose little and a few
    much, as those of trained adapters do."""
    rng = np.random.default_rng(seed)
    return rng.gamma(0.8, 1 / 0.8, (runs, rows)) * math.log1p(change)


def rejected(drawn, **how):
    return sum(verdict(forgotten(one, **how)).verdict == "reject" for one in drawn) / len(drawn)


@pytest.mark.parametrize("rows", [10, 20, 64])
def test_a_loss_of_just_what_is_allowed_is_seldom_taken_for_more(rows):
    assert rejected(rises(rows, rows, 0.5)) <= 0.05


def test_no_loss_at_all_is_never_rejected_where_some_is_allowed():
    rng = np.random.default_rng(1)
    assert rejected(rng.normal(0.0, 0.4, (RUNS, 64))) == 0.0


def test_a_loss_of_twice_what_is_allowed_is_seen_on_64_rows():
    assert rejected(rises(2, 64, 1.25)) >= 0.8


def test_rows_of_a_conversation_count_together():
    talks = np.repeat(rises(3, 16, 0.5), 4, axis=1)
    assert rejected(talks, talk=4) <= 0.05


def test_the_reason_says_in_words_what_was_forgotten():
    found = verdict(forgotten([1.0] * 64))
    assert found.verdict == "reject"
    assert found.reasons["worse_on"] == "general"
    assert found.reasons["summary"].startswith(
        "forgot: perplexity on 64 general rows is 7.39 and the base's 2.72, × 2.72 where "
        "+50 % is allowed (p = "
    )
    assert found.reasons["general"]["p_worse_holm"] <= LEVEL
    assert json.loads(json.dumps(found.reasons)) == found.reasons


def test_within_what_is_allowed_the_gain_alone_decides():
    found = verdict(forgotten([0.3] * 64))
    assert found.verdict == "promote"
    assert found.reasons["general"]["change"] == pytest.approx(math.expm1(0.3), abs=1e-6)


def test_the_guard_shares_its_level_with_the_others():
    alone = verdict(forgotten([1.0] * 64)).reasons["general"]
    beside = verdict(forgotten([1.0] * 64), others=range(3)).reasons["general"]
    assert alone["p_worse_holm"] == alone["p_worse"]
    assert beside["p_worse_holm"] == pytest.approx(4 * beside["p_worse"])


def test_few_rows_or_any_rise_allowed_is_no_guard():
    assert forgotten([5.0] * 9).guard() is None
    assert forgotten([5.0] * 36, talk=4).guard() is None
    assert forgotten([5.0] * 64, allowed=None).guard() is None
    assert forgotten([5.0] * 64, allowed=None).figures()["change"] > 100


def test_the_figures_are_perplexities_and_their_ratio():
    losses = {"base": [1.0, 2.0], "adapter": [1.5, 2.5], "parent": [1.0, math.nan]}
    rows = [row("a", "x"), row("b", "yes")]
    found = forgetting("file", rows, losses, 0.5, {"base": ["x"], "adapter": ["z"]})
    assert found is not None
    figures = found.figures()
    assert figures["n"] == 1  # the row that the parent has no loss of shows nothing
    assert figures["base"] == {"perplexity": pytest.approx(math.e, abs=1e-4), "chrf": 1.0}
    assert figures["adapter"]["chrf"] == 0.0
    assert figures["change"] == pytest.approx(math.expm1(0.5), abs=1e-6)
    assert forgetting("file", rows, {"base": [math.nan] * 2}, 0.5) is None


def test_the_share_that_is_allowed_is_the_adapters_own():
    assert max_forgetting({}) == MAX_FORGETTING
    assert max_forgetting({"max_forgetting": 1}) == 1.0
    assert max_forgetting({"max_forgetting": "off"}) is None
    for wrong in (-0.1, True, "no", math.nan):
        with pytest.raises(InvalidSpec, match="half as much again"):
            max_forgetting({"max_forgetting": wrong})


def test_the_report_says_it_in_a_line_and_a_table():
    evaluation = {"kind": "label", "n": 0, "general": forgotten([0.4, 0.6] * 32).figures()}
    line = forgot(evaluation)
    assert line.startswith("general set (64 rows, file): perplexity 4.48, the base's 2.72: +65 %")
    assert line.endswith("; +50 % is allowed")
    assert [cells[0] for cells in table(evaluation)] == ["base", "adapter"]
    assert "What it forgot" in page({"lora": Judged(evaluation)}, "tickets")
    assert "What it forgot" not in page({"lora": Judged({"kind": "label", "n": 0})}, "tickets")


def exam(allowed):
    rows = [row(f"{chr(97 + n)}: yes", "yes" if n % 2 else "no", n + 1) for n in range(20)]
    general = General(
        "file", [row(f"what is {chr(97 + n)}", "an answer", n + 1) for n in range(12)]
    )
    made = prepare(
        rows, [], Answers("label", ("yes", "no")), few_shot=0, max_tokens=4,
        general=general, max_forgetting=allowed,
    )  # fmt: skip
    systems = {"base_zero_shot": "switchyard-tiny", "adapter": SERVED}
    return Exam.load(json.loads(json.dumps({**made.json(), "systems": systems})))


def asked_of_an_engine(allowed) -> Evaluation:
    def logprob(model, ids, position):
        return -1.5 if model == SERVED else -1.0

    async def ask():
        async with FakeEngine(adapters={SERVED}, logprob=logprob) as served:
            return await asyncio.to_thread(examine, exam(allowed), Engine(served.url))

    return asyncio.run(ask())


def test_an_engine_is_asked_for_the_same_figures():
    figures = asked_of_an_engine(0.5).figures["general"]
    assert (figures["source"], figures["n"], figures["max_forgetting"]) == ("file", 12, 0.5)
    assert figures["base"]["perplexity"] == pytest.approx(math.e, abs=1e-4)
    assert figures["change"] == pytest.approx(math.expm1(0.5), abs=1e-6)
    assert 0 <= figures["adapter"]["chrf"] <= 1


def test_an_exam_holds_the_general_set_against_the_adapter():
    assert asked_of_an_engine(0.2).judge().reasons["general"]["p_worse"] == pytest.approx(
        2**-12, rel=1e-3
    )
    assert asked_of_an_engine(None).judge().reasons.get("general") is None
