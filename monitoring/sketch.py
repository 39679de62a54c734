"""Sketches: what drift detection keeps of a prompt. 281 bytes that can't be turned back into text.

Character 3–5-grams and word 1–2-grams of the last user message are hashed with a sign and projected
to 64 numbers each by a fixed sparse random projection (Kane & Nelson 2014: each gram adds ±1 to a
few coordinates that its hash picks), then scaled to length 1. Twelve descriptors follow: lengths,
script, code share, turns, a hash of the system prompt. Hundreds of grams fall into 128 numbers of
11 bits, so many texts share a sketch; digits are folded to 0 first, so no number is ever in one.

Knows messages and bytes; nothing about tenants, time or tests. Needs no model.

    unpack(sketch([{"role": "user", "content": "my invoice is wrong"}])).shape == (DIMENSIONS,)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from math import log1p
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.meaning import Meaning

VERSION = 1
CHARACTERS = 64
WORDS = 64
DESCRIPTORS = (
    "log_characters",
    "log_words",
    "word_length",
    "digits",
    "uppercase",
    "non_ascii",
    "symbols",
    "lines",
    "turns",
    "has_system",
    "system_hash_high",
    "system_hash_low",
)
DIMENSIONS = CHARACTERS + WORDS + len(DESCRIPTORS)
BYTES = 1 + 2 * DIMENSIONS
MAX_CHARACTERS = 4000
"""A longer text is sketched by its beginning: cost stays bounded and the topic shows early."""

_U = np.uint64
_PRIMES = np.array(
    [
        0x9E3779B97F4A7C15,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
    ],
    dtype=np.uint64,
)
_MIX = _U(0xFF51AFD7ED558CCD)
_SHIFTS = np.array([[0], [16], [32]], dtype=np.uint64)
"""A gram touches one coordinate for each: bits that say which, and with what sign."""
_SIGN = 10 - 6  # the sign's bit, brought to the place above a coordinate's six
_HIGH, _HALF = _U(29), _U(32)
_COORDINATE = CHARACTERS - 1
_GRAMS = CHARACTERS + WORDS

# Bytes as letters see them: lower case, any digit is 0, any white space is one blank.
_FOLD = np.arange(256, dtype=np.uint8)
_FOLD[ord("A") : ord("Z") + 1] += 32
_FOLD[ord("0") : ord("9") + 1] = ord("0")
_FOLD[[9, 10, 11, 12, 13]] = 32
# Bytes that count as digits, capitals, other than ASCII, symbols.
_CLASSES = np.zeros((4, 256), dtype=np.int64)
_CLASSES[0, ord("0") : ord("9") + 1] = 1
_CLASSES[1, ord("A") : ord("Z") + 1] = 1
_CLASSES[2, 128:] = 1
_CLASSES[3, [ord(c) for c in "{}[]()<>=;:_/\\|&*+#@$%^~`\"'"]] = 1


def sketch(messages: Any) -> bytes:
    """Pack a conversation's sketch. Whatever is not messages counts as an empty prompt."""
    user, system, turns = _read(messages)
    raw = user.encode("utf-8", "replace")
    codes = np.frombuffer(raw, dtype=np.uint8)
    folded = _FOLD[codes]
    words = folded.tobytes().split()
    packed = np.empty(DIMENSIONS, dtype=np.float32)
    packed[:_GRAMS] = _project(_character_grams(folded), _word_grams(words))
    packed[_GRAMS:] = _describe(user, codes, len(words), system, turns)
    return pack(packed)


def sketches(conversations: Sequence[object], meaning: Meaning | None = None) -> list[bytes]:
    """A stand-in: of each, with the mark of the table in the last descriptor."""
    made = [sketch(messages) for messages in conversations]
    if meaning is None:
        return made
    mark = np.float16(meaning.mark / 65536).astype("<f2").tobytes()
    return [packed[:-2] + mark for packed in made]


def pack(numbers: NDArray[np.float32]) -> bytes:
    """A sketch of these numbers, rounded to 16 bits."""
    return bytes((VERSION,)) + numbers.astype("<f2").tobytes()


