"""What an answer is worth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.answers import Answers, chrf, summarise
from train.errors import InvalidSpec

SCHEMA = {
    "type": "object",
    "properties": {"party": {"type": "string"}, "days": {"type": ["integer", "null"]}},
    "required": ["party"],
}


def test_the_kind_is_seen_from_examples():
    assert Answers.of({}, ["billing", "delivery"] * 10).kind == "label"
    assert Answers.of({}, ['{"a": 1}', '{"a": 2}']).kind == "json"
    assert Answers.of({}, [f"answer {i} is another" for i in range(30)]).kind == "text"


def test_the_adapters_word_counts_for_more_than_the_examples():
    answers = Answers.of({"kind": "text"}, ["billing"] * 20)
    assert (answers.kind, answers.labels) == ("text", ())


def test_a_label_is_right_or_wrong_whatever_the_space_around_it():
    answers = Answers.of({"kind": "label", "labels": ["billing", "delivery"]}, [])
    assert answers.score(" billing\n", "billing").exact
    assert not answers.score("Billing", "billing").exact
    assert not answers.score("weather", "billing").valid


def test_json_counts_by_value_not_by_spelling():
    answers = Answers.of({"kind": "json", "schema": SCHEMA}, [])
    score = answers.score('{"days":3,  "party":"Buyer"}', '{"party": "Buyer", "days": 3}')
    assert (score.exact, score.valid, score.fields) == (True, True, 1.0)


def test_half_right_json_gets_half_its_fields_and_is_not_exact():
    answers = Answers.of({"kind": "json", "schema": SCHEMA}, [])
    score = answers.score('{"party": "Buyer", "days": 4}', '{"party": "Buyer", "days": 3}')
    assert (score.exact, score.valid, score.fields) == (False, True, 0.5)


@pytest.mark.parametrize("given_", ["", "{", '{"party": 3}', "[]", "null", "true"])
def test_what_is_not_the_json_asked_for_is_not_valid(given_):
    answers = Answers.of({"kind": "json", "schema": SCHEMA}, [])
    assert not answers.score(given_, '{"party": "Buyer"}').valid


def test_a_schema_that_is_none_is_refused():
    with pytest.raises(InvalidSpec, match="not a JSON Schema"):
        Answers.of({"kind": "json", "schema": {"type": "sentence"}}, [])


def test_true_is_not_one():
    answers = Answers.of({"kind": "json"}, [])
    assert not answers.score('{"a": 1}', '{"a": true}').exact


@given(st.text(min_size=1).filter(str.strip))
def test_chrf_of_a_text_with_itself_is_one(text):
    assert chrf(text, text) == 1.0


@given(st.text(), st.text())
def test_chrf_is_between_nothing_and_one(left, right):
    assert 0.0 <= chrf(left, right) <= 1.0


def test_chrf_falls_with_distance():
    reference = "the parcel is late"
    near, far = chrf("the parcels are late", reference), chrf("my invoice", reference)
    assert 1.0 > near > far


@given(st.text(max_size=40), st.text(max_size=40), st.sampled_from(["label", "json", "text"]))
def test_no_answer_breaks_the_judge(given_, expected, kind):
    score = Answers.of({"kind": kind}, [expected]).score(given_, expected)
    assert 0.0 <= score.value <= 1.0


def test_a_summary_names_the_lines_that_came_out_wrong():
    answers = Answers.of({"kind": "label", "labels": ["a", "b"]}, [])
    scores = [answers.score(x, "a") for x in ("a", "b", "a", "c")]
    figures = summarise(scores, [3, 5, 8, 13])
    assert (figures["exact"], figures["wrong"], figures["valid"]) == (0.5, [5, 13], 0.75)
