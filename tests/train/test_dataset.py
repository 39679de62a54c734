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
