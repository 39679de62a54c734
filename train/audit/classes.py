"""Answers that are labels: how they are spread, how they are written."""

from __future__ import annotations

from collections import Counter, defaultdict

from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows
from train.split import normal

FEWEST = 5
MOST = 0.8
_SHOWN = 20


def counts(corpus: Corpus) -> Counter[str]:
    """Rows by label; empty when the answers are no labels."""
    if corpus.kind != "label":
        return Counter()
    return Counter(sample.answer for sample in corpus.train)


def rare_classes(corpus: Corpus) -> list[Finding]:
    """Classes with fewer than FEWEST examples."""
    rare = {label: n for label, n in counts(corpus).items() if n < FEWEST}
    places = [s.place for s in corpus.train if s.answer in rare]
    shown = dict(Counter(rare).most_common(_SHOWN))
    return of_rows("rare-class", places, {"classes": len(rare), "counts": shown})


def dominant_class(corpus: Corpus) -> list[Finding]:
    """One class with more than MOST of the rows."""
    found = counts(corpus)
    if len(found) < 2:
        return []
    label, most = found.most_common(1)[0]
    share = most / found.total()
    if share <= MOST:
        return []
    return [Finding("dominant-class", (), {"class": label, "share": round(share, 3)})]


def label_variants(corpus: Corpus) -> list[Finding]:
    """Labels that are the same but for case, spacing and punctuation: all but the most frequent."""
    found = counts(corpus)
    spellings: dict[str, list[str]] = defaultdict(list)
    for label, _ in found.most_common():
        spellings[normal(label) if not any(map(str.isdigit, label)) else label].append(label)
    odd = {label for same in spellings.values() for label in same[1:]}
    variants = [same for same in spellings.values() if len(same) > 1][:_SHOWN]
    places = [s.place for s in corpus.train if s.answer in odd]
    return of_rows("label-variants", places, {"variants": variants})
