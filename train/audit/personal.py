"""Data about people that a model should not learn: addresses and numbers. Shown masked only."""

from __future__ import annotations

from collections import defaultdict

from monitoring.personal import found_in, mask
from train.audit.corpus import Corpus
from train.audit.finding import Finding, Place, of_rows


def personal(corpus: Corpus) -> list[Finding]:
    """A finding for each kind of personal data in any message, the first value masked."""
    places: dict[str, list[Place]] = defaultdict(list)
    shown: dict[str, str] = {}
    for sample in corpus.samples:
        for text in sample.texts:
            for code, value in found_in(text):
                places[code].append(sample.place)
                shown.setdefault(code, mask(value))
    return [
        finding
        for code, found in places.items()
        for finding in of_rows(code, found, {"values": len(found), "masked": shown[code]})
    ]
