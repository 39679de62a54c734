"""The adapters that benchmarks make are ones that an engine takes."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from bench import cast
from bench.base import deep
from bench.cliff import BASE
from registry.fingerprint import base_fingerprint
from registry.store import Store
from serve.resolver import check_adapter
from serve.settings import LINEAR


def test_each_tenants_adapter_passes_the_engines_checks(tmp_path: Path) -> None:
    made = cast.make(BASE, tmp_path, 3)

    assert len({part.digest for part in made.parts}) == 3
    for part in made.parts:
        folder = Store(made.store_url).fetch(part.digest, tmp_path / "staging")
        check_adapter(folder, base_fingerprint(BASE), 8, frozenset(LINEAR.split(",")))


def test_the_deep_base_has_every_tensor_of_its_shape_and_takes_adapters(tmp_path: Path) -> None:
    base = deep(BASE, tmp_path / "deep")

    config = AutoConfig.from_pretrained(base)
    with torch.device("meta"):
        wanted = AutoModelForCausalLM.from_config(config).state_dict()
    with safe_open(base / "model.safetensors", "np") as file:
        made = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    tied = {"lm_head.weight"}
    assert made == {name: list(t.shape) for name, t in wanted.items() if name not in tied}

    (part,) = cast.make(base, tmp_path, 1).parts
    folder = Store(f"file://{tmp_path}/store").fetch(part.digest, tmp_path / "staging")
    check_adapter(folder, base_fingerprint(base), 8, frozenset(LINEAR.split(",")))
