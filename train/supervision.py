"""Is what will be trained what was meant? Looked at before the first step; any no ends the job.

Of the tokens: some are supervised in each row, the stop token is among them, and the engine makes
the same ids of the same messages. Of the model: one real batch gives every adapted module a
gradient. The model, its gradients and the random numbers are afterwards as they were.
"""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from train.dataset import IGNORED, Example, prompt_ids
from train.errors import SupervisionFailed
from train.rows import Row

COMPARED = 8
"""Rows whose prompts are compared with the engine's tokens."""

BATCH = 4
_TIMEOUT_S = 10.0


def of_tokens(examples: Sequence[Example], stop: set[int]) -> dict[str, Any]:
    """Shares of supervised tokens and of rows that end with a stop token that is learned.

    Raises SupervisionFailed where nothing is supervised, or where no answer's end is learned:
    the model would never stop. Rows cut by max_length lack their end; that alone is no fault.
    """
    tokens = sum(len(example.input_ids) for example in examples)
    supervised = sum(label != IGNORED for example in examples for label in example.labels)
    ends = sum(any(label in stop for label in example.labels) for example in examples)
    wrong = [
        example.row.line
        for example in examples
        if any(
            label not in (IGNORED, token)
            for token, label in zip(example.input_ids, example.labels, strict=True)
        )
    ]
    if not supervised:
        raise SupervisionFailed("No token of any row is learned: the labels hide all of them")
    if wrong:
        raise SupervisionFailed(
            f"The labels of lines {_lines(wrong)} are other tokens than the rows hold"
        )
    if not ends:
        raise SupervisionFailed(
            "No row's stop token is learned, so the model would never stop: mark it in the chat "
            "template by {% generation %}, or raise max_length if all answers are cut"
        )
    return {
        "rows": len(examples),
        "supervised_share": round(supervised / tokens, 4),
        "stop_trained_share": round(ends / len(examples), 4),
    }


def of_gradients(model: Any, examples: Sequence[Example]) -> dict[str, Any]:
    """One forward and backward pass over a real batch: does every adapted module get a gradient?

    `model` has its adapter, and trains. A LoRA's A has none while B is still zero, so that B (or
    A, for one that has been trained before) is enough; without LoRA every trained tensor counts.
    Raises SupervisionFailed, with the modules that get none.
    """
    batch = sorted(examples, key=lambda example: len(example.input_ids))[:BATCH]
    norms: dict[str, float] = {}
    with _as_before(model):
        model.zero_grad(set_to_none=True)
        trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not trained:
            raise SupervisionFailed("No weight of the model is trained: all are frozen")
        loss = _loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        for name, parameter in trained:
            grad = parameter.grad
            norm = 0.0 if grad is None else float(grad.detach().float().norm())
            module = _module(name)
            norms[module] = max(norms.get(module, 0.0), norm)
    return of_norms(dict.fromkeys(_adapted(model), 0.0) | norms, float(loss.detach()))


def of_norms(norms: Mapping[str, float], loss: float) -> dict[str, Any]:
    """What the gradients of one real batch say: `norms` has the largest of each adapted module's,
    `loss` is the batch's. Raises SupervisionFailed, with the modules that get none."""
    if not math.isfinite(loss):
        raise SupervisionFailed(f"The loss before training is {loss}: not a number")
    dead = sorted(name for name, norm in norms.items() if not norm > 0)
    if dead:
        more = f" and {len(dead) - 5} more" if len(dead) > 5 else ""
        raise SupervisionFailed(
            f"{len(dead)} of {len(norms)} adapted modules get no gradient from a "
            f"batch of rows: {', '.join(dead[:5])}{more}"
        )
    return {
        "adapted_modules": len(norms),
        "first_batch_loss": round(loss, 6),
        "least_gradient_norm": float(f"{min(norms.values()):.4g}"),
    }


def of_engine(rows: Sequence[Row], tokenizer: Any, url: str | None, model: str) -> dict[str, Any]:
    """Are our token ids of prompts those of the engine's `/tokenize`? Not checked without an
    engine, or where it does not answer. Raises SupervisionFailed where they differ."""
    asked = [row for row in rows if row.prompt][:COMPARED]
    if url is None or not asked:
        return {"engine": "not checked: no engine is known"}
    for row in asked:
        ours = prompt_ids(row.prompt, tokenizer)
        try:
            theirs = _tokenised(url, model, row.prompt)
        except (OSError, ValueError, KeyError) as error:
            return {"engine": f"not checked: the engine's /tokenize gave {type(error).__name__}"}
        if ours != theirs:
            at = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                min(len(ours), len(theirs)),
            )
            raise SupervisionFailed(
                f"The prompt of line {row.line} is {len(ours)} tokens here and {len(theirs)} in "
                f"the engine, and they differ from token {at} on: the engine's chat template or "
                "tokenizer is not the base's",
            )
    return {"engine": "same", "engine_rows": len(asked)}


def _tokenised(url: str, model: str, messages: list[dict[str, str]]) -> list[int]:
    body = {"model": model, "messages": messages, "add_generation_prompt": True}
    request = urllib.request.Request(
        f"{url.rstrip('/')}/tokenize",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        return [int(token) for token in json.load(answer)["tokens"]]


def _loss(model: Any, batch: Sequence[Example]) -> torch.Tensor:
    width = max(len(example.input_ids) for example in batch)
    ids = torch.tensor([e.input_ids + [0] * (width - len(e.input_ids)) for e in batch])
    labels = torch.tensor([e.labels + [IGNORED] * (width - len(e.labels)) for e in batch])
    # Pads are on the right and attention is causal: no real token sees one.
    logits = model(input_ids=ids.to(model.device), use_cache=False).logits[:, :-1].float()
    targets = labels[:, 1:].to(logits.device)
    return functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


@contextmanager
def _as_before(model: Any) -> Iterator[None]:
    """Mode, gradients and random numbers are put back: training goes as if nothing had been."""
    training = model.training
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad():
        try:
            model.train()
            yield
        finally:
            model.zero_grad(set_to_none=True)
            model.train(training)


def _module(name: str) -> str:
    """The adapted module that a trained tensor belongs to."""
    return name.partition(".lora_")[0].removeprefix("base_model.model.").removesuffix(".weight")


def _adapted(model: Any) -> set[str]:
    """Modules that hold a LoRA, whether or not it is trained."""
    return {_module(name) for name, _ in model.named_parameters() if ".lora_" in name}


def _lines(lines: Sequence[int]) -> str:
    return ", ".join(map(str, lines[:20]))
