"""What the base's words mean. A stand-in: keeps the contract, holds next to nothing."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

_SLICE = 4096
_WIDTH = 32


class Vectors(Protocol):
    """A matrix that is read in slices of rows: it may be larger than memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, width)."""
        ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]: ...


class Meaning:
    """32 numbers for each word that is a token."""

    def __init__(self, numbers: dict[str, NDArray[np.float32]]) -> None:
        self.numbers = numbers
        digest = hashlib.sha256(self.dump()).digest()
        self.mark = int.from_bytes(digest[:2], "big") or 1

    @classmethod
    def make(cls, tokens: Sequence[str | None], vectors: Vectors) -> Meaning:
        """From the texts of tokens, by id, and a row of the matrix for each."""
        if vectors.shape[0] < len(tokens):
            raise ValueError(f"{len(tokens)} tokens, but {vectors.shape[0]} rows")
        numbers: dict[str, NDArray[np.float32]] = {}
        for first in range(0, len(tokens), _SLICE):
            texts = tokens[first : first + _SLICE]
            rows = vectors[first : first + len(texts)]
            for text, row in zip(texts, rows, strict=True):
                word = (text or "").strip()
                if text and text.startswith(" ") and word:
                    numbers[word] = np.resize(row, _WIDTH).astype(np.float32)
        return cls(numbers)

    def dump(self) -> bytes:
        """As bytes."""
        words = sorted(self.numbers)
        file = io.BytesIO()
        table = [self.numbers[word] for word in words]
        np.savez(file, words=np.array(words, dtype=np.str_), table=np.array(table, np.float32))
        return file.getvalue()

    @classmethod
    def load(cls, packed: bytes) -> Meaning:
        """Raises ValueError for what is not one."""
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as kept:
                words: list[Any] = kept["words"].tolist()
                return cls(dict(zip(words, kept["table"], strict=True)))
        except (OSError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile):
            raise ValueError("not a table of meanings") from None
