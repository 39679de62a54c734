"""What the base's words mean: a few numbers for each word that is one of its tokens.

Made once from the base's own token embeddings: their mean and their strongest directions, which say
how common a token is rather than what it means, are taken away (Mu and Viswanath, "All-but-the-
top", 2018); what is left is projected to its next principal directions. Common words weigh little,
by a / (a + p) (Arora et al., "A simple but tough-to-beat baseline for sentence embeddings", 2017),
where p is guessed from a token's number: tokenizers number tokens by how common they were (Zipf).

A word is found by its hash, so no text is in a table: 36 bytes a word. Knows words as hashes and
numbers; nothing about files or models.

    table = Meaning.make([" invoice", " bill", " cat"], vectors)
    Meaning.load(table.dump()).mark == table.mark
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from monitoring.laid import MOST, Hashes, Laid, Places, Spans

DIMENSIONS = 32
_COMMON = 2
"""Directions taken away."""
_SAMPLE = 16_384
"""Tokens by which directions are found."""
_SLICE = 4096
_RARE = 1e-3  # a of the weight
_SHORTEST, _LONGEST = 3, 16
"""Bytes of a token that a word is taken for which begins with it and is none itself."""
_TOP = np.uint64(32)
_SCALE = 127.0


class Vectors(Protocol):
    """Token embeddings: rows by token id, read in slices."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]: ...


class Meaning:
    """`keys`: (words,) hashes, sorted. `rows`: (words, DIMENSIONS)."""

    def __init__(self, keys: NDArray[np.uint32], rows: NDArray[np.int8], mark: int) -> None:
        self._keys = keys
        self._rows = rows
        self.mark = mark
        """16 bits, never 0, that say which table this is: numbers of two can't be compared."""

    def __len__(self) -> int:
        return len(self._keys)

    @classmethod
    def make(cls, tokens: Sequence[str | None], vectors: Vectors) -> Meaning:
        """`tokens`: by id, the text, with a blank before it where it begins a word; None for those
        that are no text. `vectors`: (len(tokens) or more, width). Raises ValueError when no token
        is a word."""
        ids, keys = _words(tokens)
        if not len(ids):
            raise ValueError(f"none of {len(tokens)} tokens is a word: no meanings to be had")
        mean, axes = _directions(vectors, len(tokens))
        numbers = np.empty((len(ids), DIMENSIONS), dtype=np.float64)
        for at in range(0, len(tokens), _SLICE):
            here = slice(*np.searchsorted(ids, (at, at + _SLICE)))
            if here.start < here.stop:
                rows = vectors[at : min(at + _SLICE, len(tokens))]
                numbers[here] = (rows[ids[here] - at] - mean) @ axes
        numbers /= np.maximum(np.linalg.norm(numbers, axis=1), 1e-9)[:, None]
        common = 1.0 / ((ids + 1.0) * np.log(len(tokens) + 2.0))
        numbers *= (_RARE / (_RARE + common))[:, None]
        every, group = np.unique(keys, return_inverse=True)
        sums = np.zeros((len(every), DIMENSIONS))
        np.add.at(sums, group, numbers)
        sums /= np.bincount(group)[:, None]  # spellings that letters see as one
        return cls._sealed(every, np.rint(sums * _SCALE).astype(np.int8))

    @classmethod
    def _sealed(cls, keys: NDArray[np.uint32], rows: NDArray[np.int8]) -> Meaning:
        digest = hashlib.sha256(keys.tobytes() + rows.tobytes()).digest()
        return cls(keys, rows, int.from_bytes(digest[:2], "little") or 1)

    def dump(self) -> bytes:
        """For a file. The same table gives the same bytes."""
        packed = io.BytesIO()
        np.savez_compressed(packed, keys=self._keys, rows=self._rows)
        return packed.getvalue()

    @classmethod
    def load(cls, packed: bytes) -> Meaning:
        """What `dump` gave. Raises ValueError."""
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
                keys, rows = arrays["keys"], arrays["rows"]
        except (ValueError, KeyError, EOFError, OSError, BadZipFile) as error:
            raise ValueError(f"{len(packed)} bytes are no table of meanings: {error}") from None
        if (
            (keys.dtype, rows.dtype) != (np.dtype(np.uint32), np.dtype(np.int8))
            or rows.shape != (keys.size, DIMENSIONS)
            or not keys.size
        ):
            raise ValueError(
                f"expected keys of uint32 and rows of int8 × {DIMENSIONS}, found {keys.dtype} "
                f"{keys.shape} and {rows.dtype} {rows.shape}"
            )
        return cls._sealed(keys, rows)

    def of(self, laid: Laid) -> NDArray[np.int64]:
        """(texts, DIMENSIONS): by text, the sum of its words' numbers; 0 where it knows none."""
        words = laid.letters
        at, known = self._found(laid.hashed(words.starts, words.ends))
        unknown = np.flatnonzero(~known)
        if unknown.size:
            self._beginnings(laid, words, unknown, at, known)
        found = np.zeros((laid.count, DIMENSIONS), dtype=np.int64)
        texts = words.text[known]
        if texts.size:
            first = np.flatnonzero(np.diff(texts, prepend=-1))
            rows = self._rows[at[known]]
            found[texts[first]] = np.add.reduceat(rows, first, axis=0, dtype=np.int64)
        return found

    def _found(self, hashes: Hashes) -> tuple[Places, NDArray[np.bool_]]:
        keys = (hashes >> _TOP).astype(np.uint32)
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return at, self._keys[at] == keys

    def _beginnings(
        self, laid: Laid, words: Spans, which: Places, at: Places, known: NDArray[np.bool_]
    ) -> None:
        """Words that are no tokens, by the longest token that they begin with."""
        sizes = words.ends[which] - words.starts[which]
        for size in range(min(int(sizes.max()) - 1, _LONGEST), _SHORTEST - 1, -1):
            longer = which[sizes > size]
            if not longer.size:
                continue
            starts = words.starts[longer]
            there, so = self._found(laid.hashed(starts, starts + size))
            at[longer], known[longer] = there, so
            which = which[~known[which]]
            sizes = words.ends[which] - words.starts[which]
            if not which.size:
                return


