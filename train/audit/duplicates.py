"""The same thing twice: exact, near (MinHash with locality-sensitive hashing), and with another
answer.

Near means a Jaccard similarity of NEAR over runs of five characters of question and answer; MinHash
(Broder 1997) only proposes pairs, each is then compared exactly.
"""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.audit.corpus import Corpus, Sample, squeezed
from train.audit.finding import Finding, Place, of_rows

NEAR = 0.9
"""Similarity from which two rows count as near-duplicates."""
A_FEW = 0.05
"""Up to this share of the rows, near-duplicates are worth a look and no more."""
_PERMUTATIONS, _BANDS, _ROWS = 96, 12, 8  # finds a pair of similarity 0.9 with 99.8 %
_RUN = 5
_COMPARED = 16
_SHORTEST = 40
"""Shorter texts are compared as a whole: in them, one letter makes another question."""


def exact_duplicates(corpus: Corpus) -> list[Finding]:
    """Rows whose messages are an earlier row's, to the letter."""
    groups = _groups(corpus.train)
    repeated = [group for group in groups if len(group) > 1]
    places = _in_order(corpus, {s.place for group in repeated for s in group[1:]})
    return of_rows("exact-duplicate", places, _figures([len(g) for g in repeated]))


def near_duplicates(corpus: Corpus) -> list[Finding]:
    """Rows that nearly are an earlier one. A few are natural, and told as info."""
    first = [group[0] for group in _groups(corpus.train)]
    clusters = near_clusters(first, exact_answers=corpus.kind != "text")
    places = _in_order(corpus, {first[i].place for cluster in clusters for i in cluster[1:]})
    share = len(places) / max(1, len(corpus.train))
    figures = {**_figures([len(c) for c in clusters]), "share": round(share, 3)}
    return of_rows("near-duplicate", places, figures, "" if share > A_FEW else "info")


def contradictions(corpus: Corpus) -> list[Finding]:
    """The same input with different answers. Texts may rightly differ, so there it is a warning."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in corpus.train:
        groups[_input(sample)].append(sample)
    against = [g for g in groups.values() if len({squeezed(s.answer) for s in g}) > 1]
    places = _in_order(corpus, {s.place for group in against for s in group})
    severity = "warning" if corpus.kind == "text" else "error"
    return of_rows("contradiction", places, {"inputs": len(against)}, severity)


def distinct(samples: Sequence[Sample]) -> int:
    """Rows without their exact repeats."""
    return len(_groups(samples))


def near_clusters(samples: Sequence[Sample], *, exact_answers: bool) -> list[list[int]]:
    """Indices of samples that are near the first of their cluster, in order. With `exact_answers`
    only rows with the same answer are (labels and JSON)."""
    from datasketch import MinHash, MinHashLSH

    # The library's own hash is SHA-1, which for millions of runs costs more than all the rest.
    empty = MinHash(num_perm=_PERMUTATIONS, seed=1, hashfunc=zlib.crc32)
    index = MinHashLSH(num_perm=_PERMUTATIONS, params=(_BANDS, _ROWS))
    sketches = np.zeros((len(samples), _PERMUTATIONS), dtype=empty.hashvalues.dtype)
    runs: dict[int, frozenset[bytes]] = {}
    clusters: dict[int, list[int]] = {}
    for number, sample in enumerate(samples):
        mine = _runs(sample)
        if not mine:
            continue
        sketch = empty.copy()
        sketch.update_batch(list(mine))
        sketches[number] = sketch.hashvalues
        for first in _likeliest(sorted(index.query(sketch)), number, sketches):
            if _near(mine, runs[first]) and _agree(samples[first], sample, exact_answers):
                clusters.setdefault(first, [first]).append(number)
                break
        else:
            runs[number] = mine
            index.insert(number, sketch, check_duplication=False)
    return list(clusters.values())


def _likeliest(candidates: list[int], number: int, sketches: NDArray[Any]) -> list[int]:
    """At most _COMPARED, those whose sketches agree most: rows from one template are all a little
    alike, and comparing each with each would take hours."""
    if len(candidates) <= _COMPARED:
        return candidates
    agree = (sketches[candidates] == sketches[number]).sum(axis=1)
    best = np.argsort(-agree, kind="stable")[:_COMPARED]
    return [candidates[index] for index in best.tolist()]


def _near(left: frozenset[bytes], right: frozenset[bytes]) -> bool:
    common = len(left & right)
    return common >= NEAR * (len(left) + len(right) - common)


def _agree(left: Sample, right: Sample, exact_answers: bool) -> bool:
    """Rows with one input and two answers are a contradiction, and told as that."""
    if squeezed(left.answer) == squeezed(right.answer):
        return True
    return not exact_answers and _input(left) != _input(right)


def _runs(sample: Sample) -> frozenset[bytes]:
    text = " ".join(_words(sample.prompt) + _words(sample.answer))
    if len(text) < _SHORTEST:
        return frozenset({text.encode()} if text.strip() else ())
    return frozenset(text[i : i + _RUN].encode() for i in range(len(text) - _RUN + 1))


def _words(text: str) -> list[str]:
    return ["".join(c for c in word if c.isalnum()) for word in text.casefold().split()]


def _input(sample: Sample) -> str:
    return "\x1e".join(f"{m['role']}\x1f{squeezed(m['content'])}" for m in sample.row.messages[:-1])


def _groups(samples: Sequence[Sample]) -> list[list[Sample]]:
    groups: dict[tuple[tuple[str, str], ...], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[tuple((m["role"], m["content"]) for m in sample.row.messages)].append(sample)
    return list(groups.values())


def _figures(sizes: Sequence[int]) -> dict[str, object]:
    counted = Counter(sizes)
    return {
        "clusters": len(sizes),
        "cluster_sizes": {str(size): counted[size] for size in sorted(counted)},
    }


def _in_order(corpus: Corpus, places: set[Place]) -> list[Place]:
    return [sample.place for sample in corpus.train if sample.place in places]
