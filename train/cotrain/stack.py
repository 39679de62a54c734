"""A pass of several adapters' tokens through one frozen base, forward and back.

Each adapter's tokens lie together. The base's products run over all of them at once, the low-rank
ones adapter by adapter; gradients of the adapters' matrices go straight to where they are kept, so
that autograd carries activations only, and none to what lies before the first adapted layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from train.cotrain.packed import Packed, attending
from train.cotrain.weights import Site, Weights, sites
from train.dataset import IGNORED, Example


@dataclass(frozen=True)
class Share:
    """One adapter's part of a pass. Dropout takes from `draws`, which are its own: they do not
    depend on who else is on board. None: no dropout."""

    weights: Weights
    examples: Sequence[Example]
    dropout: float = 0.0
    draws: np.random.Generator | None = None


@dataclass(frozen=True)
class _Part:
    share: Share
    span: slice


class Stack:
    """The base, ready to carry adapters. Between passes the model is as it was given."""

    def __init__(self, model: Any) -> None:
        self.model = model.requires_grad_(False).eval()
        self.places = sites(model)
        self.device = model.device
        self._anchor = torch.zeros(0, device=self.device, requires_grad=True)
        self._parts: list[_Part] = []
        self._stand_ins = [_stand_ins(site, self) for site in self.places]

    def losses(
        self, shares: Sequence[Share], *, learn: bool
    ) -> tuple[torch.Tensor, list[int], list[int]]:
        """Each share's summed loss in nats, its supervised tokens, and those that came first.

        With `learn` the gradients of each share's mean loss are left in its weights.
        """
        packed = Packed.of([each for share in shares for each in share.examples], self.device)
        start, self._parts = 0, []
        counts: list[int] = []
        for share in shares:
            size = sum(len(example.input_ids) for example in share.examples)
            self._parts.append(_Part(share, slice(start, start + size)))
            start += size
            counts.append(sum(y != IGNORED for each in share.examples for y in each.labels[1:]))
        with torch.set_grad_enabled(learn), self._installed(), attending(self.model, packed):
            logits = self.model(
                input_ids=packed.ids,
                position_ids=packed.positions,
                logits_to_keep=packed.kept,
                use_cache=False,
            ).logits[0]
            each = cross_entropy(logits.float(), packed.targets, reduction="none")
            sums = torch.stack([part.sum() for part in torch.split(each, counts)])
            if learn:
                (sums / sums.new_tensor(counts)).sum().backward()  # type: ignore[no-untyped-call]
        right = torch.split(logits.detach().argmax(-1) == packed.targets, counts)
        self._parts = []
        return sums.detach(), counts, [int(part.sum()) for part in right]

    @contextmanager
    def _installed(self) -> Iterator[None]:
        put: list[tuple[Any, str, nn.Module]] = []
        for site, stand_ins in zip(self.places, self._stand_ins, strict=True):
            for name, layer, stand_in in zip(site.names, site.layers, stand_ins, strict=True):
                parent, _, last = name.rpartition(".")
                owner = self.model.get_submodule(parent)
                put.append((owner, last, layer))
                owner._modules[last] = stand_in
        try:
            yield
        finally:
            for owner, last, before in put:
                owner._modules[last] = before
            for first, *_ in self._stand_ins:
                first.waiting = ()


def _stand_ins(site: Site, stack: Stack) -> list[Any]:
    first = _First(site, stack)
    return [first, *(_Next(first, index) for index in range(1, len(site.names)))]


class _First(nn.Module):
    """Stands for the first layer of a site and computes all of them."""

    def __init__(self, site: Site, stack: Stack) -> None:
        super().__init__()
        self.site, self.stack = site, [stack]  # in a list: the stack's model is no part of this
        self.waiting: tuple[torch.Tensor, ...] = ()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stack = self.stack[0]
        out = _Adapted.apply(x, stack._anchor, self.site, stack._parts)  # type: ignore[no-untyped-call]
        self.waiting = out
        first: torch.Tensor = out[0]
        return first


class _Next(nn.Module):
    """Stands for another layer of a site; the first has done its work."""

    def __init__(self, first: _First, index: int) -> None:
        super().__init__()
        self._first, self._index = [first], index

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._first[0].waiting[self._index]


class _Adapted(torch.autograd.Function):
    """All layers of a site with each part's own adapter."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, anchor: torch.Tensor, site: Site, parts: list[_Part]
    ) -> tuple[torch.Tensor, ...]:
        tokens = x[0]
        outs = [linear(tokens, layer.weight, layer.bias) for layer in site.layers]
        noise = _noise(tokens, parts)
        dropped = tokens if noise is None else tokens * noise
        inner = []
        for part in parts:
            weights = part.share.weights
            rank = weights.rank
            h = torch.mm(dropped[part.span], weights.a[site.number].t())
            if weights.scale != 1.0:
                h *= weights.scale
            for index, out in enumerate(outs):
                b = weights.b[site.number][index]
                out[part.span].addmm_(h[:, index * rank : (index + 1) * rank], b.t())
            inner.append(h)
        ctx.site, ctx.parts = site, parts
        ctx.save_for_backward(dropped, noise, *inner)
        return tuple(out[None] for out in outs)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        site: Site = ctx.site
        dropped, noise, *inner = ctx.saved_tensors
        gs = [gradient[0] for gradient in gradients]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.mm(gs[0], site.layers[0].weight)
            for g, layer in zip(gs[1:], site.layers[1:], strict=True):
                dx.addmm_(g, layer.weight)
        for part, h in zip(ctx.parts, inner, strict=True):
            weights, span = part.share.weights, part.span
            rank, number = weights.rank, site.number
            dh = torch.empty_like(h)
            for index, g in enumerate(gs):
                columns = slice(index * rank, (index + 1) * rank)
                torch.mm(g[span].t(), h[:, columns], out=weights.db[number][index])
                torch.mm(g[span], weights.b[number][index], out=dh[:, columns])
            if weights.scale != 1.0:
                dh *= weights.scale
            torch.mm(dh.t(), dropped[span], out=weights.da[number])
            if dx is None:
                continue
            if noise is None:
                dx[span].addmm_(dh, weights.a[number])
            else:
                dx[span].addcmul_(torch.mm(dh, weights.a[number]), noise[span])
        return (None if dx is None else dx[None]), None, None, None


def _noise(tokens: torch.Tensor, parts: Sequence[_Part]) -> torch.Tensor | None:
    """Zeros and 1 / (1 - dropout) for each number, or None where nobody drops anything."""
    if not any(part.share.dropout and part.share.draws for part in parts):
        return None
    noise = torch.ones_like(tokens)
    for part in parts:
        share = part.share
        if share.dropout and share.draws is not None:
            own = noise[part.span]
            # Sixteen bits a number: torch's own draw takes 11 ns where this takes 2.
            words = share.draws.integers(0, 2**64, size=-(-own.numel() // 4), dtype=np.uint64)
            bits = torch.from_numpy(words.view(np.int16)[: own.numel()]).view(own.shape)
            dropped = round(share.dropout * 65536)
            kept = bits.to(own.device) >= dropped - 32768
            own.copy_(kept).mul_(65536 / (65536 - dropped))
    return noise
