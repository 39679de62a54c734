"""What words mean, for texts that no base was asked about: the table of a stand-in for a base.

WordLlama 0.4 (Lee Miller, MIT) brings 256 numbers for each of the 32,000 tokens of Llama 2: its
token embeddings, narrowed and trained on for likeness. A base's own, as they are, will say rather
less. Fetched from the package index at a pinned version and read from its archive, never run.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from bench.drift.texts import download
from monitoring.meaning import Meaning

_PACKAGE = "wordllama==0.4.0.post1"


def meaning(folder: Path) -> Meaning:
    """The table, made anew each time: the same. Raises BenchError."""
    from safetensors.numpy import load

    from serve import vocabulary

    download(folder, _PACKAGE, "wheel")
    archive = next(folder.glob("wordllama*.whl"))
    with zipfile.ZipFile(archive) as wheel:
        tokenizer = wheel.read("wordllama/tokenizers/l2_supercat_tokenizer_config.json")
        weights = load(wheel.read("wordllama/weights/l2_supercat_256.safetensors"))
    (folder / vocabulary.TOKENIZER).write_bytes(tokenizer)
    (vectors,) = weights.values()
    return Meaning.make(vocabulary.texts(folder), vectors.astype(np.float32))
