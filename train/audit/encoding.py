"""Text that came through an export badly."""

from __future__ import annotations

import re

from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_MOJIBAKE = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039"
    "\u0152\u017d\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u017e"
    "\u0178]{1,3}"
)


def control_characters(corpus: Corpus) -> list[Finding]:
    """NUL and its neighbours, byte order marks within a text; not tabs and line ends."""
    places = [s.place for s in corpus.samples if any(map(_CONTROL.search, s.texts))]
    return of_rows("control-character", places)


def broken_encoding(corpus: Corpus) -> list[Finding]:
    """U+FFFD, and UTF-8 that was read as Windows-1252."""
    replaced = [s.place for s in corpus.samples if any("\ufffd" in text for text in s.texts)]
    wrong = [s.place for s in corpus.samples if any(map(mojibake, s.texts))]
    figures = {"replacement_characters": len(replaced), "mojibake": len(wrong)}
    either = {*replaced, *wrong}
    return of_rows(
        "broken-encoding", [s.place for s in corpus.samples if s.place in either], figures
    )


def mojibake(text: str) -> bool:
    """Does some part of it become one character when its bytes are read as UTF-8?"""
    if text.isascii():
        return False
    return any(_is_utf8(match.group()) for match in _MOJIBAKE.finditer(text))


def _is_utf8(part: str) -> bool:
    for length in range(2, len(part) + 1):
        for codec in ("cp1252", "latin-1"):
            try:
                if len(part[:length].encode(codec).decode("utf-8")) == 1:
                    return True
            except UnicodeError:
                continue
    return False