def _words(tokens: Sequence[str | None]) -> tuple[Places, NDArray[np.uint32]]:
    """(ids in order, keys) of the tokens that are words; one that stands in the middle of words
    only where no other says the same."""
    ids: list[int] = []
    keys: list[int] = []
    inner: list[int] = []
    inner_keys: list[int] = []
    for numbers, laid in _laid(tokens):
        spans = laid.letters
        whole = spans.ends - spans.starts == laid.sizes[spans.text]
        found = (laid.hashed(spans.starts, spans.ends)[whole] >> _TOP).tolist()
        for number, key in zip(spans.text[whole].tolist(), found, strict=True):
            token = tokens[numbers[number]] or ""
            into = (ids, keys) if token.startswith(" ") else (inner, inner_keys)
            into[0].append(numbers[number])
            into[1].append(key)
    begun = set(keys)
    for number, key in zip(inner, inner_keys, strict=True):
        if key not in begun:
            ids.append(number)
            keys.append(key)
    order = np.argsort(np.array(ids, dtype=np.int64), kind="stable")
    return np.array(ids, dtype=np.int64)[order], np.array(keys, dtype=np.uint32)[order]


def _laid(tokens: Sequence[str | None]) -> Iterable[tuple[list[int], Laid]]:
    """Tokens without their blank, as many at a time as can be laid."""
    numbers: list[int] = []
    texts: list[bytes] = []
    size = 0
    for number, token in enumerate(tokens):
        text = (token or "").strip(" ").encode("utf-8", "replace")
        if not text or len(text) > 100:
            continue
        if size + len(text) + 1 > MOST:
            yield numbers, Laid(texts)
            numbers, texts, size = [], [], 0
        numbers.append(number)
        texts.append(text)
        size += len(text) + 1
    if texts:
        yield numbers, Laid(texts)


def _directions(vectors: Vectors, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """(mean, (width, DIMENSIONS)): what to take away, and on what to project. Narrow vectors leave
    the last columns zero."""
    step = max(count // _SAMPLE, 1)
    slices = (vectors[at : min(at + _SLICE, count)] for at in range(0, count, _SLICE))
    sample = np.concatenate([part[::step].astype(np.float64) for part in slices])
    mean = sample.mean(axis=0)
    sample -= mean
    _, turned = np.linalg.eigh(sample.T @ sample)
    axes = turned[:, ::-1][:, _COMMON : _COMMON + DIMENSIONS]
    # Each direction to one side, whatever the library that found it says.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    found = np.zeros((sample.shape[1], DIMENSIONS))
    found[:, : axes.shape[1]] = axes
    return mean, found
