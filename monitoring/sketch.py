"""Sketches: what drift detection keeps of a prompt. 175 bytes that can't be turned back into text.

Character 3–5-grams and word 1–2-grams of the last user message are hashed with a sign and projected
to 64 numbers each by a fixed sparse random projection (Kane & Nelson 2014: each gram adds ±1 to a
few coordinates that its hash picks), then scaled to length 1. The mean of what the base's words
mean (monitoring/meaning.py), 32 numbers, is scaled so too; without a table they are 0. Twelve
descriptors follow: lengths, script, code share, turns, a hash of the system prompt. Every number is
a whole one of a byte. Hundreds of grams fall into 128 of them, so many texts share a sketch; digits
are folded to 0 first, so no number is ever in one.

Sketches are made of many prompts at once, which costs a fraction of one after another and gives the
same bytes. Knows messages and bytes; nothing about tenants, time or tests.

    unpack(sketch([{"role": "user", "content": "my invoice is wrong"}])).shape == (DIMENSIONS,)
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitoring import meaning as meanings
from monitoring.laid import MOST, Laid, Places
from monitoring.meaning import Meaning

Grams = NDArray[np.uint32]

VERSION = 2
CHARACTERS = 64
WORDS = 64
LEXICAL = CHARACTERS + WORDS
MEANINGS = meanings.DIMENSIONS
NUMBERS = LEXICAL + MEANINGS
"""Those before the descriptors."""
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
DIMENSIONS = NUMBERS + len(DESCRIPTORS)
_HEAD = 3
BYTES = _HEAD + DIMENSIONS
SCALE = 127.0
"""What a number of length 1 is. A descriptor of 0 is -SCALE, one of 1 is SCALE."""
MAX_CHARACTERS = 4000
"""A longer text is sketched by its beginning: cost stays bounded and the topic shows early."""
_TOGETHER = MOST // 2  # bytes; with that, arrays stay in the processor's cache

_PRIMES = [np.uint32(prime) for prime in (2654435761, 2246822519, 3266489917, 668265263, 374761393)]
_MIX = np.uint32(2246822507)
_HIGH, _LOW, _HALF = np.uint32(16), np.uint32(13), np.uint64(32)
_TOUCHED = 3
"""Coordinates that a gram adds to: a byte of its hash each says which, and with what sign."""
_PLACE = np.uint8(2 * CHARACTERS - 1)

# Bytes that count as digits, capitals, other than ASCII, symbols, new lines, and all others.
_DIGIT, _UPPER, _BEYOND, _SYMBOL, _LINE, _OTHER = range(6)
_CLASS = np.full(256, _OTHER, dtype=np.int64)
_CLASS[ord("0") : ord("9") + 1] = _DIGIT
_CLASS[ord("A") : ord("Z") + 1] = _UPPER
_CLASS[128:] = _BEYOND
_CLASS[[ord(c) for c in "{}[]()<>=;:_/\\|&*+#@$%^~`\"'"]] = _SYMBOL
_CLASS[ord("\n")] = _LINE


class _Prompt(NamedTuple):
    user: str
    system: str
    turns: int


def sketch(messages: Any, meaning: Meaning | None = None) -> bytes:
    """Pack a conversation's sketch. Whatever is not messages counts as an empty prompt."""
    return sketches([messages], meaning)[0]


def sketches(conversations: Sequence[Any], meaning: Meaning | None = None) -> list[bytes]:
    """Pack the sketch of each. `meaning`: of the base that they are asked of."""
    found: list[bytes] = []
    waiting: list[_Prompt] = []
    texts: list[bytes] = []
    size = 0
    for messages in conversations:
        prompt = _read(messages)
        text = prompt.user.encode("utf-8", "replace")
        if size + len(text) + 1 > _TOGETHER and texts:
            found += _sketched(waiting, texts, meaning)
            waiting, texts, size = [], [], 0
        waiting.append(prompt)
        texts.append(text)
        size += len(text) + 1
    if texts:
        found += _sketched(waiting, texts, meaning)
    return found


def pack(numbers: NDArray[np.int8], mark: int = 0) -> bytes:
    """A sketch of these numbers. `mark`: of the table of meanings; 0: there was none."""
    return bytes((VERSION, mark & 255, mark >> 8)) + numbers.tobytes()


def unpack(packed: bytes) -> NDArray[np.int8]:
    """The numbers of a sketch. Raises ValueError for bytes that are not one of this version."""
    if not readable(packed):
        raise ValueError(
            f"expected a sketch of version {VERSION} in {BYTES} bytes, found {len(packed)} bytes"
            + (f" of version {packed[0]}" if packed else "")
        )
    return np.frombuffer(packed, dtype=np.int8, offset=_HEAD)


def unpacked(every: Sequence[bytes]) -> NDArray[np.int8]:
    """(sketches, DIMENSIONS): the numbers of sketches that are all readable."""
    whole = np.frombuffer(b"".join(every), dtype=np.int8)
    return whole.reshape(len(every), BYTES)[:, _HEAD:]


def readable(packed: bytes) -> bool:
    """Whether these bytes are a sketch of this version."""
    return len(packed) == BYTES and packed[0] == VERSION


def mark_of(packed: bytes) -> int:
    """Of the table of meanings that a sketch was made with; 0: none."""
    return packed[1] | packed[2] << 8


