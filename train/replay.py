"""Replay: general rows among the tenant's own, so that an adapter forgets less of its base.

The prompts are made up, by the generators that the shipped base was trained with; the answers are
the base's own, decoded greedily, so that they pull the adapter to nothing new. The same seed and
base give the same rows. They are learned from, and never stop training or measure it. Rows of a
file are replayed as they stand, by train.general.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from train.dataset import prompt_ids
from train.general import prompts
from train.generate import generate
from train.rows import Row

ANSWER_TOKENS = 48
_TRIES = 3
"""Prompts asked for each row wanted: those too long, or without an answer, are passed over."""


def replayed(model: Any, base: Any, rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """About `share` general rows for each of `rows`, answered by `model` as it is: call it before
    it has an adapter. Lines count on from -1 downwards: they are in no file."""
    wanted = round(share * len(rows))
    room = base.context - ANSWER_TOKENS
    asked = [
        (messages, ids)
        for messages in itertools.islice(prompts(seed), _TRIES * wanted)
        if len(ids := prompt_ids(messages, base.tokenizer)) <= room
    ][:wanted]
    if not asked:
        return []
    answers = generate(
        model,
        [ids for _, ids in asked],
        stop=base.stop_tokens(),
        pad=base.tokenizer.pad_token_id,
        max_new_tokens=ANSWER_TOKENS,
    )
    found: list[Row] = []
    for (messages, _), tokens in zip(asked, answers, strict=True):
        said = base.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        if said and len(tokens) < ANSWER_TOKENS:  # one cut short would teach not to stop
            spoken = (*messages, {"role": "assistant", "content": said})
            found.append(Row(-1 - len(found), spoken, {"replay": True}, source="replay"))
    return found
