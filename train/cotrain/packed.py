"""Rows of different lengths through a base without padding: laid end to end, told apart where
tokens meet, which is in attention only.

Works with every architecture of transformers that takes its attention from the attention
interface. Knows nothing about adapters.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from train.dataset import IGNORED, Example
from train.errors import InvalidSpec

NAME = "switchyard_packed"


@dataclass(frozen=True)
class Rows:
    """Rows of like length, padded on the right for attention: `spread` (rows · longest) says which
    token stands where, `back` where each of `tokens` then stands."""

    count: int
    longest: int
    spread: torch.Tensor
    back: torch.Tensor
    tokens: torch.Tensor


@dataclass(frozen=True)
class Packed:
    """Examples laid end to end. `ids` and `positions` are (1, tokens); `kept` are the positions
    that predict a supervised token, `targets` those tokens, both in the order of the examples.
    `longest` is the longest example's length."""

    ids: torch.Tensor
    positions: torch.Tensor
    kept: torch.Tensor
    targets: torch.Tensor
    groups: list[Rows]
    longest: int

    @classmethod
    def of(cls, examples: Sequence[Example], device: Any) -> Packed:
        """Lay them out."""
        lengths = [len(example.input_ids) for example in examples]
        starts = [0, *itertools.accumulate(lengths)]
        ids: list[int] = []
        positions: list[int] = []
        kept: list[int] = []
        targets: list[int] = []
        for example, length, start in zip(examples, lengths, starts, strict=False):
            ids += example.input_ids
            positions += range(length)
            for at, label in enumerate(example.labels[1:]):
                if label != IGNORED:
                    kept.append(start + at)
                    targets.append(label)
        return cls(
            ids=torch.tensor([ids], device=device),
            positions=torch.tensor([positions], device=device),
            kept=torch.tensor(kept, dtype=torch.long, device=device),
            targets=torch.tensor(targets, dtype=torch.long, device=device),
            groups=[
                _rows([(starts[row], lengths[row]) for row in group], device)
                for group in _alike(lengths)
            ],
            longest=max(lengths),
        )


def _alike(lengths: Sequence[int]) -> list[list[int]]:
    """Rows in groups, long ones first: attention costs the square of a group's longest."""
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        near = groups and lengths[row] >= 0.8 * lengths[groups[-1][0]]
        if near or (groups and len(groups[-1]) < 4):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _rows(spans: Sequence[tuple[int, int]], device: Any) -> Rows:
    longest = spans[0][1]
    spread = torch.zeros(len(spans), longest, dtype=torch.long)
    back, tokens = [], []
    for row, (start, length) in enumerate(spans):
        own = torch.arange(start, start + length)
        spread[row] = start  # pads: its own first token, as a stranger may hold NaN
        spread[row, :length] = own
        back.append(torch.arange(length) + row * longest)
        tokens.append(own)
    return Rows(
        count=len(spans),
        longest=longest,
        spread=spread.view(-1).to(device),
        back=torch.cat(back).to(device),
        tokens=torch.cat(tokens).to(device),
    )


_now: ContextVar[Packed] = ContextVar("packed")


@contextmanager
def attending(model: Any, packed: Packed) -> Iterator[None]:
    """Inside, the model's attention keeps the examples of `packed` apart."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    token = _now.set(packed)
    config._attn_implementation = NAME
    try:
        yield
    finally:
        config._attn_implementation = before
        _now.reset(token)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    packed = _now.get()
    if softcap is not None or (sliding_window is not None and sliding_window < packed.longest):
        raise InvalidSpec("This base's attention (window, soft cap) can't be co-trained", "base")
    # Heads last: a token's numbers lie together, and rows are moved by whole tokens.
    spread = [
        _Spread.apply(each.transpose(1, 2)[0], packed.groups)  # type: ignore[no-untyped-call]
        for each in (query, key, value)
    ]
    outs = []
    for rows, *padded in zip(packed.groups, *spread, strict=True):
        q, k, v = (
            each.view(rows.count, rows.longest, *each.shape[1:]).transpose(1, 2) for each in padded
        )
        # Rows are padded on the right and look to the left: no token sees a pad, and no mask is
        # needed.
        out = scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        outs.append(out.transpose(1, 2).reshape(-1, out.shape[1], out.shape[3]))
    return _Gather.apply(packed.groups, *outs)[None], None  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    """Tokens to padded rows, a tensor for each group. Pads hold copies of their row's first token;
    their gradient is nothing."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, groups: list[Rows]) -> tuple[torch.Tensor, ...]:
        ctx.groups, ctx.size = groups, tokens.shape
        return tuple(tokens.index_select(0, rows.spread) for rows in groups)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        whole = gradients[0].new_empty(ctx.size)
        for rows, gradient in zip(ctx.groups, gradients, strict=True):
            whole.index_copy_(0, rows.tokens, gradient.index_select(0, rows.back))
        return whole, None


class _Gather(torch.autograd.Function):
    """Padded rows of all groups to tokens."""

    @staticmethod
    def forward(ctx: Any, groups: list[Rows], *padded: torch.Tensor) -> torch.Tensor:
        ctx.groups, ctx.sizes = groups, [each.shape for each in padded]
        size = sum(len(rows.tokens) for rows in groups)
        tokens = padded[0].new_empty(size, *padded[0].shape[1:])
        for rows, each in zip(groups, padded, strict=True):
            tokens.index_copy_(0, rows.tokens, each.index_select(0, rows.back))
        return tokens

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        outs = [
            gradient.new_zeros(size).index_copy_(
                0, rows.back, gradient.index_select(0, rows.tokens)
            )
            for rows, size in zip(ctx.groups, ctx.sizes, strict=True)
        ]
        return None, *outs


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)
