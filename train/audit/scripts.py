"""Which scripts rows are written in, by the ranges of Unicode. Tells Latin from Cyrillic, and not
English from German."""

from __future__ import annotations

import re
from collections import Counter

from train.audit.corpus import Corpus, Sample
from train.audit.finding import Finding, of_rows

SCRIPTS = {
    "Latin": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Cyrillic": "\u0400-\u052f",
    "Armenian": "\u0531-\u058f",
    "Hebrew": "\u0590-\u05ff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff",
    "Indic": "\u0900-\u0dff",
    "Thai": "\u0e00-\u0e7f",
    "Georgian": "\u10a0-\u10ff",
    "Ethiopic": "\u1200-\u139f",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "Chinese/Japanese": "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0002a6df",
}
MINORITY = 0.05
_FEWEST_LETTERS = 4
_PATTERNS = {name: re.compile(f"[{ranges}]+") for name, ranges in SCRIPTS.items()}


def script(text: str) -> str | None:
    """The script of most letters; None where there are hardly any."""
    if text.isascii():  # most texts are, and need one pass only
        return "Latin" if sum(map(str.isalpha, text)) >= _FEWEST_LETTERS else None
    counts = {name: sum(map(len, pattern.findall(text))) for name, pattern in _PATTERNS.items()}
    name = max(counts, key=lambda key: counts[key])
    least = 2 if name == "Chinese/Japanese" else _FEWEST_LETTERS
    return name if counts[name] >= least else None


def minority_script(corpus: Corpus) -> list[Finding]:
    """Rows in a script that fewer than MINORITY of the rows use."""
    used = [_scripts(sample) for sample in corpus.train]
    counts = Counter(name for names in used for name in names)
    if len(counts) < 2:
        return []
    rare = {name for name, n in counts.items() if n < MINORITY * len(corpus.train)}
    places = [s.place for s, names in zip(corpus.train, used, strict=True) if names & rare]
    return of_rows("minority-script", places, {"rows": dict(counts.most_common())})


def system_script(corpus: Corpus) -> list[Finding]:
    """Rows whose system prompt is in one script and whose answer is in another."""
    known: dict[str, str | None] = {}
    places = []
    for sample in corpus.train:
        if (system := sample.system) is None:
            continue
        if system not in known:
            known[system] = script(system)
        theirs = script(sample.answer) or script(sample.prompt)
        if known[system] and theirs and known[system] != theirs:
            places.append(sample.place)
    return of_rows("system-script-differs", places)


def _scripts(sample: Sample) -> set[str]:
    return {name for name in (script(sample.prompt), script(sample.answer)) if name}
