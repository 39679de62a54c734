"""What a base model is, as hashes: an adapter fits a base when these are equal on both sides.

The trainer writes them into an adapter's manifest; the engine compares them with its own base's.
Reads JSON and text of a local folder only. The weights are not hashed (they may be 100 GB): other
weights under an equal architecture are found by the parity check, which compares numbers.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from registry.store import canonical, sha256_file

FINGERPRINT = ("base_config_sha256", "tokenizer_sha256", "chat_template_sha256")

# Where a model came from and how it is run, not what it computes.
_NOT_ARCHITECTURE = frozenset(
    {
        "_name_or_path",
        "_commit_hash",
        "transformers_version",
        "dtype",
        "torch_dtype",
        "use_cache",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_autoset",
        "output_attentions",
        "output_hidden_states",
        "return_dict",
    }
)
# What the last caller asked of the tokenizer: saved with it, but set anew at each call.
_NOT_TOKENIZER = frozenset({"truncation", "padding"})
_SLOW_TOKENIZERS = ("tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")


def base_fingerprint(folder: Path) -> dict[str, str]:
    """{name in FINGERPRINT: SHA-256 hex} of a base model's folder.

    Raises FileNotFoundError, saying which file is missing, ValueError for one that is not JSON.
    """
    config = _read_json(folder, "config.json")
    kept = {name: value for name, value in config.items() if name not in _NOT_ARCHITECTURE}
    return {
        "base_config_sha256": hashlib.sha256(canonical(kept)).hexdigest(),
        "tokenizer_sha256": _tokenizer(folder),
        "chat_template_sha256": hashlib.sha256(_chat_template(folder).encode()).hexdigest(),
    }


def differences(manifest: dict[str, Any], base: dict[str, str]) -> list[str]:
    """Names in FINGERPRINT in which an adapter's manifest and a base differ; empty if it fits."""
    return [name for name in FINGERPRINT if manifest.get(name) != base[name]]


def _tokenizer(folder: Path) -> str:
    if (folder / "tokenizer.json").is_file():
        tokenizer = _read_json(folder, "tokenizer.json")
        kept = {name: value for name, value in tokenizer.items() if name not in _NOT_TOKENIZER}
        return hashlib.sha256(canonical(kept)).hexdigest()
    files = {n: sha256_file(folder / n) for n in _SLOW_TOKENIZERS if (folder / n).is_file()}
    if not files:
        raise FileNotFoundError(f"{folder} holds no tokenizer: expected tokenizer.json")
    return hashlib.sha256(canonical(files)).hexdigest()


def _chat_template(folder: Path) -> str:
    """The template's text, without trailing line ends; empty where the model has none."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8").rstrip("\n")
    if not (folder / "tokenizer_config.json").is_file():
        return ""
    template = _read_json(folder, "tokenizer_config.json").get("chat_template") or ""
    if isinstance(template, str):
        return template.rstrip("\n")
    return canonical(template).decode()  # several named templates


def _read_json(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} is not a model folder: it has no {name}") from None
    except ValueError as error:
        raise ValueError(f"{folder / name} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{folder / name}: expected a JSON object")
    return value
