"""What a base's config.json says of sizes: how many bytes a LoRA slot, a token's keys and values,
and an adapter take. Pure; knows Llama and its relatives (one attention and one gated MLP a layer).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

# vLLM packs these into one layer each; a slot holds room for all of a pack as soon as adapters may
# change one of its parts (vllm/lora/layers/column_parallel_linear.py, 0.32).
_PACKS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class UnknownShape(Exception):
    """A config.json lacks what the sizes follow from."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"config.json has no {name}: sizes are known for Llama and its relatives only; set "
            "SWITCHYARD_ENGINE_MAX_LORAS, _MAX_LORA_RANK and _MAX_CPU_LORAS by hand"
        )


@dataclass(frozen=True)
class Shape:
    """Sizes of a base, in numbers; `number_bytes` is what one takes in the engine."""

    layers: int
    hidden: int
    inner: int
    queries: int
    """Outputs of q_proj: heads × head size."""
    keys: int
    """Outputs of k_proj and of v_proj."""
    number_bytes: int
    shards: int = 1
    """GPUs that share each layer (tensor parallel)."""

    @classmethod
    def of(cls, config: Mapping[str, Any], dtype: str | None, shards: int = 1) -> Shape:
        """From config.json and the engine's dtype ("auto": the config's). Raises UnknownShape."""
        text = config.get("text_config") or config

        def size(name: str) -> int:
            value = text.get(name)
            if not isinstance(value, int) or value < 1:
                raise UnknownShape(name)
            return value

        heads = size("num_attention_heads")
        head = text.get("head_dim") or size("hidden_size") // heads
        kept = text.get("dtype") or text.get("torch_dtype") or config.get("dtype") or "bfloat16"
        return cls(
            layers=size("num_hidden_layers"),
            hidden=size("hidden_size"),
            inner=size("intermediate_size"),
            queries=heads * head,
            keys=(text.get("num_key_value_heads") or heads) * head,
            number_bytes=_BYTES.get(str(kept) if dtype in (None, "auto") else dtype, 2),
            shards=shards,
        )

    def slot_bytes(self, rank: int, modules: Collection[str]) -> int:
        """One slot at `rank` (the engine's max_lora_rank), on each GPU, whatever adapter is in it.

        A layer's A is rank × inputs and its B outputs × rank. Shards split the side that the layer
        itself is split by: B of q, k, v, gate and up; A of o and down.
        """
        asked = set(modules)
        whole = asked.union(*(pack for pack in _PACKS if asked & set(pack)))
        numbers = 0
        for name, (inputs, outputs) in self._linear().items():
            if name in whole:
                by_row = name in ("o_proj", "down_proj")
                numbers += inputs // self.shards if by_row else inputs
                numbers += outputs if by_row else outputs // self.shards
        return numbers * rank * self.layers * self.number_bytes

    def adapter_bytes(self, rank: int, modules: Collection[str]) -> int:
        """One adapter in host memory: at its own rank, only what it changes, unsharded."""
        linear = self._linear()
        numbers = sum(sum(linear[name]) for name in set(modules) & linear.keys())
        return numbers * rank * self.layers * self.number_bytes

    def token_bytes(self) -> int:
        """Keys and values of one token in all layers, on each GPU."""
        return 2 * self.layers * max(1, self.keys // self.shards) * self.number_bytes

    def _linear(self) -> dict[str, tuple[int, int]]:
        """{module: (inputs, outputs)} of a layer."""
        return {
            "q_proj": (self.hidden, self.queries),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.queries, self.hidden),
            "gate_proj": (self.hidden, self.inner),
            "up_proj": (self.hidden, self.inner),
            "down_proj": (self.inner, self.hidden),
        }
