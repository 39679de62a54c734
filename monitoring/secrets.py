"""Secrets in texts: what opens something. Masked, a found value shows only the part that all of its
kind have, and its length.

Quantifiers are bounded where a text could be written to make a search take quadratic time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

PATTERNS: dict[str, re.Pattern[str]] = {
    "private key": re.compile(
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[\s\S]*?-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|[\s\S]*)"
    ),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "API key": re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}"),
    "GitLab token": re.compile(r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "Hugging Face token": re.compile(r"\bhf_[A-Za-z0-9]{20,}"),
    "Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "Google key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "JWT": re.compile(r"\beyJ[A-Za-z0-9_-]{8,1024}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"),
    "URL password": re.compile(r"(?<=://)[^\s/:@]{1,64}:[^\s/@]{3,}(?=@)"),
    "password": re.compile(
        r"(?<![A-Za-z])(?:password|passwd|passwort|pwd|secret"
        r"|(?:api|access|secret|auth)[_-]?(?:key|token))"
        r"[\"']?\s*[:=]\s*[\"']?(?=[^\s\"',;]{0,64}[\d_!@#%^&*+-])"
        r"(?![<{\[(*$x.…]|your|change)[^\s\"',;]{6,}",
        re.I,
    ),
    "bearer token": re.compile(
        r"\bbearer\s{1,8}(?=[A-Za-z._~+/-]{0,64}\d)[A-Za-z0-9._~+/-]{16,}=*", re.I
    ),
}
_PREFIX = re.compile(
    r"-----BEGIN [A-Z ]+-----|AKIA|ASIA|(?:sk|pk|rk)[-_]|gh[pousr]_|github_pat_|xox[a-z]-|AIza|eyJ"
    r"|glpat-|hf_|[Bb][Ee][Aa][Rr][Ee][Rr]\s"
)
_ASSIGNED = re.compile(r"([A-Za-z_-]+)[\"']?\s*[:=]")
_HINTS: dict[str, tuple[str, ...]] = {
    "private key": ("-----begin ",),
    "AWS key": ("akia", "asia"),
    "API key": ("sk", "pk", "rk"),
    "GitHub token": ("gh", "github_pat_"),
    "GitLab token": ("glpat-",),
    "Hugging Face token": ("hf_",),
    "Slack token": ("xox",),
    "Google key": ("aiza",),
    "JWT": ("eyj",),
    "URL password": ("://",),
    "password": ("pass", "pwd", "secret", "key", "token"),
    "bearer token": ("bearer",),
}
"""Without one of these in it (in small letters), a text has nothing of the kind: this is asked
first, because it costs a hundredth."""


def found_in(text: str) -> list[tuple[str, str]]:
    """(kind, value) of each secret."""
    return [
        (kind, match.group())
        for kind, pattern in _possible(text)
        for match in pattern.finditer(text)
    ]


def mask(kind: str, value: str) -> str:
    """The prefix that its kind has, and the length."""
    prefix = _PREFIX.match(value)
    name = _ASSIGNED.match(value) if kind == "password" else None
    start = prefix.group() if prefix else f"{name[1]}=" if name else ""
    return f"{start}… ({len(value)} characters)"


def without_secrets(text: str, shown: Callable[[str, str], str] = mask) -> str:
    """The text with each secret as `shown(kind, value)`: masked, where that is not given."""
    for kind, pattern in _possible(text):
        text = pattern.sub(partial(_shown, shown, kind), text)
    return text


def _shown(shown: Callable[[str, str], str], kind: str, match: re.Match[str]) -> str:
    return shown(kind, match.group())


def _possible(text: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    small = text.lower()
    for kind, pattern in PATTERNS.items():
        if any(hint in small for hint in _HINTS[kind]):
            yield kind, pattern
