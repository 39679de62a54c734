"""Texts laid end to end, so that words and grams of many are hashed in a few calls.

Bytes are seen as letters see them: lower case, any digit is 0, any white space is one blank. The
hash of a span is the polynomial of its bytes modulo 2^64 (Karp and Rabin 1987), read off running
sums: it depends on the span's bytes alone, never on where they lie or what lies beside them.

Knows bytes; nothing about messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

MOST = 1 << 16
"""Bytes that can be laid at once, a byte after each text included."""

Places = NDArray[np.int64]
Hashes = NDArray[np.uint64]

FOLD = np.arange(256, dtype=np.uint8)
FOLD[ord("A") : ord("Z") + 1] += 32
FOLD[ord("0") : ord("9") + 1] = ord("0")
FOLD[[9, 10, 11, 12, 13]] = 32
_LETTER = np.zeros(256, dtype=bool)
"""Bytes of which words are made, folded: letters, digits, and all beyond ASCII."""
_LETTER[ord("a") : ord("z") + 1] = _LETTER[ord("0")] = _LETTER[128:] = True
_ALONE = np.zeros(256, dtype=bool)
"""Bytes that begin a character which is a word of its own: Chinese, Japanese, Korean."""
_ALONE[0xE3:0xEE] = True

_PRIME = 0x9E3779B97F4A7C15
_INVERSE = pow(_PRIME, -1, 1 << 64)


def _powers(of: int) -> Hashes:
    """of^0, of^1, … modulo 2^64."""
    found = np.full(MOST, of, dtype=np.uint64)
    found[0] = 1
    return np.cumprod(found)


_POWERS, _BACK = _powers(_PRIME), _powers(_INVERSE)


@dataclass(frozen=True)
class Spans:
    """Runs of bytes: where each begins, where it ends (not included), which text it is of."""

    starts: Places
    ends: Places
    text: Places


class Laid:
    """At most `MOST` bytes of texts, each followed by a byte that is in no span."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.count = len(texts)
        self.sizes = np.fromiter(map(len, texts), dtype=np.int64, count=self.count)
        self.codes = np.frombuffer(b"\0".join((*texts, b"")), dtype=np.uint8)
        if self.codes.size > MOST:
            raise ValueError(f"{self.codes.size} bytes can't be laid at once, {MOST} can")
        self.text = np.repeat(np.arange(self.count), self.sizes + 1)
        """By byte, the number of its text."""
        self.folded = FOLD[self.codes]
        self._ends = np.cumsum(self.sizes + 1) - 1

    @cached_property
    def left(self) -> Places:
        """By byte, how many its text has from there on, itself included."""
        found: Places = self._ends[self.text] - np.arange(self.codes.size)
        return found

    @cached_property
    def _sums(self) -> Hashes:
        size = self.codes.size
        sums = np.zeros(size + 1, dtype=np.uint64)
        np.cumsum((self.folded + np.uint64(1)) * _POWERS[:size], out=sums[1:])
        return sums

    def hashed(self, starts: Places, ends: Places) -> Hashes:
        """Of spans, which may not be empty at the very end."""
        found: Hashes = (self._sums[ends] - self._sums[starts]) * _BACK[starts]
        return found

    @cached_property
    def words(self) -> Spans:
        """What stands between blanks."""
        return self._runs(self.folded != 32)

    @cached_property
    def letters(self) -> Spans:
        """Runs of letters and digits; a character of a script without blanks begins one."""
        return self._runs(_LETTER[self.folded], _ALONE[self.folded])

    def _runs(self, inside: NDArray[np.bool_], alone: NDArray[np.bool_] | None = None) -> Spans:
        inside[self._ends] = False
        begins, ends = inside.copy(), inside.copy()
        begins[1:] &= ~inside[:-1]
        ends[:-1] &= ~inside[1:]
        if alone is not None and alone.any():
            begins |= alone & inside
            ends[:-1] |= alone[1:] & inside[:-1]
        starts = np.flatnonzero(begins)
        return Spans(starts, np.flatnonzero(ends) + 1, self.text[starts])
