"""The table that puts methods side by side."""

from train.comparison import COLUMNS, compare


def evaluation(score, **more):
    systems = {"base_zero_shot": 0.1, "base_few_shot": 0.4, "adapter": score}
    figures = {name: {"score": s, "exact": s, "valid": 1.0, "n": 40} for name, s in systems.items()}
    fits = {"base": {"perplexity": 9.0}, "adapter": {"perplexity": 2.0}}
    return {"kind": "label", "n": 40, "perplexity": fits, **figures, **more}


def test_the_base_comes_first_and_once():
    table = compare({"lora": evaluation(0.9), "dora": evaluation(0.8)})
    assert [row["system"] for row in table] == ["base", "base, few-shot", "lora", "dora"]
    assert [row["score"] for row in table] == [0.1, 0.4, 0.9, 0.8]
    assert [row["perplexity"] for row in table] == [9.0, None, 2.0, 2.0]
    assert all(tuple(row) == COLUMNS for row in table)


def test_what_compiling_left_out_stands_beside_the_score():
    table = compare({"full": evaluation(0.9, compiled={"method": "full", "error": 0.31})})
    assert table[-1]["error"] == 0.31


def test_a_method_that_was_not_evaluated_has_no_row():
    assert compare({"lora": {"kind": None, "n": 0}}) == []


def test_an_evaluation_without_examples_or_perplexity_leaves_gaps():
    table = compare({"kto": {**evaluation(0.9), "base_few_shot": None, "perplexity": None}})
    assert [row["system"] for row in table] == ["base", "kto"]
    assert table[0]["perplexity"] is None
