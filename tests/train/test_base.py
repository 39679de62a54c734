"""The recipe of switchyard-tiny and the model that is committed."""

from __future__ import annotations

import itertools
import json
import random
from itertools import islice
from pathlib import Path

import pytest

from train.base import card, recipe
from train.base.batches import POOL
from train.base.chat import Chat, chat
from train.base.corpus import SKILLS, chats, one_chat, weights
from train.base.lexicon import load_lexicon, number_in_words
from train.base.schedule import rate

MODEL = Path(card.__file__).parent / "switchyard-tiny"


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODEL)


def test_the_same_seed_gives_the_same_chats():
    assert list(islice(chats(3), 200)) == list(islice(chats(3), 200))
    assert list(islice(chats(3), 200)) != list(islice(chats(4), 200))


@pytest.mark.parametrize("name", SKILLS)
def test_each_skill_writes_whole_chats_that_end_with_an_answer(name):
    rng = random.Random(name)
    skill = SKILLS[name][0]
    for _ in range(200):
        made = skill(rng, load_lexicon())
        roles = [role for role, _ in made.turns if role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(text.strip() == text and text for _, text in made.turns), made


def test_the_curriculum_starts_with_repeats_and_ends_with_records():
    names = list(SKILLS)
    early, late = weights(0.0), weights(1.0)
    assert max(names, key=lambda n: early[names.index(n)]) == "plain repeat"
    assert late[names.index("json rule")] > late[names.index("plain repeat")]


def test_records_of_the_corpus_are_json():
    rng = random.Random(5)
    found = 0
    while found < 100:
        made = one_chat(rng, 1.0)
        if made.skill.startswith("json") and made.skill != "json read":
            json.loads(made.turns[-1][1])
            found += 1


def test_numbers_are_written_in_words():
    assert [number_in_words(n) for n in (0, 13, 30, 45, 100, 528)] == [
        "zero",
        "thirteen",
        "thirty",
        "forty-five",
        "one hundred",
        "five hundred and twenty-eight",
    ]


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    assert rate(0.0) < 0.1 < rate(0.5) == 1.0
    assert rate(1.0) == 0.0


def test_the_loss_falls_within_a_few_steps(tmp_path):
    seen: list[recipe.Progress] = []
    # Two seconds for each look at the clock, once the first chats are made (a look for each): as
    # many steps on a slow machine as on a fast one.
    clock = itertools.chain(itertools.repeat(0.0, POOL + 2), itertools.count(0.0, 2.0))
    report = recipe.build(
        tmp_path / "model",
        minutes=1.0,
        threads=2,
        on_progress=seen.append,
        report_every=4,
        batch_tokens=512,
        clock=clock.__next__,
    )
    assert len(seen) == 3
    assert report.parameters < 3_000_000
    assert report.final_loss < report.first_loss - 0.5
    assert seen == report.curve
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "model" / ".partial").exists()


def test_the_committed_files_have_the_committed_digests():
    digests = card.read_digests(MODEL)
    assert set(digests) == set(card.DIGESTED)
    assert digests == {name: card.digest(MODEL / name) for name in digests}
    assert (MODEL / "model.safetensors").stat().st_size <= 12_000_000


def test_the_tokenizer_gives_back_what_it_read(tokenizer):
    texts = [
        "The Supplier shall pay Zworblin Ltd 45 days' notice.",
        '{"party": "Zworblin Ltd", "days": 45, "law": null}',
        "  two  spaces,\n\ttabs, ünïcödé, 東京 and 🙂",
        "",
    ]
    for text in texts:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_a_word_has_the_same_pieces_after_a_space_and_after_a_quote(tokenizer):
    plain, quoted = tokenizer.tokenize(" Zworblin"), tokenizer.tokenize('"Zworblin')
    assert "".join(plain).removeprefix("Ġ") == "".join(quoted).removeprefix('"')
    assert plain[-1] == quoted[-1]


def test_special_tokens_are_single_and_padding_is_not_the_end(tokenizer):
    for token in ("<|begin|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"):
        assert len(tokenizer.encode(token, add_special_tokens=False)) == 1
    assert tokenizer.eos_token == "<|end|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


def test_the_template_marks_exactly_the_assistant_tokens_and_their_end(tokenizer):
    for made in islice(chats(21), 100):
        marked = tokenizer.apply_chat_template(
            made.messages, return_dict=True, return_assistant_tokens_mask=True
        )
        said = [i for i, m in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if m]
        expected: list[int] = []
        for role, text in made.turns:
            if role == "assistant":
                expected += tokenizer.encode(text, add_special_tokens=False)
                expected.append(tokenizer.eos_token_id)
        assert said == expected


def test_training_encodes_chats_as_the_template_writes_them(tokenizer):
    from train.base.batches import Encoder

    encoder = Encoder(tokenizer.backend_tokenizer)
    sample = [c for c in islice(chats(22), 200)]
    rows = encoder.encode(sample, random.Random(0))
    for made, (ids, kept) in zip(sample, rows, strict=True):
        marked = tokenizer.apply_chat_template(
            made.messages, return_dict=True, return_assistant_tokens_mask=True
        )
        assert ids == marked["input_ids"][: len(ids)]
        assert [w == 1.0 for w in kept] == [m == 1 for m in marked["assistant_masks"]][: len(ids)]


def test_the_generation_prompt_ends_where_the_answer_begins(tokenizer):
    made: Chat = chat(random.Random(0), "x", ("hello", "yes"), system="")
    prompt = tokenizer.apply_chat_template(
        made.messages[:-1], add_generation_prompt=True, tokenize=False
    )
    assert prompt == "<|begin|><|user|>hello<|end|><|assistant|>"
    whole = tokenizer.apply_chat_template(made.messages, tokenize=False)
    assert whole == prompt + "yes<|end|>"


def test_the_committed_model_copies_words_that_it_has_never_seen():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from train.base.evaluate import answers, held_out_chats

    tokens = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL).eval()
    wanted = held_out_chats(20)["copy 3 unseen"]
    right = sum(
        a == c.turns[-1][1] for a, c in zip(answers(model, tokens, wanted), wanted, strict=True)
    )
    assert right >= 15
