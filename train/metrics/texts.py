"""Answers that are running text: chrF, BLEU and ROUGE-L against one reference each. Knows nothing
about models."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

_WORD = re.compile(r"\w+")


def texts(given: Sequence[str], expected: Sequence[str]) -> dict[str, Any]:
    """chrF (Popović 2015) and BLEU (Papineni et al. 2002) of the whole, by sacrebleu and with its
    signatures (Post 2018), and the mean ROUGE-L. All 0 to 1; sacrebleu's own figures are a hundred
    times these."""
    chrf, bleu = CHRF(), BLEU()
    references = [list(expected)]
    figures = {
        "chrf": round(chrf.corpus_score(list(given), references).score / 100, 6),
        "bleu": round(bleu.corpus_score(list(given), references).score / 100, 6),
    }
    each = [rouge_l(ours, theirs) for ours, theirs in zip(given, expected, strict=True)]
    return {
        **figures,
        "rouge_l": round(sum(each) / len(each), 6),
        "signatures": {"chrf": str(chrf.get_signature()), "bleu": str(bleu.get_signature())},
    }


def rouge_l(given: str, expected: str) -> float:
    """F1 of the longest common subsequence of words, 0 to 1 (Lin 2004, β = 1), lower-cased, in any
    script. Two texts without a word are equal.

    Written here because the usual package, rouge-score, was last released in 2022, brings NLTK and
    absl, and its words are [a-z0-9]+: an answer in Greek scores 0 against itself.
    """
    ours, theirs = _WORD.findall(given.lower()), _WORD.findall(expected.lower())
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * common(ours, theirs) / (len(ours) + len(theirs))


def common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits (Hyyrö 2004): one step a word of `right`,
    so that a thousand words by a thousand take a millisecond."""
    where: dict[str, int] = defaultdict(int)
    for place, word in enumerate(left):
        where[word] |= 1 << place
    every = (1 << len(left)) - 1
    open_ = every
    for word in right:
        met = open_ & where.get(word, 0)
        open_ = ((open_ + met) | (open_ - met)) & every
    return len(left) - open_.bit_count()