def text_of(content: Any) -> str:
    """A message's text: a string, or the text parts of a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, (list, tuple)):
        return ""
    parts = (part.get("text") for part in content if isinstance(part, dict))
    return "\n".join(part for part in parts if isinstance(part, str))


def _read(messages: Any) -> _Prompt:
    """Last user message, system prompts and number of messages, from anything at all."""
    if not isinstance(messages, (list, tuple)):
        return _Prompt("", "", 0)
    user, system = "", ""
    for message in messages:
        if isinstance(message, dict):  # JSON's, which is quicker to ask than any mapping
            role = message.get("role")
            if role == "user":
                user = text_of(message.get("content"))
            elif role in ("system", "developer"):
                system += text_of(message.get("content"))
    return _Prompt(user[:MAX_CHARACTERS], system, len(messages))


def _sketched(
    prompts: list[_Prompt], texts: list[bytes], meaning: Meaning | None
) -> Iterable[bytes]:
    laid = Laid(texts)
    numbers = np.zeros((len(texts), DIMENSIONS), dtype=np.int8)
    numbers[:, :CHARACTERS] = _projected(*_character_grams(laid), laid.count)
    numbers[:, CHARACTERS:LEXICAL] = _projected(*_word_grams(laid), laid.count)
    if meaning is not None:
        numbers[:, LEXICAL:NUMBERS] = _scaled(meaning.of(laid))
    numbers[:, NUMBERS:] = np.rint((2.0 * _described(prompts, laid) - 1.0) * SCALE)
    mark = 0 if meaning is None else meaning.mark
    return [pack(row, mark) for row in numbers]


def _character_grams(laid: Laid) -> tuple[Grams, Places]:
    """Hashes of all runs of 3, 4 and 5 bytes, and of which text each is: of one more than there
    are, where the bytes are not all of the same."""
    wide = laid.folded.astype(np.uint32) + np.uint32(1)
    hashes, texts = [], []
    sums = wide[:-1] * _PRIMES[0] + wide[1:] * _PRIMES[1]
    for size in range(3, 6):
        sums = sums[:-1] + wide[size - 1 :] * _PRIMES[size - 1]
        hashes.append(sums)
        here = slice(sums.size)
        texts.append(np.where(laid.left[here] >= size, laid.text[here], laid.count))
    return np.concatenate(hashes), np.concatenate(texts)


def _word_grams(laid: Laid) -> tuple[Grams, Places]:
    """Hashes of all words and pairs of neighbours, and of which text each is."""
    words = laid.words
    single = (laid.hashed(words.starts, words.ends) >> _HALF).astype(np.uint32)
    same = np.flatnonzero(words.text[1:] == words.text[:-1])
    pairs = single[same] * _PRIMES[0] + single[same + 1] * _PRIMES[1]
    return np.concatenate([single, pairs]), np.concatenate([words.text, words.text[same]])


def _projected(grams: Grams, texts: Places, count: int) -> NDArray[np.float64]:
    """(count, 64): add each gram, with a sign, to a few coordinates of its text."""
    mixed = grams ^ (grams >> _HIGH)
    mixed *= _MIX
    mixed ^= mixed >> _LOW
    # Counted with the sign as the highest digit: those to add, then those to take away.
    places = mixed.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :_TOUCHED] & _PLACE
    at = places + (texts * (2 * CHARACTERS))[:, None]
    counts = np.bincount(at.ravel(), minlength=count * 2 * CHARACTERS)
    both = counts[: count * 2 * CHARACTERS].reshape(count, 2, CHARACTERS)
    return _scaled(both[:, 0] - both[:, 1])


def _scaled(sums: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows, each to length 1, as whole numbers of a byte."""
    lengths = np.sqrt((sums * sums).sum(axis=1))
    found: NDArray[np.float64] = np.rint(sums * (SCALE / np.maximum(lengths, 1.0))[:, None])
    return found


def _described(prompts: list[_Prompt], laid: Laid) -> NDArray[np.float64]:
    """(texts, descriptors), each between 0 and 1."""
    kinds = _OTHER + 1
    classes = laid.text * kinds + _CLASS[laid.codes]
    counts = np.bincount(classes, minlength=laid.count * kinds).reshape(laid.count, kinds)
    shares = counts / np.maximum(laid.sizes, 1)[:, None]
    words = np.bincount(laid.words.text, minlength=laid.count)
    lengths = np.fromiter((len(p.user) for p in prompts), np.float64, laid.count)
    turns = np.fromiter((p.turns for p in prompts), np.float64, laid.count)
    system = np.fromiter((_crc(p.system) for p in prompts), np.int64, laid.count)
    found = np.column_stack(
        [
            np.log1p(lengths) / 9.0,
            np.log1p(words) / 7.0,
            lengths / (12.0 * np.maximum(words, 1)),
            shares[:, _DIGIT],
            shares[:, _UPPER],
            shares[:, _BEYOND],
            shares[:, _SYMBOL],
            np.log1p(counts[:, _LINE]) / 5.0,
            np.log1p(turns) / 5.0,
            [1.0 if p.system else 0.0 for p in prompts],
            (system >> 24) / 255.0,
            ((system >> 16) & 255) / 255.0,
        ]
    )
    least: NDArray[np.float64] = np.minimum(found, 1.0)
    return least


def _crc(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "replace")) if text else 0
