import sys
from pathlib import Path

import pytest

from registry.settings import SettingsError, load
from serve.settings import EngineSettings, SwapSettings
from tests.serve.making import engine_settings

REQUIRED = {
    "SWITCHYARD_ENGINE_BASE": "train/base/switchyard-tiny",
    "SWITCHYARD_ENGINE_STORE_URL": "file:///store",
    "SWITCHYARD_ENGINE_STAGING": "/staging",
    "SWITCHYARD_ENGINE_LOG_FILE": "/logs/engine.log",
    "SWITCHYARD_ENGINE_ENGINE_API_KEY": "secret",
}
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def test_the_arguments_for_a_cpu(tmp_path: Path) -> None:
    base = tmp_path / "switchyard-tiny"
    base.mkdir()

    assert engine_settings(tmp_path, base=str(base)).argv() == [
        sys.executable,
        "-m",
        "serve.vllm_server",
        *("--model", str(base)),
        *("--served-model-name", "switchyard-tiny"),
        *("--host", "127.0.0.1"),
        *("--port", "8100"),
        *("--dtype", "float32"),
        *("--max-model-len", "1024"),
        *("--max-num-seqs", "64"),
        "--enable-lora",
        *("--max-loras", "16"),
        *("--max-lora-rank", "16"),
        *("--max-cpu-loras", "64"),
        *("--generation-config", "vllm"),
        "--disable-uvicorn-access-log",
        *("--kv-cache-memory-bytes", "536870912"),
        *("--distributed-executor-backend", "uni"),
        "--enforce-eager",
        *("--lora-target-modules", *MODULES),
    ]


def test_the_arguments_for_a_gpu(tmp_path: Path) -> None:
    settings = engine_settings(
        tmp_path, base="Qwen/Qwen3-0.6B", device="cuda", max_lora_rank=32, max_model_len=8192
    )

    assert settings.argv() == [
        sys.executable,
        "-m",
        "serve.vllm_server",
        *("--model", "Qwen/Qwen3-0.6B"),
        *("--served-model-name", "Qwen/Qwen3-0.6B"),
        *("--host", "127.0.0.1"),
        *("--port", "8100"),
        *("--dtype", "auto"),
        *("--max-model-len", "8192"),
        *("--max-num-seqs", "64"),
        "--enable-lora",
        *("--max-loras", "16"),
        *("--max-lora-rank", "32"),
        *("--max-cpu-loras", "64"),
        *("--generation-config", "vllm"),
        "--disable-uvicorn-access-log",
        *("--gpu-memory-utilization", "0.9"),
        *("--tensor-parallel-size", "1"),
        *("--lora-target-modules", *MODULES),
    ]


def test_the_environment_for_a_cpu(tmp_path: Path) -> None:
    inherited = {
        "PATH": "/bin",
        "AWS_PROFILE": "ours",
        "PYTHONDONTWRITEBYTECODE": "1",
        "VLLM_LOGGING_LEVEL": "DEBUG",
        "SWITCHYARD_REGISTRY_DATABASE_URL": "postgresql://u:password@db/registry",
    }

    assert engine_settings(tmp_path).environ(inherited) == {
        "PATH": "/bin",
        "AWS_PROFILE": "ours",
        "VLLM_API_KEY": "engine-secret",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_PLUGINS": "switchyard_lora_resolver",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_SERVER_DEV_MODE": "0",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": "1",
        "SWITCHYARD_RESOLVER_STORE_URL": f"file://{tmp_path}/store",
        "SWITCHYARD_RESOLVER_STAGING": f"{tmp_path}/staging",
        "SWITCHYARD_RESOLVER_MAX_LORA_RANK": "16",
        "SWITCHYARD_RESOLVER_MODULES": ",".join(MODULES),
    }


def test_a_load_log_is_handed_on_to_the_plugin(tmp_path: Path) -> None:
    environ = engine_settings(tmp_path, load_log=tmp_path / "loads").environ({})

    assert environ["SWITCHYARD_RESOLVER_LOAD_LOG"] == str(tmp_path / "loads")


def test_a_gpu_engine_keeps_vllms_own_processes(tmp_path: Path) -> None:
    environ = engine_settings(tmp_path, device="cuda").environ({})

    assert not {"VLLM_ENABLE_V1_MULTIPROCESSING", "OMP_NUM_THREADS"} & environ.keys()


def test_nobody_can_read_the_key_in_the_arguments(tmp_path: Path) -> None:
    assert "engine-secret" not in " ".join(engine_settings(tmp_path).argv())


def test_a_local_base_is_never_looked_up_on_a_hub(tmp_path: Path) -> None:
    assert engine_settings(tmp_path, base=str(tmp_path)).environ({})["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in engine_settings(tmp_path, base="org/model").environ({})


def test_reads_the_environment() -> None:
    settings = load(
        EngineSettings,
        "SWITCHYARD_ENGINE_",
        {**REQUIRED, "SWITCHYARD_ENGINE_PORT": "8200", "SWITCHYARD_ENGINE_MAX_LORA_RANK": "64"},
    )

    assert (settings.port, settings.max_lora_rank) == (8200, 64)
    assert settings.url == "http://127.0.0.1:8200"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("PORT", "0", "expected a number from 1 to 65535"),
        ("MAX_LORA_RANK", "12", "expected one of 1, 8, 16, 32"),
        ("MAX_CPU_LORAS", "2", r"max_cpu_loras \(2\) is less than max_loras \(16\)"),
        ("LORA_MODULES", "q_proj,lm_head", "lm_head"),
        ("DEVICE", "tpu", "expected one of cpu, cuda"),
    ],
)
def test_refuses_what_vllm_would_not_take(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load(EngineSettings, "SWITCHYARD_ENGINE_", {**REQUIRED, f"SWITCHYARD_ENGINE_{name}": value})


def test_an_empty_key_is_refused_because_it_would_open_the_engine() -> None:
    with pytest.raises(SettingsError, match="engine_api_key is empty"):
        load(
            EngineSettings,
            "SWITCHYARD_ENGINE_",
            {**REQUIRED, "SWITCHYARD_ENGINE_ENGINE_API_KEY": ""},
        )


def test_swap_settings_have_defaults_but_for_the_key_and_the_staging_folder() -> None:
    settings = load(
        SwapSettings,
        "SWITCHYARD_SWAP_",
        {"SWITCHYARD_SWAP_ENGINE_API_KEY": "k", "SWITCHYARD_SWAP_STAGING": "/staging"},
    )

    assert settings.min_probes == 16
