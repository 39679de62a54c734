"""System prompts: one, several, or on some rows only."""

from __future__ import annotations

from train.audit.corpus import Corpus
from train.audit.finding import Finding, of_rows


def several_systems(corpus: Corpus) -> list[Finding]:
    """More than one system prompt."""
    different = {s.system for s in corpus.train if s.system is not None}
    if len(different) < 2:
        return []
    return [Finding("several-system-prompts", (), {"different": len(different)})]


def no_system(corpus: Corpus) -> list[Finding]:
    """Rows without a system prompt, where others have one. The fewer are shown."""
    without = [s.place for s in corpus.train if s.system is None]
    having = [s.place for s in corpus.train if s.system is not None]
    if not without or not having:
        return []
    figures = {"with": len(having), "without": len(without)}
    return of_rows("no-system-prompt", without, figures)
