"""What words mean: found by hash, near where the base's vectors are near, blank where none is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from monitoring.laid import Laid
from monitoring.meaning import DIMENSIONS, Meaning
from monitoring.sketch import LEXICAL, NUMBERS, mark_of, sketch, sketches, unpack

_BILLS = ["invoice", "bill", "charge", "refund"]
_LOCKS = ["door", "lock", "key", "hinge"]
_REST = [
    f"word{'abcdefghijklmnopqrstuvwxyz'[n % 26]}{'aeiou'[n // 26 % 5]}{n // 130 * 'x'}"
    for n in range(600)
]
_TOKENS = ["<s>", None, *(f" {word}" for word in (*_REST, *_BILLS, *_LOCKS)), "Refund", "发", "##"]


def _vectors() -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(len(_TOKENS), 48)).astype(np.float32)
    # As in real ones: how common a token is outweighs what it means.
    vectors += 4 * (rng.normal(size=(len(_TOKENS), 2)) @ rng.normal(size=(2, 48)))
    for words in (_BILLS, _LOCKS):
        middle = 3 * rng.normal(size=48)
        for word in words:
            vectors[_TOKENS.index(f" {word}")] += middle
    return vectors


@pytest.fixture(scope="module")
def table() -> Meaning:
    return Meaning.make(_TOKENS, _vectors())


def _of(table: Meaning, text: str) -> NDArray[np.float64]:
    found = table.of(Laid([text.encode()]))[0].astype(float)
    return found / max(float(np.linalg.norm(found)), 1e-9)


def test_words_that_mean_the_same_lie_close(table: Meaning) -> None:
    assert _of(table, "invoice") @ _of(table, "bill") > 0.6
    assert _of(table, "invoice") @ _of(table, "hinge") < 0.3


def test_a_text_is_what_its_words_are_together(table: Meaning) -> None:
    assert _of(table, "the invoice, the BILL! zzz") @ _of(table, "charge refund") > 0.6


def test_a_word_that_is_no_token_is_what_it_begins_with(table: Meaning) -> None:
    assert (_of(table, "invoices") == _of(table, "invoice")).all()
    assert (_of(table, "invoice2 locksmith") == _of(table, "invoice lock")).all()


def test_unknown_words_say_nothing(table: Meaning) -> None:
    assert not _of(table, "qqq, ##").any()
    assert not _of(table, "").any()


def test_a_script_without_blanks_is_read_by_character(table: Meaning) -> None:
    assert (_of(table, "请发") == _of(table, "发")).all()
    assert _of(table, "发").any()


def test_kept_and_read_again_it_says_the_same(table: Meaning) -> None:
    again = Meaning.load(table.dump())
    assert again.mark == table.mark != 0
    assert len(again) == len(table) == len(_BILLS + _LOCKS + _REST) + 1
    assert (_of(again, "invoice door") == _of(table, "invoice door")).all()
    assert again.dump() == table.dump()


@pytest.mark.parametrize("packed", [b"", b"PK\x03\x04", b"\x93NUMPY"])
def test_what_is_no_table_is_said_so(packed: bytes) -> None:
    with pytest.raises(ValueError, match="no table of meanings"):
        Meaning.load(packed)


def test_a_vocabulary_without_words_is_said_so() -> None:
    with pytest.raises(ValueError, match="none of 2 tokens is a word"):
        Meaning.make(["##", None], np.ones((2, 8), dtype=np.float32))


def test_vectors_are_read_in_slices() -> None:
    class Sliced:
        shape = (len(_TOKENS), 48)
        longest = 0

        def __getitem__(self, rows: slice) -> NDArray[np.float32]:
            self.longest = max(self.longest, rows.stop - rows.start)
            return _vectors()[rows]

    assert Meaning.make(_TOKENS, Sliced()).dump() == Meaning.make(_TOKENS, _vectors()).dump()


def test_narrow_vectors_leave_numbers_blank() -> None:
    table = Meaning.make(_TOKENS, _vectors()[:, :8])
    assert table.of(Laid([b"invoice"])).shape == (1, DIMENSIONS)
    assert not table.of(Laid([b"invoice"]))[0, 6:].any()


def test_a_sketch_says_which_table_it_was_made_with(table: Meaning) -> None:
    prompts = [[{"role": "user", "content": text}] for text in ("my invoice", "", "a lock")]
    without, found = sketches(prompts), sketches(prompts, table)
    assert [mark_of(packed) for packed in found] == [table.mark] * 3
    assert found == [sketch(prompt, table) for prompt in prompts]
    for one, other in zip(without, found, strict=True):
        assert (unpack(one)[:LEXICAL] == unpack(other)[:LEXICAL]).all()
        assert (unpack(one)[NUMBERS:] == unpack(other)[NUMBERS:]).all()
        assert not unpack(one)[LEXICAL:NUMBERS].any()
    assert unpack(found[0])[LEXICAL:NUMBERS].any()
    assert not unpack(found[1])[LEXICAL:NUMBERS].any()
