"""The audit of one job's rows, before a model is loaded: what its events say, and whether it ends.

Knows nothing of the worker or the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from train.audit.audit import Report, audit
from train.audit.codes import CODES
from train.audit.corpus import Corpus, Source, Tokenizer
from train.audit.finding import SHOWN_ROWS, Finding
from train.errors import InvalidTrainingFile
from train.rows import Row, RowError

TOLD = 12
"""Findings that have an event of their own; the others are in the job's result."""


def examine(
    training: Sequence[Row | RowError],
    validation: Sequence[Row | RowError],
    policy: str,
    *,
    tokenizer: Tokenizer | None,
    max_length: int,
    answers: Mapping[str, Any],
    report: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Audit the rows, tell the findings, give the figures for the job's result.

    "warn" tells; "stop" raises InvalidTrainingFile when an error is among them; "off" looks at
    nothing. Whatever the policy, a file without a row, and rows without a token to learn, end the
    job elsewhere.
    """
    if policy == "off":
        return {"policy": policy}
    found = audit(
        Corpus.read(
            [Source("training", rows=training)],
            Source("validation", rows=validation) if validation else None,
            tokenizer=tokenizer,
            max_length=max_length,
            schema=answers.get("schema"),
        )
    )
    _tell(found, report)
    errors = found.of("error")
    if policy == "stop" and errors:
        what = "; ".join(_said(finding) for finding in errors[:TOLD])
        raise InvalidTrainingFile(
            f"The audit found errors, and audit=stop: {what}. Mend them, or set audit=warn",
            "training_file",
        )
    return {"policy": policy, **found.json()}


def _tell(found: Report, report: Callable[[dict[str, Any]], None]) -> None:
    report(
        {
            "kind": "event",
            "level": "info",
            "message": f"Audit: {found.summary}",
            "data": {"figures": dict(found.figures)},
        }
    )
    told = [finding for finding in found.findings if finding.severity != "info"]
    for finding in told[:TOLD]:
        report(
            {
                "kind": "event",
                # An error of the data is no failure of the job: it goes on, and is warned about.
                "level": "warn",
                "message": f"Audit: {finding.severity}: {_said(finding)}",
                "data": {
                    "code": finding.code,
                    "severity": finding.severity,
                    "count": finding.count,
                    "lines": [line for _, line in finding.places[:SHOWN_ROWS]],
                },
            }
        )


def _said(finding: Finding) -> str:
    lines = ", ".join(
        str(line) if file == "training" else f"{line} of the validation file"
        for file, line in finding.places[:SHOWN_ROWS]
    )
    more = f" and {finding.count - SHOWN_ROWS} more" if finding.count > SHOWN_ROWS else ""
    where = f" (lines {lines}{more})" if lines else ""
    kind = CODES[finding.code]
    return f"{kind.title}{where}: {finding.code}. {kind.advice}"
