"""Clients: which library, in which version, sends a request, as its headers say.

Of `User-Agent` only the first product and its version are read (RFC 9110, 10.1.5), and of a version
only what looks like one: hosts, comments and what else people put there is left out. OpenAI's
libraries are `OpenAI/Python 2.3.0`; where something else put its own name in front of one, the
library's version is read from its `x-stainless-*` headers. Pure: knows header values, nothing about
HTTP.
"""

from __future__ import annotations

import re
from functools import lru_cache

LONGEST = 80
"""Characters of a client's name."""
LOOKED_AT = 128
"""Bytes of a header's value that are read."""

_VERSION = (
    r"v?\d{1,5}(?:\.\d{1,5}){0,3}(?:[-.+]?(?:alpha|beta|dev|post|rc|a|b)[-.]?\d{0,5})?(?![^\s(;,])"
)
_PRODUCT = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9_-]{0,31})"
    rf"(?:/(?:(?P<language>[A-Za-z]{{1,16}})\s)?(?P<version>{_VERSION}))?"
)
_LIBRARY = re.compile(_VERSION)
_LANGUAGE = re.compile(r"[a-z]{1,16}")


@lru_cache(maxsize=512)  # few clients send many requests
def client(agent: bytes, language: bytes = b"", library: bytes = b"") -> str | None:
    """`OpenAI/Python 2.3.0`, of the values of `User-Agent`, `x-stainless-lang` and
    `x-stainless-package-version`; None where they say nothing that can be read."""
    found = _PRODUCT.match(_text(agent))
    said = "" if found is None else found["name"]
    if found is not None and found["version"]:
        said = found[0]
    version, lang = _text(library), _text(language).lower()
    known = _LIBRARY.fullmatch(version) and _LANGUAGE.fullmatch(lang)
    if known and (found is None or found["version"] != version):
        said = f"{said} (library: {lang} {version})".strip()
    return said[:LONGEST] or None


def _text(value: bytes) -> str:
    return value[:LOOKED_AT].decode("latin-1").strip()
