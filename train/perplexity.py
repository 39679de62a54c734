"""How likely a model finds what was held out: loss per token, row by row, in one forward pass each.

Natural logarithms. Knows tokens and rows; what follows from the figures is others' business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from train.dataset import IGNORED, Example, tokenise
from train.errors import NothingSupervised
from train.model import Base
from train.rows import Row

_BATCH_TOKENS = 8192


@dataclass(frozen=True)
class Fit:
    """`losses` are nats per supervised token of each row, NaN for a row that has none within the
    base's context; `loss` is the mean over all `tokens`."""

    loss: float
    tokens: int
    losses: list[float]

    @property
    def perplexity(self) -> float:
        """e to the loss: between how many tokens the model wavers on average."""
        return math.exp(min(self.loss, 700.0))

    def json(self) -> dict[str, Any]:
        """For the evaluation; no rows."""
        return {
            "loss": round(self.loss, 6),
            "perplexity": float(f"{self.perplexity:.6g}"),
            "tokens": self.tokens,
        }


def perplexity(model: Any, base: Base, rows: Sequence[Row], adapter: str | None) -> Fit:
    """Of the rows' answers (of a plain text: of all of it) under `adapter`, or the base alone."""
    try:
        examples, _ = tokenise(
            rows, base.tokenizer, base.training_template, base.context, base.stop_tokens()
        )
    except NothingSupervised:
        examples = []
    sums = loglikelihoods(model, examples, adapter)
    totals: dict[int, list[float]] = {}
    for example, nats in zip(examples, sums, strict=True):
        count = sum(label != IGNORED for label in example.labels)
        total = totals.setdefault(id(example.row), [0.0, 0.0])
        total[0], total[1] = total[0] - nats, total[1] + count
    losses = [totals[id(r)][0] / totals[id(r)][1] if id(r) in totals else math.nan for r in rows]
    tokens = int(sum(count for _, count in totals.values()))
    whole = sum(nats for nats, _ in totals.values())
    return Fit(whole / tokens if tokens else math.nan, tokens, losses)


def figures(model: Any, base: Base, rows: Sequence[Row], parent: str | None) -> dict[str, Any]:
    """Of the base, the adapter and its parent, on the answers that were liked; None where the rows
    have no answer to measure."""
    good = [row for row in rows if row.good]
    systems = {"base": None, "adapter": "default"} | ({"parent": parent} if parent else {})
    found = {name: perplexity(model, base, good, adapter) for name, adapter in systems.items()}
    return {name: fit.json() if fit.tokens else None for name, fit in found.items()}


@torch.inference_mode()
def loglikelihoods(model: Any, examples: Sequence[Example], adapter: str | None) -> list[float]:
    """The log-probability of each example's labels, summed over its tokens. `adapter` None is the
    base alone."""
    found = [0.0] * len(examples)
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
    if adapter is not None:
        model.set_adapter(adapter)
    with model.disable_adapter() if adapter is None else nullcontext():
        while order:
            longest = len(examples[order[-1]].input_ids)
            batch = [order.pop() for _ in range(min(len(order), max(1, _BATCH_TOKENS // longest)))]
            for index, value in zip(
                batch, _batch(model, [examples[i] for i in batch], longest), strict=True
            ):
                found[index] = value
    return found


def _batch(model: Any, examples: Sequence[Example], longest: int) -> list[float]:
    """Padded on the right: attention is causal, so that no token sees a pad and no mask is
    needed."""
    ids = torch.zeros((len(examples), longest), dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, example in enumerate(examples):
        ids[row, : len(example.input_ids)] = torch.tensor(example.input_ids)
        labels[row, : len(example.labels)] = torch.tensor(example.labels)
    targets = labels[:, 1:]
    kept = (targets != IGNORED).any(dim=0).nonzero().squeeze(-1)
    logits = model(
        input_ids=ids.to(model.device), logits_to_keep=kept.to(model.device), use_cache=False
    ).logits
    losses = functional.cross_entropy(
        logits.float().transpose(1, 2),
        targets[:, kept].to(logits.device),
        ignore_index=IGNORED,
        reduction="none",
    )
    return [-float(value) for value in losses.sum(dim=1)]
