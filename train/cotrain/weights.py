"""One adapter's numbers in one flat tensor, with a view for each matrix, and the gradients beside.

Flat, so that clipping and the optimiser are a dozen operations and not a dozen for each matrix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers of one parent that read the same input: their A matrices are one."""


@dataclass(frozen=True)
class Site:
    """Linear layers that read the same input, by their names in the model."""

    number: int
    names: tuple[str, ...]
    layers: tuple[nn.Linear, ...]

    @property
    def inputs(self) -> int:
        """The input's width."""
        return self.layers[0].in_features


def sites(model: Any) -> list[Site]:
    """All linear layers but the one onto the vocabulary, as PEFT's "all-linear" takes them."""
    head = model.get_output_embeddings()
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }
    found: list[Site] = []
    taken: set[str] = set()
    for name in linear:
        if name in taken:
            continue
        parent, _, last = name.rpartition(".")
        group = next((group for group in TOGETHER if last == group[0]), (last,))
        names = tuple(f"{parent}.{each}" if parent else each for each in group)
        if not all(each in linear for each in names):
            names = (name,)
        taken.update(names)
        found.append(Site(len(found), names, tuple(linear[each] for each in names)))
    return found


class Weights:
    """LoRA matrices of one rank for all sites. `values` and `gradients` are flat, float32.

    `a[site]` is (layers · rank, inputs), `b[site][layer]` (outputs, rank); `da` and `db` are the
    gradients in the same shapes. `scale` multiplies an update.
    """

    def __init__(self, places: Sequence[Site], rank: int, scale: float, device: Any) -> None:
        self.places, self.rank, self.scale = places, rank, scale
        size = sum(
            rank * (site.inputs * len(site.layers) + sum(each.out_features for each in site.layers))
            for site in places
        )
        self.values = torch.zeros(size, device=device)
        self.gradients = torch.zeros(size, device=device)
        self.a, self.b = self._views(self.values)
        self.da, self.db = self._views(self.gradients)

    def begin(self, generator: torch.Generator) -> None:
        """A as PEFT begins it (uniform, Kaiming with a = √5), B at nothing."""
        self.values.zero_()
        for a, site in zip(self.a, self.places, strict=True):
            bound = 1 / math.sqrt(site.inputs)
            a.copy_(torch.empty(a.shape).uniform_(-bound, bound, generator=generator))

    def state(self) -> dict[str, torch.Tensor]:
        """A copy of each matrix under the name that PEFT's files have for it."""
        return {name: view.clone() for name, view in self._named()}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take over matrices of these names. Raises KeyError where one is missing."""
        for name, view in self._named():
            view.copy_(state[name])

    def norms(self) -> dict[str, float]:
        """The larger norm of the gradients of A and B, by the layer's name in the model."""
        names, found, norm = [], [], torch.linalg.vector_norm
        for site, da, dbs in zip(self.places, self.da, self.db, strict=True):
            for name, own, db in zip(site.names, torch.split(da, self.rank), dbs, strict=True):
                names.append(name)
                found.append(torch.maximum(norm(own), norm(db)))
        return dict(zip(names, torch.stack(found).tolist(), strict=True))

    def _named(self) -> list[tuple[str, torch.Tensor]]:
        named = []
        for site, a, bs in zip(self.places, self.a, self.b, strict=True):
            for index, name in enumerate(site.names):
                own = a[index * self.rank : (index + 1) * self.rank]
                named.append((f"base_model.model.{name}.lora_A.weight", own))
                named.append((f"base_model.model.{name}.lora_B.weight", bs[index]))
        return named

    def _views(
        self, flat: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[tuple[torch.Tensor, ...]]]:
        a: list[torch.Tensor] = []
        b: list[tuple[torch.Tensor, ...]] = []
        at = 0

        def take(rows: int, columns: int) -> torch.Tensor:
            nonlocal at
            view = flat[at : at + rows * columns].view(rows, columns)
            at += rows * columns
            return view

        for site in self.places:
            a.append(take(self.rank * len(site.layers), site.inputs))
            b.append(tuple(take(each.out_features, self.rank) for each in site.layers))
        return a, b
