"""A base's input embeddings: a row of numbers for each token, out of its safetensors files.

Read by memory map and in slices, so a matrix of gigabytes takes no memory. Needs no torch: 16-bit
floats that numpy doesn't know (bfloat16) are the upper halves of 32-bit ones.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.vocabulary import UnreadableBase

_NAMES = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings")
"""What model families call the layer: Llama, Qwen and Gemma; GPT-2; NeoX; Bloom and Falcon;
Mistral's own files."""
_RAW = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"
_MOST_HEADER = 100_000_000
"""Bytes; what the format allows (https://huggingface.co/docs/safetensors)."""


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies: `begin` in bytes from the file's start."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class Embeddings:
    """`embeddings[a:b]` are float32 of shape (b - a, width), by token id."""

    def __init__(self, folder: Path) -> None:
        """Opens the file; reads no numbers yet. Raises UnreadableBase."""
        tensor = _find(folder)
        raw = _RAW.get(tensor.dtype)
        if raw is None or len(tensor.shape) != 2:
            raise UnreadableBase(
                tensor.file,
                f"{tensor.name} is {tensor.dtype} of shape {tensor.shape}: expected rows of "
                + ", ".join(_RAW),
            )
        self.shape: tuple[int, ...] = tensor.shape
        self._wide = tensor.dtype == "BF16"
        size = tensor.shape[0] * tensor.shape[1] * np.dtype(raw).itemsize
        if tensor.end - tensor.begin != size or tensor.file.stat().st_size < tensor.end:
            raise UnreadableBase(tensor.file, f"{tensor.name} is cut off")
        self._rows = np.memmap(
            tensor.file, dtype=raw, mode="r", offset=tensor.begin, shape=tensor.shape
        )

    def __getitem__(self, rows: slice) -> NDArray[np.float32]:
        part = np.asarray(self._rows[rows])
        if self._wide:
            return (part.astype(np.uint32) << 16).view(np.float32)
        return part.astype(np.float32)


def _find(folder: Path) -> _Tensor:
    files = _files(folder)
    names = {name: file for file, found in files.items() for name in found}
    for kind in _NAMES:
        # The shortest: in a model of several parts, the others' have longer names.
        for name in sorted((n for n in names if _is_layer(n, kind)), key=lambda n: (len(n), n)):
            return _locate(names[name], name)
    raise UnreadableBase(
        folder, f"no input embeddings among its tensors: expected one of {', '.join(_NAMES)}"
    )


def _is_layer(tensor: str, kind: str) -> bool:
    return tensor.split(".")[-2:] == [kind, "weight"]


def _files(folder: Path) -> dict[Path, list[str]]:
    """{file: names of its tensors}, by the index where there is one."""
    index = folder / _INDEX
    if index.is_file():
        try:
            said = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            found: dict[Path, list[str]] = {}
            for name, file in said.items():
                found.setdefault(folder / file, []).append(name)
            return found
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UnreadableBase(index, "expected an object with a weight_map") from None
    whole = folder / _WHOLE
    files = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise UnreadableBase(folder, "it has no safetensors files")
    return {file: [*_header(file)[0]] for file in files}


def _locate(file: Path, name: str) -> _Tensor:
    header, start = _header(file)
    try:
        entry = header[name]
        begin, end = entry["data_offsets"]
        shape = tuple(map(int, entry["shape"]))
        return _Tensor(file, name, str(entry["dtype"]), shape, start + begin, start + end)
    except (KeyError, TypeError, ValueError):
        raise UnreadableBase(file, f"its header doesn't say where {name} is") from None


def _header(file: Path) -> tuple[dict[str, Any], int]:
    """(what it says of each tensor, where the numbers begin): 8 bytes with the header's length, the
    header as JSON, the numbers."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > _MOST_HEADER:
                raise ValueError("a header of that length")
            said = json.loads(opened.read(length))
        said.pop("__metadata__", None)
        return said, 8 + length
    except FileNotFoundError:
        raise UnreadableBase(file, "there is no such file") from None
    except (ValueError, AttributeError, struct.error):
        raise UnreadableBase(file, "it is not a safetensors file") from None
