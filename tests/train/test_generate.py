"""Greedy decoding equals transformers' own, whatever shares the batch."""

import pytest

from train.settings import SHIPPED_BASE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base():
    from train.model import Base

    return Base(str(SHIPPED_BASE), "cpu")


@pytest.fixture(scope="module")
def model(base):
    return base.load().eval()


@pytest.fixture(scope="module")
def prompts(base):
    from train.dataset import prompt_ids

    texts = ("Hello", "What is the name of the box that Ada has?", "Say red.", "one two " * 20)
    return [prompt_ids([{"role": "user", "content": text}], base.tokenizer) for text in texts]


def decode(base, model, prompts, **options):
    from train.generate import generate

    pad = base.tokenizer.pad_token_id
    return generate(model, prompts, stop=base.stop_tokens(), pad=pad, max_new_tokens=12, **options)


def test_a_batch_says_what_each_prompt_would_have_said_alone(base, model, prompts):
    together = decode(base, model, prompts)
    assert together == [decode(base, model, [prompt])[0] for prompt in prompts]
    assert together == decode(base, model, prompts, batch_tokens=1)


def test_what_prompts_share_is_read_once_and_changes_nothing(base, model, prompts):
    start = prompts[3][:-1]
    crowd = [[*start, *prompt] for prompt in prompts]
    together = decode(base, model, crowd)
    assert together == [decode(base, model, [prompt])[0] for prompt in crowd]
    assert len({tuple(answer) for answer in together}) > 1


def test_it_says_what_transformers_says(base, model, prompts):
    import torch

    for prompt, answer in zip(prompts, decode(base, model, prompts), strict=True):
        expected = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=12,
            do_sample=False,
            use_cache=True,
            pad_token_id=base.tokenizer.pad_token_id,
        )[0, len(prompt) :].tolist()
        ends = [i for i, token in enumerate(expected) if token in base.stop_tokens()]
        assert answer == (expected[: ends[0]] if ends else expected)
