"""How the weights move: LoRA, rank-stabilised LoRA, DoRA or all of every linear layer; and what
every kind of trainer is told alike.

What the engine can't serve is made into a plain LoRA afterwards, by train.compile.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, TaskType
from torch import nn
from transformers.pytorch_utils import Conv1D

from train.errors import InvalidSpec
from train.spec import TrainingSpec


def adapter(spec: TrainingSpec) -> LoraConfig | None:
    """What PEFT puts on the base; None where the base's own weights are trained.

    DoRA is trained at the rank that is served, although its magnitudes scale whole rows and its
    change is of no small rank. Half of it, to leave room for them, was tried: more was left out
    (0.19 of the change for 0.14), and it learned less (docs/training.md, Methods).
    """
    if spec.method == "full":
        return None
    return LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=spec.rank,
        lora_alpha=_whole(spec.lora_alpha),
        lora_dropout=spec.dropout,
        target_modules="all-linear",
        bias="none",
        use_rslora=spec.method == "rslora",
        use_dora=spec.method == "dora",
    )


def free_linear_layers(model: Any) -> list[str]:
    """Make the weights of linear layers trainable and nothing else; their names.

    Embeddings, norms, biases and the output layer stay as they are: a LoRA can't carry them. These
    are the layers that PEFT calls all-linear.
    """
    output = model.get_output_embeddings()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    freed = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not output:
            module.weight.requires_grad_(True)
            freed.append(name)
    return freed


def arguments(
    spec: TrainingSpec,
    rows: int,
    *,
    learning_rate: float,
    epochs: float,
    device: str,
    scratch: Path,
) -> dict[str, Any]:
    """What SFTConfig, DPOConfig and KTOConfig are all told. A step is `batch_size` ×
    `gradient_accumulation` rows on each of the processes that the launcher started."""
    whole_batch = spec.batch_size * spec.gradient_accumulation * processes()
    return {
        "output_dir": str(scratch),
        "max_length": None,  # truncated and counted by train.dataset
        "per_device_train_batch_size": spec.batch_size,
        "per_device_eval_batch_size": max(spec.batch_size, 32),
        "gradient_accumulation_steps": spec.gradient_accumulation,
        "num_train_epochs": epochs,
        "learning_rate": learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": round(spec.warmup * epochs * -(-rows // whole_batch)),
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": device != "cpu",
        "bf16": device != "cpu" and torch.cuda.is_bf16_supported(),
        "use_cpu": device == "cpu",
        "seed": spec.seed,
        "data_seed": spec.seed,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": False,
        "logging_strategy": "steps",
        "logging_steps": 1,  # each step's figures are kept
        "save_strategy": "no",  # the keeper says when; best weights are a few MB, and in memory
        "report_to": "none",
        "disable_tqdm": True,
    }


def processes() -> int:
    """How many processes train together, as `accelerate launch` or `torchrun` says."""
    return max(1, int(os.environ.get("WORLD_SIZE", "1")))


def rank() -> int:
    """Which of those processes this is; the first one measures and writes."""
    return int(os.environ.get("RANK", "0"))


def attention(spec: TrainingSpec, device: str) -> str | None:
    """The attention that the base is loaded with; None is transformers' own choice. Raises
    InvalidSpec when packing is asked for and FlashAttention is not there."""
    if not spec.packing:
        return None
    if device == "cpu" or importlib.util.find_spec("flash_attn") is None:
        raise InvalidSpec(
            "packing needs FlashAttention (the flash-attn package, on a GPU): without it packed "
            "rows would see each other. Expected packing false here",
            "packing",
        )
    return "flash_attention_2"


def _whole(value: float) -> int | float:
    """vLLM wants a whole `lora_alpha`; give it one whenever it is."""
    return int(value) if value == int(value) else value
