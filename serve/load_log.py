"""A truthful count of adapter loads, for measurements: a line for each, written where it happens.

    read triage@4f1c…     its files were read into host memory
    slot triage@4f1c…     its weights were copied into a slot of the model

`vllm:lora_requests_info` shows which adapters requests name, not which are resident; vLLM (0.32)
has no figure for either event. So the two methods that do the work are wrapped, in the process that
runs the model. Knows nothing about routing; off unless SWITCHYARD_ENGINE_LOAD_LOG names a file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def install(file: Path) -> None:
    """Called by the plugin in the process that runs the model, before it does.

    Lines are appended unbuffered, each in one write, so that several workers may share a file.
    """
    from vllm.lora.model_manager import LoRAModelManager
    from vllm.lora.worker_manager import WorkerLoRAManager

    file.parent.mkdir(parents=True, exist_ok=True)
    log = file.open("ab", buffering=0)
    names: dict[int, str] = {}
    read, activate = WorkerLoRAManager._load_adapter, LoRAModelManager.activate_adapter

    def load_adapter(self: Any, request: Any) -> Any:
        loaded = read(self, request)
        names[request.lora_int_id] = request.lora_name
        log.write(f"read {request.lora_name}\n".encode())
        return loaded

    def activate_adapter(self: Any, lora_id: int) -> Any:
        moved = activate(self, lora_id)
        if moved and lora_id in names:  # a warm-up's dummies have no name
            log.write(f"slot {names[lora_id]}\n".encode())
        return moved

    WorkerLoRAManager._load_adapter = load_adapter
    LoRAModelManager.activate_adapter = activate_adapter