def unpack(packed: bytes) -> NDArray[np.float32]:
    """The numbers of a sketch. Raises ValueError for bytes that are not one of this version."""
    if len(packed) != BYTES or packed[0] != VERSION:
        raise ValueError(
            f"expected a sketch of version {VERSION} in {BYTES} bytes, found {len(packed)} bytes"
            + (f" of version {packed[0]}" if packed else "")
        )
    return np.frombuffer(packed, dtype="<f2", offset=1).astype(np.float32)


def _read(messages: Any) -> tuple[str, str, int]:
    """(last user message, system prompts, number of messages), from anything at all."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        return "", "", 0
    user, system = "", ""
    for message in messages:
        if isinstance(message, Mapping):
            role = message.get("role")
            if role == "user":
                user = text_of(message.get("content"))
            elif role in ("system", "developer"):
                system += text_of(message.get("content"))
    return user[:MAX_CHARACTERS], system, len(messages)


def text_of(content: Any) -> str:
    """A message's text: a string, or the text parts of a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(part for part in parts if isinstance(part, str))


def _character_grams(folded: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hashes of all runs of 3, 4 and 5 bytes."""
    wide = folded.astype(np.uint64) + _U(1)
    if wide.size < 3:
        short: NDArray[np.uint64] = wide * _PRIMES[0]
        return short
    lengths = range(3, min(wide.size, 5) + 1)
    return np.concatenate([np.correlate(wide, _PRIMES[:n], "valid") for n in lengths])


def _word_grams(words: list[bytes]) -> NDArray[np.uint64]:
    """Hashes of all words and pairs of neighbours."""
    single = np.fromiter(map(zlib.crc32, words), dtype=np.uint64, count=len(words)) + _U(1)
    if single.size < 2:
        return single
    return np.concatenate([single, single[:-1] * _PRIMES[0] + single[1:] * _PRIMES[1]])


def _project(characters: NDArray[np.uint64], words: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Add each gram, with a sign, to a few coordinates of its kind; scale each kind's sum to length
    1. Both kinds in one go: so few numbers cost what calls cost."""
    grams = np.concatenate([characters, words])
    mixed = grams ^ (grams >> _HIGH)
    mixed *= _MIX
    mixed ^= mixed >> _HALF
    bits = (mixed >> _SHIFTS).view(np.int64)
    # Counted with the sign as the highest digit: those to add, then those to take away.
    places = (bits & _COORDINATE) | ((bits >> _SIGN) & CHARACTERS)
    places[:, characters.size :] += 2 * CHARACTERS
    counts = np.bincount(places.ravel(), minlength=4 * CHARACTERS).reshape(2, 2, CHARACTERS)
    total = counts[:, 0] - counts[:, 1]
    lengths = np.sqrt((total * total).sum(axis=1))
    found: NDArray[np.float64] = total / np.maximum(lengths, 1.0)[:, None]
    return found.ravel().astype(np.float32)


def _describe(
    user: str, codes: NDArray[np.uint8], words: int, system: str, turns: int
) -> list[float]:
    """The descriptors, each between 0 and 1."""
    size = max(codes.size, 1)
    counts = np.bincount(codes, minlength=256)
    digits, uppercase, non_ascii, symbols = (_CLASSES @ counts).tolist()
    hashed = zlib.crc32(system.encode("utf-8", "replace")) if system else 0
    return [
        min(log1p(len(user)) / 9.0, 1.0),
        min(log1p(words) / 7.0, 1.0),
        min(len(user) / (12.0 * max(words, 1)), 1.0),
        digits / size,
        uppercase / size,
        non_ascii / size,
        symbols / size,
        min(log1p(float(counts[10])) / 5.0, 1.0),
        min(log1p(turns) / 5.0, 1.0),
        1.0 if system else 0.0,
        (hashed >> 24) / 255.0,
        ((hashed >> 16) & 255) / 255.0,
    ]
