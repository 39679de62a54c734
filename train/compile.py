"""What was trained, by whatever method → a plain LoRA that the engine serves.

A module's change is either two factors already (LoRA, rank-stabilised or with ranks and alphas of
its own: taken over exactly, the scaling folded into B) or a matrix W' − W₀ of any rank (DoRA, full
fine-tuning: its best approximation of the rank that is served, by the singular value decomposition,
Eckart and Young 1936). B = U√S and A = √S Vᵀ; `lora_alpha` is the rank, so that the scaling is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from train.errors import InvalidSpec
from train.model import Base
from train.spec import TrainingSpec

Factors = tuple[Tensor, Tensor]
"""B (out × r) and A (r × in), float32: what is added to a weight is B·A."""
_WHOLE_SVD = 2048  # up to this width the exact decomposition takes seconds a module


def changes(model: PeftModel, adapter: str = "default") -> dict[str, Factors | Tensor]:
    """How each module's weight differs from the base's: factors where they say it exactly, the
    difference itself (out × in) under DoRA. Names are those of the base's modules."""
    found: dict[str, Factors | Tensor] = {}
    for name, layer in model.base_model.model.named_modules():
        if not isinstance(layer, LoraLayer) or adapter not in layer.lora_A:
            continue
        b = layer.scaling[adapter] * layer.lora_B[adapter].weight.detach().float()
        a = layer.lora_A[adapter].weight.detach().float()
        if adapter not in layer.lora_magnitude_vector:
            found[name] = (b, a)
            continue
        before = _matrix(layer.get_base_layer())
        after = before + b @ a
        magnitude = layer.lora_magnitude_vector[adapter].weight.detach().float().reshape(-1)
        found[name] = (magnitude / after.norm(dim=1)).unsqueeze(1) * after - before
    return found


def differences(trained: nn.Module, base: nn.Module) -> dict[str, Tensor]:
    """Of every linear layer but the output: what training added to its weight (out × in)."""
    before = dict(base.named_modules())
    output = trained.get_output_embeddings()  # type: ignore[operator]
    return {
        name: _matrix(module) - _matrix(before[name])
        for name, module in trained.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
    }


def assemble(
    base: Any, found: Mapping[str, Factors | Tensor], rank: int
) -> tuple[PeftModel, dict[str, Any]]:
    """Put the changes on an untouched base as a plain LoRA of `rank`.

    The figures: `error` is the Frobenius norm of what the rank leaves out, as a share of the whole
    change's; `modules` has it for each module; 0 where nothing is left out.
    """
    targets = sorted({name.rpartition(".")[2] for name in found})
    model: Any = get_peft_model(
        base,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=rank,
            lora_alpha=rank,
            lora_dropout=0.0,
            target_modules=targets,
            bias="none",
        ),
    )
    left: dict[str, float] = {}
    missed = whole = 0.0
    with torch.no_grad():
        for name, layer in model.base_model.model.named_modules():
            if not isinstance(layer, LoraLayer):
                continue
            a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
            if name not in found:  # only some layers were adapted
                b.zero_()
                continue
            change = found[name]
            matrix = change if isinstance(change, Tensor) else None
            if not isinstance(change, Tensor) and change[0].shape[1] <= rank:
                factors, lost, size = change, 0.0, float((change[0] @ change[1]).norm())
            else:
                matrix = change if isinstance(change, Tensor) else change[0] @ change[1]
                factors = truncate(matrix, rank)
                size = float(matrix.norm())
                lost = float((matrix - factors[0] @ factors[1]).norm())
            for weight, part in ((b, factors[0]), (a, factors[1])):
                weight.zero_()
                weight[: part.shape[0], : part.shape[1]] = part.to(weight)
            left[name] = round(lost / size, 6) if size else 0.0
            missed, whole = missed + lost**2, whole + size**2
    model.eval()
    error = round((missed / whole) ** 0.5, 6) if whole else 0.0
    return model, {"rank": rank, "error": error, "modules": left}


def truncate(matrix: Tensor, rank: int) -> Factors:
    """The nearest matrix of `rank`, its singular values divided evenly between the two factors.

    Beyond some width by random projection (Halko et al. 2011), 4 power iterations, seeded.
    """
    if min(matrix.shape) <= _WHOLE_SVD:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    else:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            width = min(rank + 16, *matrix.shape)
            u, s, v = torch.svd_lowrank(matrix, q=width, niter=4)
            vh = v.mT
    root = s[:rank].clamp(min=0).sqrt()
    return u[:, :rank] * root, root.unsqueeze(1) * vh[:rank]


def served(trained: Any, base: Base, spec: TrainingSpec) -> tuple[PeftModel, dict[str, Any]]:
    """What `spec.method` made of a model → a plain LoRA of `spec.rank` on the whole base, loaded
    anew; and `assemble`'s figures."""
    untouched = base.load()
    if spec.method == "full":
        found: dict[str, Any] = dict(differences(trained, untouched))
    else:
        found = changes(trained)
    return assemble(untouched, found, spec.rank)


def compile_folder(
    source: Path, base: Any, target: Path, rank: int | None = None
) -> dict[str, Any]:
    """Any PEFT LoRA folder → a plain LoRA folder, on the base model in memory `base`; the figures
    of `assemble`. Without a rank, that of the module with the most.

    Raises InvalidSpec for a folder that holds what no LoRA can carry: biases, whole modules, other
    kinds of adapters. `base` comes back without an adapter.
    """
    model = PeftModel.from_pretrained(base, str(source))
    config: Any = model.peft_config["default"]
    if not isinstance(config, LoraConfig):
        raise InvalidSpec(f"{source.name}: expected a LoRA, found {config.peft_type}", "adapter")
    for option in ("modules_to_save", "lora_bias", "trainable_token_indices", "target_parameters"):
        if getattr(config, option, None):
            raise InvalidSpec(
                f"{source.name}: {option} can't be carried by a plain LoRA: expected none",
                "adapter",
            )
    if config.bias != "none":
        raise InvalidSpec(f"{source.name}: expected bias none, found {config.bias}", "adapter")
    found = changes(model)
    most = rank or max([config.r, *config.rank_pattern.values()])
    plain, figures = assemble(model.unload(), found, most)
    plain.save_pretrained(str(target), save_embedding_layers=False)
    (target / "README.md").unlink(missing_ok=True)
    plain.unload()
    return figures


def _matrix(layer: Any) -> Tensor:
    """A layer's weight as out × in, float32."""
    weight: Tensor = layer.weight.detach().float()
    return weight.T if isinstance(layer, Conv1D) else weight
