"""Chats to padded batches of token ids with a weight for each token.

Chats of one length together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from train.base.chat import Chat
from train.base.corpus import one_chat
from train.base.tokenizer import ASSISTANT, BEGIN, END, SYSTEM, USER

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

POOL = 1024  # chats that are sorted by length together
LONGEST = 640  # tokens; longer chats are cut
# What the assistant does not say is a target too, but only a part of it: it teaches which words
# keep company, costs output-layer work, and half of it is noise that can't be predicted.
OTHER_SHARE, OTHER_WEIGHT = 0.15, 0.5
OPENING = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


@dataclass(frozen=True)
class Batch:
    """`ids` and `weights` of shape (chats, tokens), and how many tokens are no padding."""

    ids: Tensor
    weights: Tensor
    tokens: int

    def rows(self, first: int, step: int) -> Batch:
        """Every `step`-th chat from `first` on, as a view."""
        return Batch(self.ids[first::step], self.weights[first::step], self.tokens // step)


class Encoder:
    """Chats to ids and weights, exactly as the chat template writes them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        marks = (BEGIN, END, SYSTEM, USER, ASSISTANT)
        self._ids = {mark: int(tokenizer.token_to_id(mark) or 0) for mark in marks}

    def encode(self, chats: list[Chat], rng: random.Random) -> list[tuple[list[int], list[float]]]:
        """Ids and weights of each chat.

        1 for what the assistant says (end mark included), for the rest 0 or less than 1.
        """
        texts = [text for chat in chats for _, text in chat.turns]
        pieces = iter(self._tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        rows = []
        for chat in chats:
            ids, weights = [self._ids[BEGIN]], [0.0]
            for role, _ in chat.turns:
                inner = next(pieces).ids
                ids += [self._ids[OPENING[role]], *inner, self._ids[END]]
                weights.append(0.0)
                if role == "assistant":
                    weights += [1.0] * (len(inner) + 1)
                else:
                    weights += [
                        OTHER_WEIGHT if rng.random() < OTHER_SHARE else 0.0
                        for _ in range(len(inner) + 1)
                    ]
            rows.append((ids[:LONGEST], weights[:LONGEST]))
        return rows


def batches(
    encoder: Encoder, seed: int, tokens: int, pad: int, progress: Callable[[], float]
) -> Iterator[Batch]:
    """Endless batches of about `tokens` tokens.

    `progress` says where in the curriculum the run is.
    """
    import torch

    rng = random.Random(seed)
    while True:
        rows = encoder.encode([one_chat(rng, progress()) for _ in range(POOL)], rng)
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], list[float]]]] = [[]]
        for row in rows:
            if groups[-1] and (len(groups[-1]) + 1) * len(row[0]) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            width = max(len(ids) for ids, _ in group)
            yield Batch(
                torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group]),
                torch.tensor([w + [0.0] * (width - len(w)) for _, w in group]),
                sum(len(ids) for ids, _ in group),
            )
