"""A base as deep as real ones and very narrow, with random weights and the shipped tokenizer.

What a fuller batch is worth depends on how a step's time grows with it. On a GPU a decoding step
reads all weights once, whoever is in the batch, and takes 10 to 20 % longer with 32 requests than
with one. `switchyard-tiny` on a CPU takes twice as long with 32: four layers are soon passed, and
each request's own work shows. With 24 layers of width 64 it is 1.3 times (`switchyard-tiny` 2.0;
one engine, 8 adapters, two cores).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bench.cast import shapes

DEEP = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 24,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "generation_config.json",
)


def deep(like: Path, folder: Path) -> Path:
    """Write it to `folder`: `like`'s vocabulary and template, DEEP's shape."""
    folder.mkdir(parents=True)
    for name in _FILES:
        shutil.copy(like / name, folder)
    config = json.loads((like / "config.json").read_text()) | DEEP
    (folder / "config.json").write_text(json.dumps(config))
    random = np.random.default_rng(0)
    width = config["hidden_size"]
    sizes = {f"{name}.weight": size for name, size in shapes(config).items()}
    sizes["model.embed_tokens.weight"] = (config["vocab_size"], width)
    tensors = {name: random.normal(0, 0.02, size) for name, size in sizes.items()}
    norms = ["model.norm"]
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}"
        norms += [f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm"]
    tensors |= {f"{name}.weight": np.ones(width) for name in norms}
    single = {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
    save_file(single, folder / "model.safetensors", {"format": "pt"})
    return folder
