"""The whole state of a training run as a folder, from which the same run goes on bit for bit.

    weights.safetensors                    the parameters that train, in their own precision
    optimizer.pt, scheduler.pt,            the Trainer's own, which it reads as tensors only
    rng_state.pth, trainer_state.json      (`weights_only`), never as pickled objects
    keeper.safetensors, state.json         the keeper's: best weights, figures, counters

`state.json` is what makes a folder a state. A folder appears under its name only when complete.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from train.durable import Durable

STATE = "state.json"
_WEIGHTS = "weights.safetensors"
_KEEPER = "keeper.safetensors"
FORMAT = 1


class Resumable:
    """For a Trainer, before it among the bases: its checkpoints hold what trains and nothing else.

    The Trainer would write tokenizer, a pickle of its arguments and a model card too, and PEFT
    would load weights in another precision than they were trained in.
    """

    model: Any

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the parameters that train."""
        assert output_dir is not None
        os.makedirs(output_dir, exist_ok=True)
        save_file(_own(trainable(self.model)), Path(output_dir) / _WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        put(model or self.model, load_file(Path(resume_from_checkpoint) / _WEIGHTS))

    def create_model_card(self, *_: Any, **__: Any) -> None:
        """None is written."""


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """The parameters that train, by name: the live ones, not copies."""
    return {name: p.data for name, p in model.named_parameters() if p.requires_grad}


def put(model: Any, weights: dict[str, torch.Tensor]) -> None:
    """Overwrite parameters by name. Raises KeyError for one that the model lacks."""
    known = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in weights.items():
            known[name].copy_(value)


def complete(
    checkpoint: Path, target: Path, tensors: dict[str, torch.Tensor], facts: dict[str, Any]
) -> None:
    """Make a state at `target` of a checkpoint that the Trainer wrote, in one step."""
    save_file(_own(tensors), checkpoint / _KEEPER)
    text = json.dumps({"format": FORMAT, **facts}, sort_keys=True)
    (checkpoint / STATE).write_text(text, encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.rename(target)


def read(durable: Durable) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """(facts, tensors) of the state to go on from; None when there is none that fits."""
    folder = durable.resume
    if folder is None:
        return None
    try:
        facts: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if facts.get("format") != FORMAT or facts.get("key") != durable.key:
            return None
        return facts, load_file(folder / _KEEPER)
    except (OSError, ValueError):
        return None


def _own(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
