"""What must not be learned because it opens something. Found values are never shown, only masked:
the part that all of their kind have, and their length."""

from __future__ import annotations

from collections import Counter

from monitoring.secrets import found_in, mask
from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows


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
