"""What the validation file shares with training: the same question, nearly the same, or the same
group. Near-duplicates are those that training itself would leave out (`train.split`)."""

from __future__ import annotations

from train.audit.corpus import Corpus, squeezed
from train.audit.finding import Finding, of_rows
from train.split import GROUP_FIELDS, separate


def leakage(corpus: Corpus) -> list[Finding]:
    """Exact, near and by group; a row is told once, by the first that fits."""
    if not corpus.validation:
        return []
    questions = {squeezed(sample.prompt) for sample in corpus.validation}
    exact = [s for s in corpus.train if squeezed(s.prompt) in questions]
    told = {id(sample.row) for sample in exact}
    left_out = separate(
        [sample.row for sample in corpus.train], [sample.row for sample in corpus.validation]
    ).left_out
    near = {id(row) for row in left_out} - told
    groups = {key for s in corpus.validation for key in _groups(s.row.metadata)}
    by_group = [
        s
        for s in corpus.train
        if id(s.row) not in told and not groups.isdisjoint(_groups(s.row.metadata))
    ]
    fields = sorted({key[0] for s in by_group for key in _groups(s.row.metadata) if key in groups})
    return [
        *of_rows("leak-exact", [s.place for s in exact]),
        *of_rows("leak-near", [s.place for s in corpus.train if id(s.row) in near]),
        *of_rows("leak-group", [s.place for s in by_group], {"fields": fields}),
    ]


def _groups(metadata: dict[str, object]) -> set[tuple[str, str]]:
    return {
        (name, str(value))
        for name in GROUP_FIELDS
        if isinstance(value := metadata.get(name), str | int) and not isinstance(value, bool)
    }
