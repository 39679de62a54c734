"""A mend for vLLM's LoRA on CPU: in a mixed batch, the base's rows stay the base's.

vLLM marks rows without an adapter by slot -1. Its GPU kernels skip them; its CPU code
(`vllm/lora/ops/torch_ops`, 0.32) indexes the stacked weights with -1, which is the last slot. As
soon as every slot holds an adapter, a request to the base that shares a batch with a request to any
adapter is answered with somebody else's. Shrinking such rows to zero makes the rest add nothing.
"""

from __future__ import annotations

from typing import Any


def mend() -> None:
    """Replace the CPU shrink; called in the process that runs the model, before it does.

    Does nothing on other devices, whose kernels need no mending.
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    shrink = lora_ops.bgmv_shrink

    def bgmv_shrink(
        inputs: Any, weights: Any, output: Any, slots: Any, scaling: float = 1.0
    ) -> None:
        shrink(inputs, weights, output, slots, scaling)
        output.masked_fill_((slots < 0).unsqueeze(1), 0)

    lora_ops.bgmv_shrink = bgmv_shrink  # sgmv_shrink finds it there
    punica_cpu.bgmv_shrink = bgmv_shrink
