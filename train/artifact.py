"""The adapter's folder: plain PEFT LoRA files, manifest, probes, card. Same training, same bytes.

Nothing in it says where or when it was made: no paths, no times. What decides the last digits is
in it: versions of the libraries, threads, what the processor can do.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import torch

from train import card
from train.model import Base
from train.sft import Trained
from train.spec import TrainingSpec

CREATED_BY = "switchyard 0.1.0"
_LIBRARIES = ("torch", "transformers", "peft", "trl", "accelerate", "tokenizers")
_ELSEWHERE = ("base", "parent", "checkpoints")
"""Options that are told elsewhere in the manifest, or that leave no trace in the weights."""


def manifest(
    trained: Trained,
    base: Base,
    spec: TrainingSpec,
    *,
    tenant: str,
    adapter: str,
    base_name: str,
    fingerprint: dict[str, str],
    dataset_sha256: str,
    rows: dict[str, int] | None = None,
) -> dict[str, Any]:
    """What `switchyard.json` says: what was trained, on what, from what, how."""
    config = trained.model.peft_config["default"]
    return {
        "tenant": tenant,
        "adapter": adapter,
        "base": base_name,
        "base_revision": getattr(base.config, "_commit_hash", None),
        **fingerprint,
        "rank": config.r,
        "alpha": config.lora_alpha,
        "target_modules": sorted(config.target_modules),
        "training": {
            **{name: v for name, v in spec.json().items() if name not in _ELSEWHERE},
            "alpha": config.lora_alpha,
            "learning_rate": trained.learning_rate,
            "learning_rate_multiplier": 1.0,  # in the learning rate already
            "epochs": trained.most_epochs,
            "max_length": min(spec.max_length, base.context),
        },
        "trained": {
            "steps": trained.steps,
            "epochs": trained.epochs,
            "best_epoch": trained.best_epoch,
            "validation_loss": trained.best_validation_loss,
        },
        "rows": rows or {},
        "dataset_sha256": dataset_sha256,
        "parent": spec.parent,
        "made_with": made_with(base.device, spec),
        "created_by": CREATED_BY,
    }


def made_with(device: str, spec: TrainingSpec) -> dict[str, Any]:
    """What the last digits of the weights depend on beside data and options."""
    names = [*_LIBRARIES]
    names += ["bitsandbytes"] if spec.quantize != "none" else []
    names += ["optuna"] if spec.search else []
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def write(folder: Path, trained: Trained, facts: dict[str, Any], probes: dict[str, Any]) -> None:
    """Write the folder's five files."""
    folder.mkdir(parents=True, exist_ok=True)
    # "auto" would ask a hub whether the vocabulary was extended.
    trained.model.save_pretrained(
        folder, selected_adapters=["default"], save_embedding_layers=False
    )
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = facts["base"]
    config["target_modules"] = facts["target_modules"]
    _write(path, config)
    _write(folder / "switchyard.json", facts)
    _write(folder / "probes.json", probes)
    # In place of PEFT's own, which is a form with nothing filled in.
    (folder / "README.md").write_text(card.text(facts), encoding="utf-8")


def _write(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
