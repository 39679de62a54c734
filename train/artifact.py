"""The adapter's folder: plain PEFT LoRA files, manifest and probes. Same training, same bytes.

Nothing in it says where or when it was made: no paths, no times.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from train.model import Base
from train.sft import Trained
from train.spec import TrainingSpec

CREATED_BY = "switchyard 0.1.0"
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
) -> dict[str, Any]:
    """What `switchyard.json` says: what was trained, on what, from what, how."""
    config = trained.model.peft_config["default"]
    return {
        "tenant": tenant,
        "adapter": adapter,
        "base": base_name,
        **fingerprint,
        "rank": config.r,
        "alpha": config.lora_alpha,
        "target_modules": sorted(config.target_modules),
        "training": {
            **{name: v for name, v in spec.json().items() if name not in _ELSEWHERE},
            "alpha": config.lora_alpha,
            "learning_rate": trained.learning_rate,
            "epochs": trained.most_epochs,
            "max_length": min(spec.max_length, base.context),
        },
        "dataset_sha256": dataset_sha256,
        "parent": spec.parent,
        "created_by": CREATED_BY,
    }


def write(folder: Path, trained: Trained, facts: dict[str, Any], probes: dict[str, Any]) -> None:
    """Write the folder's four files."""
    folder.mkdir(parents=True, exist_ok=True)
    # "auto" would ask a hub whether the vocabulary was extended.
    trained.model.save_pretrained(
        folder, selected_adapters=["default"], save_embedding_layers=False
    )
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    config["base_model_name_or_path"] = facts["base"]
    config["target_modules"] = facts["target_modules"]
    _write(path, config)
    _write(folder / "switchyard.json", facts)
    _write(folder / "probes.json", probes)


def _write(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
