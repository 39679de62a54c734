"""Input embeddings out of safetensors files, as the library writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import TensorSpec, serialize_file

from serve.embeddings import Embeddings
from serve.vocabulary import UnreadableBase

LAYER = "model.embed_tokens.weight"
ROWS = np.linspace(-3, 3, 24, dtype=np.float32).reshape(6, 4)


def write(file: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    specs = {
        name: TensorSpec(
            dtype="bfloat16" if tensor.dtype == np.uint16 else tensor.dtype.name,
            shape=tensor.shape,
            data_ptr=tensor.ctypes.data,
            data_len=tensor.nbytes,
        )
        for name, tensor in tensors.items()
    }
    serialize_file(specs, file, {"format": "pt"})


def bfloat16(numbers: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (numbers.view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize(
    ("kept", "precision"),
    [(ROWS, 0.0), (ROWS.astype(np.float16), 2e-3), (bfloat16(ROWS), 2e-2)],
    ids=["float32", "float16", "bfloat16"],
)
def test_rows_are_read_in_slices(tmp_path: Path, kept: NDArray[Any], precision: float) -> None:
    others = {"a.bias": np.zeros(3, dtype=np.int8), "lm_head.weight": kept * 0}
    write(tmp_path / "model.safetensors", {LAYER: kept, **others})
    embeddings = Embeddings(tmp_path)
    assert embeddings.shape == (6, 4)
    part = embeddings[1:3]
    assert part.dtype == np.float32
    assert np.abs(part - ROWS[1:3]).max() <= precision
    assert np.abs(embeddings[0:6] - ROWS).max() <= precision
    assert embeddings[4:99].shape == (2, 4)


def test_the_own_base_is_read_as_the_library_reads_it() -> None:
    from safetensors.numpy import load_file

    own = Path(__file__).parents[2] / "train" / "base" / "switchyard-tiny"
    expected = load_file(own / "model.safetensors")[LAYER]
    assert (Embeddings(own)[100:200] == expected[100:200]).all()


def test_a_layer_is_found_in_one_of_many_files(tmp_path: Path) -> None:
    write(tmp_path / "model-00001-of-00002.safetensors", {"model.layers.0.wte.weights": ROWS})
    write(tmp_path / "model-00002-of-00002.safetensors", {LAYER: ROWS})
    index = {LAYER: "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert (Embeddings(tmp_path)[0:6] == ROWS).all()
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UnreadableBase, match=r"00002-of-00002\.safetensors: there is no such file"):
        Embeddings(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["transformer.wte.weight"],
        ["gpt_neox.embed_in.weight"],
        ["tok_embeddings.weight"],
        ["model.language_model.embed_tokens.weight", "model.audio_tower.parts.embed_tokens.weight"],
    ],
)
def test_the_layer_has_several_names(tmp_path: Path, names: list[str]) -> None:
    others = {name: ROWS * 0 for name in [*names[1:], "wpe.weight", "model.embed_tokens.bias"]}
    write(tmp_path / "model.safetensors", {**others, names[0]: ROWS})
    assert (Embeddings(tmp_path)[0:6] == ROWS).all()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    with pytest.raises(UnreadableBase, match="it has no safetensors files"):
        Embeddings(tmp_path)
    write(file, {"model.embed_tokens.qweight": np.zeros((6, 4), dtype=np.int8)})
    with pytest.raises(UnreadableBase, match="no input embeddings among its tensors"):
        Embeddings(tmp_path)
    write(file, {LAYER: np.zeros((6, 4), dtype=np.int8)})
    said = rf"{file.name}: {LAYER} is I8 of shape \(6, 4\): expected rows of F32, F16, BF16"
    with pytest.raises(UnreadableBase, match=said):
        Embeddings(tmp_path)
    write(file, {LAYER: ROWS})
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UnreadableBase, match=f"{LAYER} is cut off"):
        Embeddings(tmp_path)
    for rubbish in (b"", b"version https://git-lfs.github.com/spec/v1\n", b"\x02" + b"\0" * 7):
        file.write_bytes(rubbish)
        with pytest.raises(UnreadableBase, match="it is not a safetensors file"):
            Embeddings(tmp_path)
