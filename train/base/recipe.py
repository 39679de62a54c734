"""The training of switchyard-tiny from nothing: `build` does all of it within a time budget.

Muon for the hidden matrices (https://kellerjordan.github.io/posts/muon/), AdamW for embeddings
and norms, bfloat16 autocast, a curriculum and a learning rate that follow the clock.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from train.base.architecture import new_model
from train.base.batches import Batch, Encoder, batches
from train.base.schedule import rate
from train.base.tokenizer import save_tokenizer, train_tokenizer

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

MUON_RATE = 0.02
ADAM_RATE = 0.003
BATCH_TOKENS = 5_000
EAGER_BELOW = 160  # tokens
REPORT_EVERY = 20  # steps


@dataclass(frozen=True)
class Progress:
    """Where a build is. `loss` is the mean over assistant tokens since the last report, in nats."""

    step: int
    loss: float
    tokens: int
    seconds: float
    eta: float


@dataclass(frozen=True)
class BuildReport:
    """What a build did and where it left the model."""

    folder: Path
    parameters: int
    steps: int
    tokens: int
    seconds: float
    first_loss: float
    final_loss: float
    curve: list[Progress] = field(repr=False)


def optimizers(model: LlamaForCausalLM) -> list[Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings and norms."""
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=ADAM_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


@dataclass(frozen=True)
class Share:
    """One thread's part of a step.

    Gradients, and losses of assistant tokens (their sum and number).
    """

    gradients: tuple[Tensor, ...]
    loss_sum: float
    said: int


def share_of_step(model: LlamaForCausalLM, batch: Batch, total_weight: float) -> Share:
    """Gradients of the weighted loss of some rows of a batch whose weights sum to `total_weight`.

    Only the chosen positions go through the output layer, which is a third of the model's work.
    """
    import torch

    torch.set_num_threads(1)  # holds for the calling thread
    places = batch.weights[:, 1:].flatten().nonzero().squeeze(1)
    weights = batch.weights[:, 1:].flatten()[places]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=batch.ids[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden.flatten(0, 1)[places])
    losses = torch.nn.functional.cross_entropy(
        logits.float(), batch.ids[:, 1:].flatten()[places], reduction="none"
    )
    gradients = torch.autograd.grad(
        (losses * weights).sum() / total_weight, list(model.parameters())
    )
    said = weights >= 1
    return Share(gradients, float(losses.detach()[said].sum()), int(said.sum()))


def accumulate(
    model: LlamaForCausalLM, batch: Batch, pool: Executor, threads: int
) -> tuple[float, int]:
    """Set the gradients of one step, its rows shared among threads.

    Returns the sum of the losses on said tokens and their number.

    One thread a share beats threads inside each operation: operations here are short, and on a
    busy machine each of them would wait for whichever thread was put aside.
    """
    # Measured on CPU: the fused attention kernel is slow on many short rows.
    model.set_attn_implementation("eager" if batch.ids.shape[1] < EAGER_BELOW else "sdpa")
    total = float(batch.weights[:, 1:].sum())
    parts = [batch.rows(first, threads) for first in range(min(threads, len(batch.ids)))]
    shares = list(pool.map(lambda part: share_of_step(model, part, total), parts))
    for index, parameter in enumerate(model.parameters()):
        parameter.grad = sum(
            (share.gradients[index] for share in shares[1:]), shares[0].gradients[index]
        )
    return sum(share.loss_sum for share in shares), sum(share.said for share in shares)


def build(
    out_dir: Path,
    minutes: float,
    seed: int = 7,
    threads: int = 2,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint_minutes: float = 4.0,
    report_every: int = REPORT_EVERY,
    batch_tokens: int = BATCH_TOKENS,
    clock: Callable[[], float] = time.monotonic,
) -> BuildReport:
    """Train a tokenizer and a model from nothing for `minutes` and leave both in `out_dir`.

    A usable model stands in `out_dir` from the first checkpoint on. The corpus and the starting
    weights follow from `seed`; how many steps fit into the time (seconds, by `clock`) depends on
    the machine, so the result is not bit-identical.
    """
    import torch

    torch.set_num_threads(1)
    pool = ThreadPoolExecutor(threads)
    tokenizer = train_tokenizer(seed)
    model = new_model(tokenizer, seed)
    model.train()
    encoder = Encoder(tokenizer.backend_tokenizer)
    movers = optimizers(model)
    peaks = [group["lr"] for mover in movers for group in mover.param_groups]
    budget = minutes * 60
    start = saved = clock()
    pad = int(tokenizer.pad_token_id)
    stream = batches(encoder, seed, batch_tokens, pad, lambda: (clock() - start) / budget)
    step = tokens = said = 0
    loss_sum = 0.0
    curve: list[Progress] = []
    while (elapsed := clock() - start) < budget:
        factor = rate(elapsed / budget)
        groups = [group for mover in movers for group in mover.param_groups]
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * factor
        batch = next(stream)
        batch_sum, batch_said = accumulate(model, batch, pool, threads)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for mover in movers:
            mover.step()
            mover.zero_grad(set_to_none=True)
        step += 1
        tokens += batch.tokens
        loss_sum, said = loss_sum + batch_sum, said + batch_said
        if step % report_every == 0:
            seconds = clock() - start
            point = Progress(
                step, loss_sum / max(said, 1), tokens, seconds, max(budget - seconds, 0)
            )
            curve.append(point)
            loss_sum, said = 0.0, 0
            if on_progress:
                on_progress(point)
        if clock() - saved > checkpoint_minutes * 60:
            save(model, tokenizer, curve, out_dir)
            saved = clock()
    pool.shutdown()
    save(model, tokenizer, curve, out_dir)
    return BuildReport(
        folder=out_dir,
        parameters=sum(p.numel() for p in model.parameters()),
        steps=step,
        tokens=tokens,
        seconds=clock() - start,
        first_loss=curve[0].loss if curve else float("nan"),
        final_loss=curve[-1].loss if curve else float("nan"),
        curve=curve,
    )


def save(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    curve: list[Progress],
    folder: Path,
) -> None:
    """Write model, tokenizer and loss curve.

    Into a folder beside, then each file moved over the old one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / ".partial"
    model.save_pretrained(fresh)
    save_tokenizer(tokenizer, fresh)
    points = [asdict(point) for point in curve]
    (fresh / "loss_curve.json").write_text(json.dumps(points, indent=0) + "\n", "utf-8")
    for path in sorted(fresh.iterdir()):
        path.chmod(0o644)  # safetensors writes files that only their owner can read
        os.replace(path, folder / path.name)
    fresh.rmdir()
