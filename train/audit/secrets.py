"""What must not be learned because it opens something. Found values are never shown, only masked:
the part that all of their kind have, and their length."""

from __future__ import annotations

import re
from collections import Counter

from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows

PATTERNS: dict[str, re.Pattern[str]] = {
    "private key": re.compile(
        r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[\s\S]*?-----END (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----|[\s\S]*)"
    ),
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "API key": re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{20,}"),
    "Slack token": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "Google key": re.compile(r"\bAIza[A-Za-z0-9_-]{35}"),
    "JWT": re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"),
    "URL password": re.compile(r"(?<=://)[^\s/:@]{1,64}:[^\s/@]{3,}(?=@)"),
    "password": re.compile(
        r"(?<![A-Za-z])(?:password|passwd|passwort|pwd|secret"
        r"|(?:api|access|secret|auth)[_-]?(?:key|token))"
        r"[\"']?\s*[:=]\s*[\"']?(?=[^\s\"',;]*[\d_!@#%^&*+-])"
        r"(?![<{\[(*$x.…]|your|change)[^\s\"',;]{6,}",
        re.I,
    ),
}
_PREFIX = re.compile(
    r"-----BEGIN [A-Z ]+-----|AKIA|ASIA|(?:sk|pk|rk)[-_]|gh[pousr]_|github_pat_|xox[a-z]-|AIza|eyJ"
)
_ASSIGNED = re.compile(r"([A-Za-z_-]+)[\"']?\s*[:=]")


def secrets(corpus: Corpus) -> list[Finding]:
    """Keys, tokens and passwords in any message, by kind, the first of each masked."""
    places, counts, shown = [], Counter[str](), dict[str, str]()
    for sample in corpus.samples:
        for text in sample.texts:
            for kind, value in found_in(text):
                places.append(sample.place)
                counts[kind] += 1
                shown.setdefault(kind, mask(kind, value))
    return of_rows("secret", places, {"kinds": dict(counts), "masked": shown})


def found_in(text: str) -> list[tuple[str, str]]:
    """(kind, value) of each secret."""
    return [
        (kind, match.group())
        for kind, pattern in PATTERNS.items()
        for match in pattern.finditer(text)
    ]


def mask(kind: str, value: str) -> str:
    """The prefix that its kind has, and the length."""
    prefix = _PREFIX.match(value)
    name = _ASSIGNED.match(value) if kind == "password" else None
    start = prefix.group() if prefix else f"{name[1]}=" if name else ""
    return f"{start}… ({len(value)} characters)"


def without_secrets(text: str) -> str:
    """The text with each secret masked."""
    for kind, pattern in PATTERNS.items():
        text = pattern.sub(lambda match, kind=kind: mask(kind, match.group()), text)  # type: ignore[misc]
    return text
