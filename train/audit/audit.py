"""All findings of a corpus, the worst first, as one report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from monitoring.personal import without_personal
from monitoring.secrets import without_secrets
from train.audit import (
    agreement,
    answers,
    classes,
    duplicates,
    encoding,
    forms,
    languages,
    leakage,
    lengths,
    malformed,
    personal,
    prompts,
    scripts,
    secrets,
    size,
)
from train.audit.codes import CODES, SEVERITIES
from train.audit.corpus import Corpus
from train.audit.finding import Finding

CHECKS: tuple[Callable[[Corpus], list[Finding]], ...] = (
    malformed.malformed,
    malformed.out_of_turn,
    duplicates.exact_duplicates,
    duplicates.near_duplicates,
    duplicates.contradictions,
    leakage.leakage,
    classes.rare_classes,
    classes.dominant_class,
    classes.label_variants,
    agreement.agreement,
    lengths.truncated,
    lengths.outliers,
    answers.placeholders,
    answers.unfinished,
    answers.copied,
    answers.boilerplate,
    answers.no_preference,
    answers.html_left_over,
    forms.mixed_kinds,
    forms.invalid_json,
    forms.schema_violations,
    encoding.control_characters,
    encoding.broken_encoding,
    scripts.minority_script,
    scripts.system_script,
    languages.minority_language,
    prompts.several_systems,
    prompts.no_system,
    secrets.secrets,
    personal.personal,
    size.size,
    size.lookup,
)

_NEEDS_A_PROMPT = frozenset(
    {
        malformed.out_of_turn,
        duplicates.contradictions,
        leakage.leakage,
        lengths.truncated,
        answers.placeholders,
        answers.copied,
        prompts.several_systems,
        prompts.no_system,
        size.lookup,
    }
)
_NOT_FOR: Mapping[str, frozenset[Callable[[Corpus], list[Finding]]]] = {
    "text": _NEEDS_A_PROMPT,
    # One prompt has many answers there: that is what is learned from.
    "preference": frozenset({duplicates.contradictions}),
    "rated": frozenset({duplicates.contradictions, answers.boilerplate, answers.unfinished}),
}
"""Checks that ask what rows of a kind don't have."""


@dataclass(frozen=True)
class Report:
    """What was found, and figures about the whole. Holds no text of a row that is a secret."""

    findings: tuple[Finding, ...]
    figures: Mapping[str, Any]

    def of(self, severity: str) -> list[Finding]:
        """The findings of one severity."""
        return [finding for finding in self.findings if finding.severity == severity]

    @property
    def severe(self) -> bool:
        """Is there an error among them?"""
        return bool(self.of("error"))

    @property
    def summary(self) -> str:
        """One line."""
        parts = [
            f"{count} {severity}{'s' if count != 1 and severity != 'info' else ''}"
            for severity in SEVERITIES
            if (count := len(self.of(severity)))
        ]
        rows = f"{self.figures['rows']} rows of {self.figures['kind']} answers"
        return f"{rows}: {', '.join(parts) or 'nothing found'}"

    def json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "summary": self.summary,
            "figures": dict(self.figures),
            "findings": [finding.json() for finding in self.findings],
        }


def audit(corpus: Corpus) -> Report:
    """Run every check. Raises nothing for what rows hold."""
    left_out = _NOT_FOR.get(corpus.rows, frozenset())
    checks = [check for check in CHECKS if check not in left_out]
    findings = [masked(finding) for check in checks for finding in check(corpus)]
    order = list(CODES)
    findings.sort(key=lambda f: (SEVERITIES.index(f.severity), order.index(f.code)))
    figures = {
        "rows": len(corpus.train),
        "validation_rows": len(corpus.validation),
        "bad_lines": len(corpus.bad),
        "kind": corpus.kind,
        "max_length": corpus.max_length,
        "tokens": lengths.summary(corpus),
    }
    return Report(tuple(findings), figures)


def masked(finding: Finding) -> Finding:
    """No figure may hold what the audit warns of: a label can be a password too."""
    return replace(finding, figures=_clean(finding.figures))


def masked_text(text: str) -> str:
    """A text that is safe to show: secrets and personal data masked, nothing that a terminal would
    obey, 80 characters at most."""
    shown = without_personal(without_secrets(text))
    shown = "".join(c if c.isprintable() else "?" for c in shown)
    return shown if len(shown) <= 80 else f"{shown[:79]}…"


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, Mapping):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return value
