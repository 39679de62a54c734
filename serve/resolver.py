"""vLLM's plugin: an unknown adapter name is fetched from the content store, checked, and loaded.

Runs inside vLLM's processes, found through the entry point group `vllm.general_plugins`. Knows the
store and the base; nothing about tenants, aliases or the database: who may ask for which version is
the router's business. Imports vllm only when vLLM calls `register`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import multiprocessing
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.errors import RegistryError
from registry.fingerprint import base_fingerprint, differences
from registry.names import parse_served_name
from registry.settings import load
from registry.store import Store
from serve import base_rows, load_log
from serve.child import die_with_parent
from serve.settings import RESOLVER_PREFIX

# vLLM configures the logger "vllm" and its children only.
_log = logging.getLogger("vllm.switchyard")


class AdapterRefused(Exception):
    """This engine will not serve the adapter; the message says why."""


@dataclass(frozen=True)
class ResolverSettings:
    """`SWITCHYARD_RESOLVER_*`, set by `EngineSettings.environ`."""

    store_url: str
    staging: Path
    max_lora_rank: int
    modules: str
    load_log: Path | None = None


def register(environ: Mapping[str, str] = os.environ) -> None:
    """Called by vLLM in each of its processes; does nothing in a vLLM that isn't ours."""
    if f"{RESOLVER_PREFIX}STORE_URL" not in environ:
        return
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        # The engine core and its workers resolve nothing. A SIGKILLed API server can't stop them:
        # they would keep the memory and the cores for good (seen with vLLM 0.32).
        die_with_parent(parent.pid)
        base_rows.mend()
        log = load(ResolverSettings, RESOLVER_PREFIX, environ).load_log
        if log is not None:
            load_log.install(log)
        return
    from vllm.lora.resolver import LoRAResolverRegistry

    settings = load(ResolverSettings, RESOLVER_PREFIX, environ)
    resolver = StoreResolver(
        Store(settings.store_url),
        settings.staging,
        settings.max_lora_rank,
        frozenset(settings.modules.split(",")),
    )
    LoRAResolverRegistry.register_resolver("switchyard", resolver)


class StoreResolver:
    """Served name → verified local folder → LoRARequest. (vLLM asks for no base class.)"""

    def __init__(
        self, store: Store, staging: Path, max_lora_rank: int, modules: frozenset[str]
    ) -> None:
        self._store = store
        self._staging = staging
        self._max_lora_rank = max_lora_rank
        self._modules = modules
        self._fingerprints: dict[str, dict[str, str]] = {}

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any | None:
        """A LoRARequest, or None for every refusal: vLLM doesn't catch what is raised here."""
        try:
            folder = await asyncio.to_thread(self.stage, base_model_name, lora_name)
        except (AdapterRefused, RegistryError, OSError, ValueError) as error:
            _log.warning("adapter %r refused: %s", lora_name[:96], error)
            return None
        except Exception:
            _log.exception("adapter %r refused: unexpected error", lora_name[:96])
            return None
        from vllm.lora.request import LoRARequest

        # vLLM puts a number of its own in place of this one.
        return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(folder))

    def stage(self, base: str, name: str) -> Path:
        """The verified local folder. Blocks.

        Raises AdapterRefused, ContentMissing, ContentCorrupted, OSError, ValueError.
        """
        parsed = parse_served_name(name)
        if parsed is None:
            raise AdapterRefused("it is not a served name: expected <adapter>@<12 hex digits>")
        digest = self._store.find(parsed[1])
        folder = self._store.fetch(digest, self._staging)
        if base not in self._fingerprints:
            self._fingerprints[base] = base_fingerprint(base_folder(base))
        check_adapter(folder, self._fingerprints[base], self._max_lora_rank, self._modules)
        return folder


def read_manifest(folder: Path) -> dict[str, Any]:
    """An adapter's switchyard.json. Raises AdapterRefused."""
    return _json(folder / "switchyard.json")


def check_adapter(
    folder: Path,
    base: Mapping[str, str] | None,
    max_lora_rank: int,
    modules: frozenset[str] | None = None,
) -> None:
    """Raise AdapterRefused unless an adapter's folder fits the engine's rank, its base and the
    modules that it lets adapters change (None: the caller doesn't know)."""
    manifest = read_manifest(folder)
    config = _json(folder / "adapter_config.json")
    rank = config.get("r")
    if not isinstance(rank, int) or rank < 1:
        raise AdapterRefused(f"adapter_config.json: r is {rank!r}, expected a whole number ≥ 1")
    ranks = [rank, *(r for r in (config.get("rank_pattern") or {}).values())]
    if max(ranks) > max_lora_rank:
        raise AdapterRefused(
            f"its rank {max(ranks)} is above this engine's {max_lora_rank}: train with a rank up "
            f"to {max_lora_rank}, or start the engine with SWITCHYARD_ENGINE_MAX_LORA_RANK"
        )
    targets = config.get("target_modules")
    if modules is not None and isinstance(targets, list):
        # vLLM would leave them out without a word.
        foreign = {str(target).rpartition(".")[2] for target in targets} - modules
        if foreign:
            raise AdapterRefused(
                f"it changes {', '.join(sorted(foreign))}, this engine lets adapters change "
                f"{', '.join(sorted(modules))} only: set SWITCHYARD_ENGINE_LORA_MODULES"
            )
    different = differences(manifest, dict(base)) if base is not None else []
    if different:
        raise AdapterRefused(
            f"it was trained for another base ({manifest.get('base', 'unnamed')}): "
            f"{', '.join(different)} differ from this engine's"
        )


def base_folder(base: str) -> Path:
    """The folder of a base: itself, or where the Hugging Face cache has it (no download)."""
    if Path(base).is_dir():
        return Path(base)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(base, local_files_only=True))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AdapterRefused(f"its folder has no {path.name}") from None
    except ValueError as error:
        raise AdapterRefused(f"its {path.name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise AdapterRefused(f"its {path.name} is not a JSON object")
    return value
