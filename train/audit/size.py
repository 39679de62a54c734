"""The verdict on the whole: enough rows? a skill, or facts to look up?"""

from __future__ import annotations

import re
from collections import Counter

from train.audit.corpus import Corpus, squeezed
from train.audit.duplicates import distinct
from train.audit.finding import Finding

FEWEST = 100
SMALL = 500
ABSENT = 0.8
"""Share of an answer's content words that its prompt does not have."""
DISTINCT = 0.95
"""Share of different answers."""
ONCE = 0.4
"""Share of content words that one answer only has: a skill's answers share theirs."""

_CONTENT = re.compile(r"[^\W_]{4,}|\d{2,}")


def size(corpus: Corpus) -> list[Finding]:
    """Too few, few, or neither. Repeats don't count."""
    usable = distinct(corpus.train)
    if usable < FEWEST:
        return [Finding("too-few-examples", (), {"usable": usable, "needed": FEWEST})]
    if usable < SMALL:
        return [Finding("small-data", (), {"usable": usable, "rank": 4})]
    return []


def lookup(corpus: Corpus) -> list[Finding]:
    """A heuristic: the answers' content words are mostly in no prompt, nearly all answers differ,
    and many of their words are in one answer only."""
    if corpus.kind != "text" or len(corpus.train) < 20:
        return []
    answers = [set(_CONTENT.findall(s.answer.casefold())) for s in corpus.train]
    absent = [
        len(words - set(_CONTENT.findall(s.prompt.casefold()))) / len(words)
        for s, words in zip(corpus.train, answers, strict=True)
        if words
    ]
    counts = Counter(word for words in answers for word in words)
    if not absent:
        return []
    figures = {
        "absent_from_prompt": round(sum(absent) / len(absent), 3),
        "distinct_answers": round(
            len({squeezed(s.answer) for s in corpus.train}) / len(corpus.train), 3
        ),
        "words_used_once": round(sum(n == 1 for n in counts.values()) / counts.total(), 3),
    }
    limits = zip(figures.values(), (ABSENT, DISTINCT, ONCE), strict=True)
    if all(value >= limit for value, limit in limits):
        return [Finding("looks-like-lookup", (), figures)]
    return []
