"""The example tenants' files: reproducible, clean where they should be, new to the base model."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from itertools import islice
from pathlib import Path

import jsonschema
import pytest

from train.base.corpus import chats
from train.base.lexicon import load_lexicon

EXAMPLES = Path(__file__).parents[2] / "examples"
CLEAN = (
    "acme/heldout.jsonl",
    "acme/corrections.jsonl",
    "acme/shifted_heldout.jsonl",
    "lex/heldout.jsonl",
)
ACME = tomllib.loads((EXAMPLES / "acme/patterns.toml").read_text("utf-8"))
LEX = tomllib.loads((EXAMPLES / "lex/patterns.toml").read_text("utf-8"))
NEW_LABELS = {"pairing", "firmware"}


def load_generator():
    spec = importlib.util.spec_from_file_location("examples_generate", EXAMPLES / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(path: str) -> list[dict]:
    return [json.loads(line) for line in (EXAMPLES / path).read_text("utf-8").splitlines()]


def good_rows(path: str) -> list[dict]:
    """Rows that a loader should keep."""
    kept = []
    for line in (EXAMPLES / path).read_text("utf-8").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        turns = row["messages"]
        if (
            isinstance(turns, list)
            and [t["role"] for t in turns] == ["system", "user", "assistant"]
            and all(isinstance(t["content"], str) and t["content"] for t in turns)
        ):
            kept.append(row)
    return kept


def question(row: dict) -> str:
    return row["messages"][1]["content"]


def answer(row: dict) -> str:
    return row["messages"][-1]["content"]


def skeletons(text: str) -> set[str]:
    """The sentences of a pattern with every slot masked, letters and spaces only."""
    masked = re.sub(r"\{\w+\}", "_", text)
    parts = re.split(r"[.?!:]+", masked)
    shapes = {" ".join(re.findall(r"[a-z_]+", part.lower())) for part in parts}
    return {shape for shape in shapes if re.search("[a-z]", shape)}


def part_skeletons(table: dict, kinds: str, part: str) -> set[str]:
    found: set[str] = set()
    for patterns in table[kinds].values():
        for pattern in patterns[part]:
            found |= skeletons(pattern)
    for sentences in table[part].values():
        for sentence in sentences:
            found |= skeletons(sentence)
    return found


def masked_text(text: str, table: dict) -> set[str]:
    """The sentences of a real row with slot words, numbers, names and days masked."""
    words = sorted({w for ws in table["slots"].values() for w in ws}, key=len, reverse=True)
    text = re.sub("|".join(rf"\b{re.escape(w)}s?\b" for w in words), "_", text, flags=re.I)
    text = re.sub(r"\b\w+day\b", "_", text)
    text = re.sub(r"[#A-Z]*-?\d[\d.]*", "_", text)
    return {
        " ".join(re.findall(r"[a-z_]+", part.lower())) for part in re.split(r"[.?!:\n]+", text)
    } - {"", "_"}


def test_the_committed_files_come_out_of_the_generator_bit_for_bit():
    for path, text in load_generator().files().items():
        assert (EXAMPLES / path).read_text("utf-8") == text, path


@pytest.mark.parametrize("tenant", ["acme", "lex"])
def test_there_is_enough_of_each(tenant):
    assert len(good_rows(f"{tenant}/train.jsonl")) >= 1_000
    assert len(rows(f"{tenant}/heldout.jsonl")) >= 200


@pytest.mark.parametrize("tenant", ["acme", "lex"])
def test_five_rows_of_each_training_file_are_bad(tenant):
    lines = (EXAMPLES / f"{tenant}/train.jsonl").read_text("utf-8").splitlines()
    assert len(lines) - len(good_rows(f"{tenant}/train.jsonl")) == 5


@pytest.mark.parametrize("path", CLEAN)
def test_the_other_files_are_clean(path):
    assert good_rows(path) == rows(path)


def test_training_and_held_out_patterns_of_acme_have_no_sentence_in_common():
    train = part_skeletons(ACME, "labels", "train")
    held = part_skeletons(ACME, "labels", "heldout")
    assert not train & held


def test_corrections_and_shifted_held_out_patterns_have_no_sentence_in_common():
    def of(part: str, asides: str) -> set[str]:
        groups = [p[part] for p in ACME["shifted"]["labels"].values()]
        texts = [text for group in groups for text in group] + ACME["shifted"][asides]
        return set().union(*(skeletons(text) for text in texts))

    assert not of("corrections", "asides_corrections") & of("heldout", "asides_heldout")


def test_training_and_held_out_patterns_of_lex_have_no_sentence_in_common():
    train = part_skeletons(LEX, "types", "train")
    assert not train & part_skeletons(LEX, "types", "heldout")


@pytest.mark.parametrize(("tenant", "table"), [("acme", ACME), ("lex", LEX)])
def test_no_sentence_of_a_held_out_row_has_the_shape_of_a_training_row(tenant, table):
    train = set().union(
        *(masked_text(question(r), table) for r in good_rows(f"{tenant}/train.jsonl"))
    )
    held = set().union(*(masked_text(question(r), table) for r in rows(f"{tenant}/heldout.jsonl")))
    assert {s for s in train & held if len(s.split()) > 2} == set()


def test_rows_say_which_list_their_pattern_is_from():
    assert {r["pattern"][0] for r in good_rows("acme/train.jsonl")} == {"t"}
    assert {r["pattern"][0] for r in rows("acme/heldout.jsonl")} == {"h"}
    assert {r["pattern"][0] for r in rows("acme/corrections.jsonl")} == {"c"}
    assert {r["pattern"][0] for r in rows("acme/shifted_heldout.jsonl")} == {"s"}
    assert {r["pattern"][0] for r in good_rows("lex/train.jsonl")} == {"t"}
    assert {r["pattern"][0] for r in rows("lex/heldout.jsonl")} == {"h"}


def test_the_new_labels_are_new():
    assert not NEW_LABELS & {answer(r) for r in good_rows("acme/train.jsonl")}
    assert not NEW_LABELS & {answer(r) for r in rows("acme/heldout.jsonl")}
    for path in ("acme/corrections.jsonl", "acme/shifted_heldout.jsonl"):
        answers = [answer(r) for r in rows(path)]
        assert len(answers) >= 150
        assert 0.5 < sum(a in NEW_LABELS for a in answers) / len(answers) < 0.9


def test_shifted_traffic_has_no_answers_and_shares_no_text_with_the_held_out_part():
    traffic = rows("acme/shifted_prompts.jsonl")
    assert all([t["role"] for t in r["messages"]] == ["system", "user"] for r in traffic)
    held = {question(r) for r in rows("acme/shifted_heldout.jsonl")}
    assert not held & {question(r) for r in traffic}


def test_every_answer_of_lex_matches_the_schema_and_is_copied_from_the_clause():
    schema = json.loads((EXAMPLES / "lex/schema.json").read_text("utf-8"))
    for row in good_rows("lex/train.jsonl") + rows("lex/heldout.jsonl"):
        record = json.loads(answer(row))
        jsonschema.validate(record, schema)
        for key in ("type", "party", "law", "term"):
            assert record[key] is None or record[key] in question(row)


def test_the_base_model_was_never_shown_a_tenants_sentence_label_or_record():
    tables = [(ACME, "labels", ("train", "heldout")), (LEX, "types", ("train", "heldout"))]
    told: set[str] = set()
    for table, kinds, parts in tables:
        for part in parts:
            told |= part_skeletons(table, kinds, part)
    told |= {
        s
        for parts in ACME["shifted"]["labels"].values()
        for patterns in parts.values()
        for pattern in patterns
        for s in skeletons(pattern)
    }
    # A shape of three words or fewer ("is it the _") is English, nobody's task.
    telling = sorted(s for s in told if sum(word != "_" for word in s.split()) > 3)
    assert len(telling) > 150
    slot = r"\w+(?: \w+){0,3}"
    shapes = [re.compile(rf"\b{shape.replace('_', slot)}\b") for shape in telling]
    labels = set(ACME["labels"]) | NEW_LABELS | set(LEX["types"])
    lexicon = load_lexicon()
    assert not labels & {theme.name for theme in lexicon.asked_themes}
    keys = list(json.loads(answer(good_rows("lex/train.jsonl")[0])))
    systems = {
        r["messages"][0]["content"] for t in ("acme", "lex") for r in rows(f"{t}/heldout.jsonl")
    }
    texts = []
    for made in islice(chats(77), 6_000):
        for role, text in made.turns:
            assert role != "system" or text not in systems
            # A label is never what a whole chat asks for, unless the word stands in the prompt.
            if role == "assistant" and made.skill in ("about", "word list"):
                assert text not in labels
            if role == "assistant" and text.startswith("{"):
                assert list(json.loads(text)) != keys
            texts.append(" ".join(re.findall(r"[a-z]+", text.lower())))
    corpus = "\n".join(texts)
    assert [shape.pattern for shape in shapes if shape.search(corpus)] == []
