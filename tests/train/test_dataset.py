"""What is learned from: labels, truncation, the stop token, by the shipped base's own template."""

import pytest

from tests.train.making import row
from train.errors import BaseUnavailable, NothingSupervised
from train.rows import Row

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base():
    from train.model import Base
    from train.settings import SHIPPED_BASE

    return Base(str(SHIPPED_BASE), "cpu")


def tokenise(base, rows, max_length=2048, template=None):
    from train.dataset import tokenise

    template = template or base.training_template
    return tokenise(rows, base.tokenizer, template, max_length, base.stop_tokens())


def test_only_the_answer_and_its_end_are_learned(base):
    examples, supervision = tokenise(base, [row("Where is my parcel?", "delivery")])
    learned = [token for token in examples[0].labels if token != -100]
    assert base.tokenizer.decode(learned) == "delivery<|end|>"
    assert supervision.supervised == len(learned)
    assert supervision.tokens == len(examples[0].input_ids)
    assert (supervision.cut, supervision.lost) == ([], [])


def test_every_answer_of_a_conversation_is_learned(base):
    messages = [("user", "one"), ("assistant", "yes"), ("user", "two"), ("assistant", "no")]
    talk = Row(1, tuple({"role": role, "content": text} for role, text in messages))
    examples, _ = tokenise(base, [talk])
    learned = [token for token in examples[0].labels if token != -100]
    assert base.tokenizer.decode(learned) == "yes<|end|>no<|end|>"


def test_the_prompt_is_a_prefix_of_the_conversation(base):
    from train.dataset import prompt_ids

    example = tokenise(base, [row("Where is my parcel?", "delivery")])[0][0]
    prompt = prompt_ids(example.row.prompt, base.tokenizer)
    assert example.input_ids[: len(prompt)] == prompt
    assert example.labels[: len(prompt)] == [-100] * len(prompt)
    assert example.labels[len(prompt)] != -100


def test_what_truncation_leaves_is_counted_and_what_it_takes_is_named(base):
    short = row("Where is it?", "delivery", line=1)
    long_answer = row("Why?", "because " * 30, line=2)
    long_prompt = row("please " * 60, "delivery", line=3)
    examples, supervision = tokenise(base, [short, long_answer, long_prompt], max_length=24)
    assert [example.row.line for example in examples] == [1, 2]
    assert (supervision.cut, supervision.lost) == ([2], [3])
    assert all(len(example.input_ids) <= 24 for example in examples)
    counted = sum(label != -100 for example in examples for label in example.labels)
    assert supervision.supervised == counted


def test_a_file_that_truncation_leaves_nothing_of_is_refused_with_its_lines(base):
    rows = [row("please " * 60, "delivery", line=line) for line in (4, 7)]
    with pytest.raises(NothingSupervised) as caught:
        tokenise(base, rows, max_length=24)
    assert "lines 4, 7" in caught.value.message
    assert caught.value.param == "max_length"


def test_a_template_that_never_teaches_to_stop_is_refused(base):
    template = base.training_template.replace(
        "<|end|>{% endgeneration %}", "{% endgeneration %}<|end|>"
    )
    assert template != base.training_template
    with pytest.raises(BaseUnavailable, match="would never stop"):
        tokenise(base, [row("Where?", "delivery")], template=template)


def test_a_base_that_is_not_there_is_named(tmp_path):
    from train.model import Base

    with pytest.raises(BaseUnavailable, match="can't be loaded"):
        Base(str(tmp_path / "nothing"), "cpu")


def test_of_a_preference_both_answers_follow_the_same_prompt(base):
    from train.dataset import prompt_ids

    asked = row("Where is my parcel?", "delivery")
    pair = Row(1, asked.messages, kind="preference", rejected="billing")
    (example,), supervision = tokenise(base, [pair])
    assert example.prompt == prompt_ids(pair.prompt, base.tokenizer)
    assert base.tokenizer.decode(example.completion) == "delivery<|end|>"
    assert base.tokenizer.decode(example.rejected) == "billing<|end|>"
    assert supervision.supervised == len(example.completion) + len(example.rejected)
    assert supervision.tokens == supervision.supervised + 2 * len(example.prompt)


def test_only_the_last_answer_of_a_preference_is_learned(base):
    messages = [("user", "one"), ("assistant", "yes"), ("user", "two"), ("assistant", "no")]
    talk = tuple({"role": role, "content": text} for role, text in messages)
    (example,), _ = tokenise(base, [Row(1, talk, kind="preference", rejected="maybe")])
    assert base.tokenizer.decode(example.completion) == "no<|end|>"


def test_a_preference_of_which_an_answer_is_cut_away_is_lost(base):
    pair = Row(4, row("please " * 60, "delivery").messages, kind="preference", rejected="billing")
    with pytest.raises(NothingSupervised, match="lines 4"):
        tokenise(base, [pair], max_length=24)


def test_a_rated_answer_needs_no_other(base):
    (example,), supervision = tokenise(
        base, [Row(1, row("a b").messages, kind="rated", good=False)]
    )
    assert example.rejected == []
    assert supervision.supervised == len(example.completion)


def test_a_text_is_learned_whole_in_pieces_and_ends_with_the_end(base):
    text = "the parcel was late again " * 20
    row_ = Row(1, ({"role": "assistant", "content": text},), kind="text")
    examples, supervision = tokenise(base, [row_], max_length=32)
    ids = [token for example in examples for token in example.input_ids]
    assert ids == [*base.tokenizer(text)["input_ids"], base.tokenizer.eos_token_id]
    assert {len(example.input_ids) for example in examples[:-1]} == {32}
    assert all(example.labels == [-100, *example.input_ids[1:]] for example in examples)
    assert (supervision.cut, supervision.lost) == ([], [])


@pytest.mark.parametrize(
    ("weight", "count"), [(1.0, 40), (3.0, 120), (0.25, 10), (1.5, 60), (0, 0)]
)
def test_a_row_counts_as_often_as_its_weight_says(weight, count):
    from train.dataset import weighted

    other = [row(f"other {n}", line=n) for n in range(5)]
    rows = [Row(n, row(f"ask {n}").messages, source="b", weight=weight) for n in range(40)]
    chosen = weighted([*other, *rows])
    assert len(chosen) == 5 + count
    assert chosen == weighted([*other, *rows])
    assert [r for r in chosen if not r.source] == other
