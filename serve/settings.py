"""Settings of the engine and of the swap. The engine's become vLLM's arguments and environment
here.

SWITCHYARD_ENGINE_*  → EngineSettings
SWITCHYARD_SWAP_*    → SwapSettings
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes for --max-lora-rank."""

RESOLVER_PREFIX = "SWITCHYARD_RESOLVER_"

LINEAR = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"
"""The linear layers of Llama and its relatives, by the names that PEFT gives them."""

_VLLM = "serve.vllm_server"
# Ours must not reach the child (the registry's URL may hold a password), and a child that may not
# write byte code compiles all of vLLM again at every start: three processes, ten seconds each.
_WITHHELD = ("SWITCHYARD_", "VLLM_")
_DROPPED = frozenset({"PYTHONDONTWRITEBYTECODE"})


def _port(default: int) -> int:
    return field(default=default, metadata={"range": (1, 65535)})


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class EngineSettings:
    """One vLLM. `base` is a folder or a Hugging Face id; `engine_api_key` guards its /v1 paths.

    A LoRA slot (`max_loras`) costs memory at `max_lora_rank` and next to no speed; a batch with
    more distinct adapters than slots loses up to half its throughput, so slots are many by
    default.
    """

    base: str
    store_url: str
    staging: Path
    log_file: Path
    engine_api_key: str
    id: str = "engine-0"
    served_name: str | None = None
    device: str = field(default="cpu", metadata={"choices": ("cpu", "cuda")})
    host: str = "127.0.0.1"
    port: int = _port(8100)
    advertise_url: str | None = None
    """Where others reach it, if not at host and port (a Kubernetes Service)."""

    max_loras: int = field(default=16, metadata={"range": (1, 1024)})
    max_lora_rank: int = field(default=16, metadata={"choices": LORA_RANKS})
    lora_modules: str = LINEAR
    """What adapters may change, by commas. Never lm_head: with LoRA on it vLLM computes
    `prompt_logprobs` wrongly, and on a CPU one such request beside others kills the engine
    (https://github.com/vllm-project/vllm/issues/16668, seen with 0.32)."""
    max_cpu_loras: int = field(default=64, metadata={"range": (1, 65536)})
    max_model_len: int = field(default=1024, metadata={"range": (16, 1 << 24)})
    max_num_seqs: int = field(default=64, metadata={"range": (1, 65536)})
    dtype: str | None = field(
        default=None, metadata={"choices": ("auto", "float32", "bfloat16", "float16")}
    )
    """None: float32 on a CPU, what the model says on a GPU."""
    kv_cache_gib: float = field(default=0.5, metadata={"range": (0.01, 4096)})
    """CPU only."""
    threads: int | None = field(default=None, metadata={"range": (1, 1024)})
    """CPU only: OpenMP threads; None: all cores but one, which the HTTP server needs."""
    worker_process: bool | None = None
    """CPU only: give the model a process of its own with threads bound to cores, vLLM's default.
    Without, the engine core runs it: a start costs 10 CPU-seconds and 0.5 GB less. None: with,
    on more than 8 cores."""
    gpu_memory_utilization: float = field(default=0.9, metadata={"range": (0.05, 1.0)})
    tensor_parallel_size: int = field(default=1, metadata={"range": (1, 64)})
    eager: bool | None = None
    """Skip compilation and graph capture; None: on a CPU, where it halves the start, not on a
    GPU."""

    startup_timeout_s: float = field(default=600.0, metadata={"range": (1, 7200)})
    shutdown_timeout_s: float = field(default=15.0, metadata={"range": (0, 600)})
    heartbeat_s: float = field(default=2.0, metadata={"range": (0.05, 10)})
    health_timeout_s: float = field(default=60.0, metadata={"range": (0.1, 600)})
    """An engine that leaves /health unanswered for so long is taken for hung and restarted."""
    backoff_s: float = field(default=0.5, metadata={"range": (0, 600)})
    """Before the first respawn; doubles up to `backoff_max_s`, falls back after a good start."""
    backoff_max_s: float = field(default=30.0, metadata={"range": (0, 3600)})
    plan: bool = False
    """Plan max_loras, max_lora_rank and max_cpu_loras at the start (`switchyard engine plan`)
    instead of taking them from here."""
    memory_gib: float | None = field(default=None, metadata={"range": (0.1, 65536)})
    """What the plan may count on: on a CPU for the whole engine, on a GPU the GPU's memory. None:
    what is free here, or what the GPU has."""
    load_log: Path | None = None
    """For measurements: a file that gets a line for each adapter read and each slot filled."""

    def __post_init__(self) -> None:
        if self.max_cpu_loras < self.max_loras:
            raise ValueError(
                f"max_cpu_loras ({self.max_cpu_loras}) is less than max_loras ({self.max_loras})"
            )
        if "lm_head" in self.lora_modules.split(","):
            raise ValueError("lora_modules names lm_head: vLLM's prompt_logprobs break with it")
        if not self.engine_api_key:
            raise ValueError("engine_api_key is empty: the engine would answer anybody")

    @property
    def name(self) -> str:
        """What the base is called in requests: as set, else the folder's name, else the id."""
        if self.served_name:
            return self.served_name
        return Path(self.base).resolve().name if Path(self.base).is_dir() else self.base

    @property
    def url(self) -> str:
        """Where others reach the engine; no path."""
        return self.advertise_url or f"http://{self.host}:{self.port}"

    def argv(self) -> list[str]:
        """The child's command. The key is not in it: `ps` shows arguments to everybody."""
        on_cpu = self.device == "cpu"
        arguments: dict[str, object] = {
            "model": str(Path(self.base).resolve()) if Path(self.base).is_dir() else self.base,
            "served-model-name": self.name,
            "host": self.host,
            "port": self.port,
            "dtype": self.dtype or ("float32" if on_cpu else "auto"),
            "max-model-len": self.max_model_len,
            "max-num-seqs": self.max_num_seqs,
            "enable-lora": None,
            "max-loras": self.max_loras,
            "max-lora-rank": self.max_lora_rank,
            "max-cpu-loras": self.max_cpu_loras,
            "generation-config": "vllm",
            "disable-uvicorn-access-log": None,
        }
        if on_cpu:
            arguments["kv-cache-memory-bytes"] = int(self.kv_cache_gib * (1 << 30))
            if not self._worker_process:
                arguments["distributed-executor-backend"] = "uni"
        else:
            arguments["gpu-memory-utilization"] = self.gpu_memory_utilization
            arguments["tensor-parallel-size"] = self.tensor_parallel_size
        if self.eager if self.eager is not None else on_cpu:
            arguments["enforce-eager"] = None
        command = [sys.executable, "-m", _VLLM]
        for name, value in arguments.items():
            command += [f"--{name}"] if value is None else [f"--{name}", str(value)]
        return [*command, "--lora-target-modules", *self.lora_modules.split(",")]

    def environ(self, inherited: Mapping[str, str]) -> dict[str, str]:
        """The child's environment: what is inherited less our own settings, plus what vLLM
        needs."""
        kept = {
            name: value
            for name, value in inherited.items()
            if not name.startswith(_WITHHELD) and name not in _DROPPED
        }
        ours = {
            "VLLM_API_KEY": self.engine_api_key,
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",  # what switches resolvers on
            "VLLM_PLUGINS": "switchyard_lora_resolver",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_SERVER_DEV_MODE": "0",
            f"{RESOLVER_PREFIX}STORE_URL": self.store_url,
            f"{RESOLVER_PREFIX}STAGING": str(self.staging.absolute()),
            f"{RESOLVER_PREFIX}MAX_LORA_RANK": str(self.max_lora_rank),
            f"{RESOLVER_PREFIX}MODULES": self.lora_modules,
        }
        if self.load_log is not None:
            ours[f"{RESOLVER_PREFIX}LOAD_LOG"] = str(self.load_log.absolute())
        if Path(self.base).is_dir():
            ours["HF_HUB_OFFLINE"] = "1"
        if self.device == "cpu":
            if not self._worker_process:
                # Or the CPU platform puts the worker process back. The HTTP server and the engine
                # core are two processes all the same.
                ours["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
                ours["OMP_NUM_THREADS"] = str(self.threads or max(1, _cores() - 1))
            elif self.threads is not None:
                ours["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
                ours["OMP_NUM_THREADS"] = str(self.threads)
        return {**kept, **ours}

    @property
    def _worker_process(self) -> bool:
        return _cores() > 8 if self.worker_process is None else self.worker_process


@dataclass(frozen=True)
class SwapSettings:
    """How a candidate gets to traffic. Log-probabilities are natural, per token.

    The tolerances' reasons are in serve/certificate.py.
    """

    engine_api_key: str
    staging: Path
    base: Path | None = None
    """The base's folder where this process can read it: names what differs in a foreign adapter."""
    poll_s: float = field(default=0.5, metadata={"range": (0.01, 60)})
    parity_mean: float = field(default=0.05, metadata={"range": (0, 10)})
    parity_max: float = field(default=1.0, metadata={"range": (0, 100)})
    effect_mean: float = field(default=0.02, metadata={"range": (0, 10)})
    min_probes: int = field(default=16, metadata={"range": (1, 4096)})
    drain_s: float = field(default=30.0, metadata={"range": (0, 3600)})
    """How long a replaced version stays live: as long as the longest request may take."""
    warm_timeout_s: float = field(default=60.0, metadata={"range": (0.1, 3600)})
    request_timeout_s: float = field(default=60.0, metadata={"range": (0.1, 3600)})
    heartbeat_max_age_s: float = field(default=15.0, metadata={"range": (0.1, 3600)})
    concurrency: int = field(default=4, metadata={"range": (1, 256)})
    """Probes in flight at one engine: its tenants' requests wait behind them."""
    recheck_s: float = field(default=3600.0, metadata={"range": (0, 31_536_000)})
    """Seconds until what is live is asked about its probes again (its canary prompts); 0: never."""
