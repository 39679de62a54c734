"""What a base's tokenizer.json says of its tokens' texts: the project's own, and small ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serve.vocabulary import UnreadableBase, texts

OWN = Path(__file__).parents[2] / "train" / "base" / "switchyard-tiny"


def base(folder: Path, **said: Any) -> Path:
    (folder / "tokenizer.json").write_text(json.dumps(said), encoding="utf-8")
    return folder


def test_the_own_bases_tokens_are_words_of_its_texts() -> None:
    from tokenizers import Tokenizer

    found = texts(OWN)
    tokenizer = Tokenizer.from_file(str(OWN / "tokenizer.json"))
    assert len(found) == tokenizer.get_vocab_size()
    sentence = "please refund my invoice: 40 € für Łukasz 日本"
    ids = tokenizer.encode(sentence).ids
    for number in ids:
        alone = tokenizer.decode([number], skip_special_tokens=False)
        assert found[number] == (None if "\N{REPLACEMENT CHARACTER}" in alone else alone)
    assert {found[number] for number in ids} >= {" refund", ":", None}
    assert found[tokenizer.token_to_id("<|begin|>")] is None


def test_tokens_of_bytes_are_read_as_text(tmp_path: Path) -> None:
    letters = {"a": 0, "Ġrefund": 1, "Ċ": 2, "Ã¼": 3, "Ã": 4, "<|end|>": 5, "Ġ": 7}
    whole = base(
        tmp_path,
        added_tokens=[{"id": 5, "content": "<|end|>", "special": True}, {"id": 8, "content": "x"}],
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [{"type": "Split"}, {"type": "ByteLevel"}],
        },
        model={"type": "BPE", "vocab": letters},
    )
    assert texts(whole) == ["a", " refund", "\n", "ü", None, None, None, " ", None]


@pytest.mark.parametrize("kind", ["BPE", "Unigram"])
def test_pieces_are_read_as_text(tmp_path: Path, kind: str) -> None:
    pieces = ["<unk>", "<0x0A>", "<0xC3>", "▁refund", "ing", "▁", "Ġ", "▁für"]
    scored: Any = [[piece, -1.0] for piece in pieces]
    numbered = {piece: number for number, piece in enumerate(pieces)}
    whole = base(
        tmp_path,
        added_tokens=[{"id": 0, "content": "<unk>", "special": True}],
        decoder={"type": "Sequence", "decoders": [{"type": "Replace"}, {"type": "ByteFallback"}]},
        model={"type": kind, "vocab": scored if kind == "Unigram" else numbered},
    )
    assert texts(whole) == [None, "\n", None, " refund", "ing", " ", "Ġ", " für"]


def test_a_tokenizer_that_is_not_known_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableBase, match=r"tokenizer\.json: there is no such file"):
        texts(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UnreadableBase, match="it is not JSON"):
        texts(tmp_path)
    with pytest.raises(UnreadableBase, match="it has no model"):
        texts(base(tmp_path, added_tokens=[]))
    with pytest.raises(UnreadableBase, match="WordPiece: expected the vocabulary of a BPE"):
        texts(base(tmp_path, model={"type": "WordPiece", "vocab": {"##ing": 0}}))
    with pytest.raises(UnreadableBase, match="expected the vocabulary"):
        texts(base(tmp_path, model={"type": "BPE", "vocab": {}}))
