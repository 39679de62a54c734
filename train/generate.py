"""Batched greedy decoding with a plain transformers model and its KV cache.

Knows token ids only. Prompts of like length share a batch, padded on the left; an answer that has
ended leaves its batch, so that one long answer does not hold up the others' arithmetic. What all
prompts of a batch begin with (instructions, examples) is read once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache


@torch.inference_mode()
def generate(
    model: Any,
    prompts: Sequence[Sequence[int]],
    *,
    stop: set[int],
    pad: int,
    max_new_tokens: int,
    batch_tokens: int = 8192,
) -> list[list[int]]:
    """The most likely continuation of each prompt, token by token, without the stop token.

    `batch_tokens` bounds prompts × their longest length in one batch.
    """
    answers: list[list[int]] = [[] for _ in prompts]
    for batch in _batches([len(prompt) for prompt in prompts], batch_tokens):
        for index, answer in zip(
            batch,
            _decode(model, [prompts[i] for i in batch], stop, pad, max_new_tokens),
            strict=True,
        ):
            answers[index] = answer
    return answers


def _batches(lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    batches: list[list[int]] = []
    for index in order:
        if batches and (len(batches[-1]) + 1) * lengths[index] <= batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with; each keeps one of its own. 0 for one alone."""
    ordered = sorted(list(prompt) for prompt in prompts)
    first, last = ordered[0], ordered[-1]  # no two others differ earlier
    most = min(len(prompt) for prompt in prompts) - 1
    count = 0
    while count < most and first[count] == last[count]:
        count += 1
    return count if len(prompts) > 1 else 0


def _decode(
    model: Any, prompts: Sequence[Sequence[int]], stop: set[int], pad: int, max_new_tokens: int
) -> list[list[int]]:
    device = model.device
    shared = _shared(prompts)
    rests = [list(prompt[shared:]) for prompt in prompts]
    width = max(len(rest) for rest in rests)
    gaps = [width - len(rest) for rest in rests]
    tokens = torch.tensor(
        [[pad] * gap + rest for gap, rest in zip(gaps, rests, strict=True)], device=device
    )
    mask = torch.tensor(
        [[1] * shared + [0] * gap + [1] * (width - gap) for gap in gaps], device=device
    )
    positions = (mask.cumsum(-1) - 1)[:, shared:].clamp(min=0)
    cache = DynamicCache(config=model.config)
    if shared:
        start = torch.tensor([list(prompts[0][:shared])], device=device)
        model(input_ids=start, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompts))
    answers: list[list[int]] = [[] for _ in prompts]
    active = list(range(len(prompts)))
    for _ in range(max_new_tokens):
        logits = model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        chosen = logits.argmax(-1)
        keep = [i for i, token in enumerate(chosen.tolist()) if token not in stop]
        if not keep:
            break
        for i in keep:
            answers[active[i]].append(int(chosen[i]))
        if len(keep) < len(active):
            rows = torch.tensor(keep, device=device)
            cache.batch_select_indices(rows)
            chosen, mask, positions = chosen[rows], mask[rows], positions[rows]
            active = [active[i] for i in keep]
        tokens = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        positions = positions[:, -1:] + 1
    return answers
