"""How good a system's answers are as a whole: against hand-counted cases and the libraries' own."""

import json
import string
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.answers import Answers
from train.metrics import measure
from train.metrics.labels import OTHER, classification
from train.metrics.records import records
from train.metrics.texts import common, rouge_l, texts

SCHEMA = {"type": "object", "required": ["party"], "properties": {"days": {"type": "integer"}}}
LEAVES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
    ),
    max_leaves=5,
)


def test_labels_as_counted_by_hand():
    found = classification(["a", " b\n", "nonsense", "a"], ["a", "b", "b", "b"], ("a", "b"))
    assert found["accuracy"] == 0.5
    assert found["labels"]["a"] == {"precision": 0.5, "recall": 1.0, "f1": 0.666667, "support": 1}
    assert found["labels"]["b"] == {"precision": 1.0, "recall": 0.333333, "f1": 0.5, "support": 3}
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2, abs=1e-6)
    assert found["confusion"] == {"a": {"a": 1}, "b": {"a": 1, "b": 1, OTHER: 1}}


def test_labels_as_scikit_learns_own_report_has_them():
    from sklearn.metrics import classification_report

    expected = ["x", "y", "z", "x", "y", "z", "x"]
    given_ = ["x", "z", "z", "y", "y", "z", "x"]
    report = classification_report(expected, given_, output_dict=True)
    found = classification(given_, expected)
    assert found["macro_f1"] == pytest.approx(report["macro avg"]["f1-score"], abs=1e-6)
    for label in "xyz":
        assert found["labels"][label]["recall"] == pytest.approx(report[label]["recall"], abs=1e-6)


def test_a_base_that_always_says_the_same_has_a_poor_macro_f1():
    found = classification(["a"] * 10, ["a"] * 9 + ["b"])
    assert found["accuracy"] == 0.9
    assert found["macro_f1"] < 0.5


@given(st.lists(st.tuples(st.sampled_from("abx"), st.sampled_from("abc")), min_size=1, max_size=30))
def test_the_confusion_holds_every_answer_once(pairs):
    found = classification([a for a, _ in pairs], [b for _, b in pairs], ("a", "b", "c"))
    counted = [count for row in found["confusion"].values() for count in row.values()]
    assert sum(counted) == len(pairs)
    assert found["accuracy"] == pytest.approx(
        sum(row.get(label, 0) for label, row in found["confusion"].items()) / len(pairs), abs=1e-6
    )


def test_records_as_counted_by_hand():
    found = records(
        ['{"party": "Buyer", "days": 3}', '{"days": 4, "party": "Seller"}', "{", '{"x": 1}'],
        ['{"days": 3, "party": "Buyer"}', *['{"party": "Seller", "days": 5}'] * 3],
        SCHEMA,
    )
    assert (found["parses"], found["valid"], found["exact"]) == (0.75, 0.5, 0.25)
    # 5 fields were said, 8 were wanted, 3 are right.
    assert (found["precision"], found["recall"]) == (0.6, 0.375)
    assert found["f1"] == pytest.approx(2 * 0.6 * 0.375 / 0.975, abs=1e-6)
    assert found["fields"]["days"] == {
        "exact": 0.25, "n": 4, "precision": 0.5, "recall": 0.25,
        "f1": pytest.approx(1 / 3, abs=1e-6), "support": 4,
    }  # fmt: skip


def test_a_field_is_exact_where_all_its_values_are_there_and_no_other():
    items = '{"items": [{"price": 1}, {"price": 2}]}'
    found = records(
        ['{"items": [{"price": 2}, {"price": 1}]}', '{"items": [{"price": 1}]}', '{"items": 3}'],
        [items, items, '{"total": 3}'],
    )["fields"]
    assert (found["items[].price"]["n"], found["items[].price"]["exact"]) == (2, 0.5)
    assert found["items[].price"]["support"] == 4
    assert (found["total"]["n"], found["total"]["exact"]) == (1, 0.0)
    extra = records(['{"items": [{"price": 1}, {"price": 2}, {"price": 3}]}'], [items])["fields"]
    assert (extra["items[].price"]["recall"], extra["items[].price"]["exact"]) == (1.0, 0.0)


def test_without_a_schema_nothing_is_said_of_validity():
    assert records(["{}"], ["{}"])["valid"] is None


def test_fields_lie_at_paths_and_lists_count_in_any_order():
    found = records(['{"a": {"b": [2, 1]}}'], ['{"a": {"b": [1, 2]}}'])
    assert (found["f1"], found["exact"]) == (1.0, 0.0)
    assert list(found["fields"]) == ["a.b[]"]


def test_true_is_not_one_in_a_record_either():
    assert records(['{"a": 1}'], ['{"a": true}'])["f1"] == 0.0


def test_an_answer_that_nests_without_end_does_not_parse_or_is_wrong():
    for depth in (500, 900, 5000):
        found = records(["[" * depth + "]" * depth], ['{"a": 1}'])
        assert found["exact"] == 0.0


@given(st.dictionaries(st.text(max_size=2), LEAVES, min_size=1, max_size=3))
def test_a_record_is_all_right_against_itself(record):
    text = json.dumps(record)
    found = records([text], [text])
    assert (found["parses"], found["exact"], found["f1"]) == (1.0, 1.0, 1.0)


def test_texts_as_sacrebleu_has_them():
    # The example of sacrebleu's README ("Using SacreBLEU from Python"), its first reference alone.
    import sacrebleu

    expected = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    given_ = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    found = texts(given_, expected)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(given_, [expected]).score / 100)
    assert found["chrf"] == pytest.approx(
        sacrebleu.corpus_chrf(given_, [expected]).score / 100, abs=1e-6
    )
    assert "nrefs:1" in found["signatures"]["chrf"]


def test_the_same_text_is_perfect_and_a_strange_one_worth_nothing():
    text = "the parcel went back to the sender yesterday"
    assert texts([text], [text]) | {"signatures": 0} == {
        "chrf": 1.0, "bleu": pytest.approx(1.0), "rouge_l": 1.0, "signatures": 0
    }  # fmt: skip
    assert texts(["zzz"], [text])["rouge_l"] == 0.0


def test_rouge_l_as_lin_worked_it():
    # Lin 2004, §3.1: "police killed the gunman" against two answers, 3 and 2 words in common.
    reference = "police killed the gunman"
    assert rouge_l("police kill the gunman", reference) == 0.75
    assert rouge_l("the gunman kill police", reference) == 0.5
    assert rouge_l("Η αστυνομία", "η αστυνομία") == 1.0
    assert rouge_l("", "!") == 1.0
    assert rouge_l("", "a") == 0.0


@given(*[st.text(string.ascii_lowercase[:3], max_size=7)] * 2)
def test_the_common_subsequence_agrees_with_trying_all(left, right):
    theirs = {
        "".join(chosen) for size in range(len(right) + 1) for chosen in combinations(right, size)
    }
    best = max(
        size
        for size in range(len(left) + 1)
        for chosen in combinations(left, size)
        if "".join(chosen) in theirs
    )
    assert common(left, right) == best


def test_each_kind_of_answer_has_its_figures():
    assert "macro_f1" in measure(Answers("label", ("a",)), ["a"], ["a"])
    assert "parses" in measure(Answers("json"), ["{}"], ["{}"])
    assert "chrf" in measure(Answers("text"), ["a"], ["a"])
    with pytest.raises(ValueError, match="1 answers for 2 references"):
        measure(Answers("text"), ["a"], ["a", "b"])
