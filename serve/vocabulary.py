"""A base's vocabulary: the text of each token, as its tokenizer.json says. Knows the two families
that bases come in: byte-level BPE (GPT-2, Llama 3, Qwen) and SentencePiece ("▁" for a blank: Llama
2, Mistral, Gemma). Reads JSON; loads no tokenizer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKENIZER = "tokenizer.json"
_BLANK = "▁"
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class UnreadableBase(Exception):
    """A base's files aren't what is known here."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file}: {why}")


def texts(folder: Path) -> list[str | None]:
    """By token id, its text, with a leading blank where it begins a word. None: special, added by
    hand, part of a character, or no token. Raises UnreadableBase."""
    path = folder / TOKENIZER
    said = _read(path)
    by_id = _vocabulary(path, said["model"])
    added = {token["id"] for token in said.get("added_tokens") or []}
    read = _of_bytes if _is_byte_level(said) else _of_pieces
    found: list[str | None] = [None] * (max([*by_id, *added], default=-1) + 1)
    for number, token in by_id.items():
        if number not in added:
            found[number] = read(token)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnreadableBase(path, "there is no such file") from None
    except ValueError as error:
        raise UnreadableBase(path, f"it is not JSON: {error}") from None
    if not isinstance(said, dict) or not isinstance(said.get("model"), dict):
        raise UnreadableBase(path, "it has no model")
    return said


def _vocabulary(path: Path, model: dict[str, Any]) -> dict[int, str]:
    """{id: token as it is written there}."""
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):  # BPE
        found = {number: token for token, number in vocabulary.items()}
    elif isinstance(vocabulary, list):  # Unigram: with the score of each
        found = {number: pair[0] for number, pair in enumerate(vocabulary)}
    else:
        found = {}
    if not found or model.get("type") == "WordPiece":
        raise UnreadableBase(path, f"{model.get('type')}: expected the vocabulary of a BPE")
    return found


def _is_byte_level(said: dict[str, Any]) -> bool:
    parts = (said.get("pre_tokenizer"), said.get("decoder"))
    return any(part.get("type") == "ByteLevel" for whole in parts for part in _parts(whole))


def _parts(part: Any) -> Iterator[dict[str, Any]]:
    """A part of a tokenizer, and what it is a sequence of."""
    if isinstance(part, dict):
        yield part
        for inner in [*part.get("pretokenizers", ()), *part.get("decoders", ())]:
            yield from _parts(inner)


def _byte_letters() -> dict[str, int]:
    """{letter: byte}: GPT-2 writes a byte that can be seen as itself, others as what follows
    Latin-1 (openai/gpt-2, src/encoder.py, bytes_to_unicode)."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in set(seen)]
    return {chr(byte): byte for byte in seen} | {
        chr(0x100 + place): byte for place, byte in enumerate(hidden)
    }


_LETTERS = _byte_letters()


def _of_bytes(token: str) -> str | None:
    try:
        return bytes(_LETTERS[letter] for letter in token).decode()
    except (KeyError, UnicodeDecodeError):  # added, or not a whole character
        return None


def _of_pieces(token: str) -> str | None:
    byte = _BYTE.fullmatch(token)
    if byte is None:
        return token.replace(_BLANK, " ")
    value = int(byte[1], 16)
    return chr(value) if value < 0x80 else None
