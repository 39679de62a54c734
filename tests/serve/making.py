"""Adapter folders and candidates without torch: what FakeEngine is asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from registry import Registry
from registry.versions import Version
from serve.settings import EngineSettings, SwapSettings
from tests.fake_engine import FakeEngine

KEY = "engine-secret"
BASE = "switchyard-tiny"
BASE_LOGPROB, ADAPTER_LOGPROB = -2.0, -1.0


def base_folder(folder: Path, **config: object) -> Path:
    """A base model's folder without weights."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"model_type": "llama", "hidden_size": 128, "transformers_version": "5.19", **config}
    (folder / "config.json").write_text(json.dumps(said))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"type": "BPE"}, "padding": None}))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def probe(number: int, **changes: object) -> dict[str, Any]:
    """One probe as the trainer writes it, with the figures that `engine()` gives."""
    text = f"ticket {number}"
    ids = list(text.encode())
    return {
        "messages": [{"role": "user", "content": text}],
        "token_ids": [*ids, 7, 8, 2],
        "prompt_length": len(ids),
        "logprobs": [ADAPTER_LOGPROB] * 3,
        "base_logprobs": [BASE_LOGPROB] * 3,
        **changes,
    }


def adapter_folder(
    folder: Path,
    *,
    seed: int = 0,
    probes: int = 16,
    rank: int = 8,
    manifest: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """An adapter's folder; `seed` makes its digest another."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"tenant": "acme", "adapter": "triage", "base": BASE, "rank": rank, **(manifest or {})}
    peft = {"peft_type": "LORA", "r": rank, "target_modules": ["q_proj"], **(config or {})}
    (folder / "adapter_config.json").write_text(json.dumps(peft))
    (folder / "adapter_model.safetensors").write_bytes(b"weights %d" % seed)
    (folder / "switchyard.json").write_text(json.dumps(said))
    (folder / "probes.json").write_text(json.dumps({"probes": [probe(n) for n in range(probes)]}))
    return folder


def engine(**options: Any) -> FakeEngine:
    """A fake engine whose figures are those of `probe`."""

    def logprob(model: str, ids: list[int], position: int) -> float:
        return BASE_LOGPROB if model == BASE else ADAPTER_LOGPROB

    return FakeEngine(base=BASE, api_key=KEY, logprob=logprob, **options)


def tenant(registry: Registry, **fields: Any) -> None:
    """The tenant acme with its adapter and alias triage."""
    registry.tenants.create("acme", **fields)
    registry.adapters.create("acme", "triage", BASE)
    registry.aliases.ensure("acme", "triage", "triage")


def candidate(
    registry: Registry,
    folder: Path,
    *,
    verdict: str = "promote",
    reasons: dict[str, Any] | None = None,
    job_id: str | None = None,
) -> Version:
    """Publish a folder's files and a candidate for them."""
    digest = registry.store.publish(folder)
    manifest = json.loads((folder / "switchyard.json").read_text())
    return registry.versions.publish(
        "acme",
        "triage",
        digest,
        manifest=manifest,
        evaluation={},
        verdict=verdict,
        reasons=reasons,
        job_id=job_id,
    )


def swap_settings(folder: Path, **changes: Any) -> SwapSettings:
    values: dict[str, Any] = {"engine_api_key": KEY, "staging": folder / "staging", "drain_s": 0.0}
    return SwapSettings(**{**values, **changes})


def engine_settings(folder: Path, **changes: Any) -> EngineSettings:
    values: dict[str, Any] = {
        "base": BASE,
        "store_url": f"file://{folder}/store",
        "staging": folder / "staging",
        "log_file": folder / "logs" / "engine.log",
        "engine_api_key": KEY,
        "heartbeat_s": 0.2,
        "backoff_s": 0.05,
        "worker_process": False,
        "threads": 1,
    }
    return EngineSettings(**{**values, **changes})
