"""The cast of a benchmark: tenants with one random adapter each, in a store for engines.

Adapters are written as PEFT would save them, without torch: what an adapter says does not matter
here (answers go on to their full length), only that it is loaded and computed with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from registry.fingerprint import base_fingerprint
from registry.store import Store

ADAPTER = "task"
"""What every tenant calls its adapter, and the alias that names it."""


@dataclass(frozen=True)
class Part:
    """A tenant's name and the digest of its adapter's files."""

    tenant: str
    digest: str


@dataclass(frozen=True)
class Cast:
    """Everybody, and where their adapters are kept."""

    base: Path
    store_url: str
    parts: tuple[Part, ...]


def make(base: Path, folder: Path, count: int, *, rank: int = 8) -> Cast:
    """Write `count` adapters for a Llama-shaped base and publish them to a store in `folder`."""
    store_url = f"file://{folder}/store"
    store = Store(store_url)
    sizes = shapes(json.loads((base / "config.json").read_text()))
    manifest = {"base": base.name, "rank": rank, "adapter": ADAPTER, **base_fingerprint(base)}
    parts = []
    for number in range(count):
        tenant = f"tenant-{number:02}"
        files = folder / "made" / tenant
        files.mkdir(parents=True)
        random = np.random.default_rng(number)
        tensors = {}
        for name, (rows, columns) in sizes.items():
            a = random.normal(0, 0.05, (rank, columns))
            b = random.normal(0, 0.02, (rows, rank))
            tensors[f"base_model.model.{name}.lora_A.weight"] = a.astype(np.float32)
            tensors[f"base_model.model.{name}.lora_B.weight"] = b.astype(np.float32)
        save_file(tensors, files / "adapter_model.safetensors", {"format": "pt"})
        targets = sorted({name.rpartition(".")[2] for name in sizes})
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base.name,
            "r": rank,
            "lora_alpha": 2 * rank,
            "target_modules": targets,
            "bias": "none",
        }
        (files / "adapter_config.json").write_text(json.dumps(config))
        (files / "switchyard.json").write_text(json.dumps({**manifest, "tenant": tenant}))
        parts.append(Part(tenant, store.publish(files)))
    return Cast(base, store_url, tuple(parts))


def shapes(config: dict[str, int]) -> dict[str, tuple[int, int]]:
    """{module: (outputs, inputs)} of a Llama's linear layers."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries = config["num_attention_heads"] * head
    keys = config["num_key_value_heads"] * head
    layer = {
        "self_attn.q_proj": (queries, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, queries),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {
        f"model.layers.{number}.{name}": shape
        for number in range(config["num_hidden_layers"])
        for name, shape in layer.items()
    }
