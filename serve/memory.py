"""How much memory an engine may take here: what is set, else what the machine says. An edge: reads
/proc, the cgroup, nvidia-smi and the sizes of the base's files.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psutil

from serve.plan import MIB, Memory
from serve.settings import EngineSettings
from serve.shape import Shape

CPU_RUNTIME = 2560 * MIB
"""Resident memory of vLLM 0.32's processes and their supervisor on a CPU, next to no model loaded;
seen here: 2,519 MiB, some of it keys and values in use (torch and its libraries are most)."""
GPU_RUNTIME = 3072 * MIB
"""CUDA's context, graphs and a step's activations: vLLM measures them at its start, and gives to
keys and values what they leave. Not measured for this project."""
HOST_SHARE = 0.9
_CGROUP = Path("/sys/fs/cgroup")
_FILE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


class NoGpu(Exception):
    """No GPU's memory can be read here."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"the GPU's memory is not known here ({why}): say it with --memory-gib, or run this "
            "where the engine runs"
        )


def find(settings: EngineSettings, folder: Path, config: dict[str, Any], shape: Shape) -> Memory:
    """For an engine with these settings and this base. Raises NoGpu."""
    host, host_from = free_host()
    weights = weight_bytes(folder, config, shape)
    said = settings.memory_gib
    if settings.device == "cpu":
        budget = int(host * HOST_SHARE) if said is None else int(said * 1024 * MIB)
        where = f"{HOST_SHARE:.0%} of the {host_from}" if said is None else "as set"
        return Memory(budget, where, budget, weights, CPU_RUNTIME, shared=True)
    if said is None:
        whole = gpu_bytes()
        where = f"the smallest GPU's, of which {settings.gpu_memory_utilization:.0%} may be used"
    else:
        whole = int(said * 1024 * MIB)
        where = f"as set, of which {settings.gpu_memory_utilization:.0%} may be used"
    budget = int(whole * settings.gpu_memory_utilization)
    cached = int((host - CPU_RUNTIME) * HOST_SHARE)
    return Memory(budget, where, cached, weights // shape.shards, GPU_RUNTIME, shared=False)


def free_host(cgroup: Path = _CGROUP) -> tuple[int, str]:
    """(bytes that a new process could have, what says so): the machine's, or the cgroup's if less.

    Page cache counts as free, as it gives way.
    """
    available = psutil.virtual_memory().available
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        facts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        left = int(limit) - used + int(facts.get("inactive_file", 0))
    except (OSError, ValueError):  # no cgroup v2, or "max": no limit
        return available, "memory that is free"
    if left < available:
        return max(0, left), "memory that the container's limit leaves"
    return available, "memory that is free"


def gpu_bytes() -> int:
    """Of the smallest GPU. Raises NoGpu."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        return min(int(line) for line in said.stdout.split()) * MIB
    except FileNotFoundError:
        raise NoGpu("there is no nvidia-smi") from None
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise NoGpu(f"nvidia-smi: {error}") from None


def weight_bytes(folder: Path, config: dict[str, Any], shape: Shape) -> int:
    """The base's weights as the engine holds them: the files' size, in the engine's dtype."""
    files = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    kept = str(config.get("dtype") or config.get("torch_dtype") or "")
    return files * shape.number_bytes // _FILE_BYTES.get(kept, shape.number_bytes)


def base_config(folder: Path) -> dict[str, Any]:
    """config.json. Raises OSError, ValueError."""
    value: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return value
