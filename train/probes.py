"""Probes: held-out conversations and the log-probabilities that an engine must agree with.

Teacher-forced, one conversation at a time without padding, with the adapter and without it, in the
precision that the adapter was evaluated in.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from train.dataset import prompt_ids
from train.model import Base
from train.rows import Row
from train.split import rank_by_hash

_DIGITS = 6


def probe(
    model: Any, base: Base, held_out: Sequence[Row], rest: Sequence[Row], count: int
) -> dict[str, Any]:
    """`count` probes in the form that the swap reads; fewer if there are fewer rows.

    Held-out rows come first; training rows fill up what is missing. Natural logarithms, one for
    each token after `prompt_length`.
    """
    probes: list[dict[str, Any]] = []
    ranked = (*rank_by_hash(held_out, "probes-1"), *rank_by_hash(rest, "probes-1"))
    for row in itertools.chain.from_iterable(map(_talks, ranked)):
        if len(probes) == count:
            break
        prompt = prompt_ids(row.prompt, base.tokenizer)
        whole = list(
            base.tokenizer.apply_chat_template(list(row.messages), tokenize=True, return_dict=True)[
                "input_ids"
            ]
        )
        end = _answer_end(whole, len(prompt), base.stop_tokens())
        if whole[: len(prompt)] != prompt or end is None or end > base.context:
            continue  # the template writes this row in another way when the answer is known
        ids = whole[:end]
        model.set_adapter("default")
        adapted = _logprobs(model, ids, len(prompt))
        with model.disable_adapter():
            plain = _logprobs(model, ids, len(prompt))
        probes.append(
            {
                "messages": list(row.messages),
                "token_ids": ids,
                "prompt_length": len(prompt),
                "logprobs": adapted,
                "base_logprobs": plain,
            }
        )
    return {"probes": probes, "dtype": str(model.dtype).removeprefix("torch.")}


def _talks(row: Row) -> list[Row]:
    """A row itself; a plain text as conversations, each 16 words and the next 16: engine and
    trainer only have to agree, and the engine is asked in chats."""
    if row.kind != "text":
        return [row]
    words = row.answer.split()
    pairs = [
        (" ".join(words[i : i + 16]), " ".join(words[i + 16 : i + 32]))
        for i in range(0, len(words), 32)
    ]
    return [
        Row(
            row.line,
            ({"role": "user", "content": asked}, {"role": "assistant", "content": said}),
        )
        for asked, said in pairs
        if said
    ]


def _answer_end(ids: Sequence[int], start: int, stop: set[int]) -> int | None:
    """One past the token that ends the answer."""
    return next((i + 1 for i in range(start, len(ids)) if ids[i] in stop), None)


@torch.inference_mode()
def _logprobs(model: Any, ids: Sequence[int], start: int) -> list[float]:
    tokens = torch.tensor([list(ids)], device=model.device)
    logits = model(input_ids=tokens, use_cache=False).logits[0, start - 1 : -1].float()
    chosen = logits.log_softmax(-1).gather(1, tokens[0, start:, None]).squeeze(1)
    return [round(value, _DIGITS) for value in chosen.tolist()]
