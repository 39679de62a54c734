"""Should there be a fine-tune at all? How well the base does already, by asking it.

Any server with an OpenAI-compatible API will do. Asks ROWS held-out rows once without and once with
examples, decoding greedily, and scores the answers as an evaluation does. A verdict of three words
comes of it: yes, not yet, no.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from train.answers import Answers
from train.audit.audit import Report
from train.audit.corpus import Corpus
from train.audit.finding import Finding
from train.rows import Message, Row
from train.split import rank_by_hash, split

ROWS = 100
SHOTS = 8
GOOD = 0.95
"""From this share of right answers on, there is little for an adapter to add."""

Ask = Callable[[list[Message]], str]


class Unanswered(Exception):
    """The server that was to be asked gave no answer."""


def client(url: str, model: str, key: str = "", timeout_s: float = 120.0) -> Ask:
    """Asks `{url}/chat/completions`. The function raises Unanswered."""

    def ask(messages: list[Message]) -> str:
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 512}
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        address = f"{url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return str(json.load(answer)["choices"][0]["message"]["content"] or "")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise Unanswered(f"{address}: {error or type(error).__name__}") from None

    return ask


def measured(corpus: Corpus, ask: Ask, answers: Mapping[str, Any]) -> dict[str, Any]:
    """How many held-out rows the base gets right, without and with examples before the prompt.
    Raises Unanswered."""
    rows = [sample.row for sample in corpus.train]
    held = [sample.row for sample in corpus.validation]
    if held:
        shown, asked = rows, held
    else:
        divided = split(rows, 0.0, 0.2)
        shown, asked = divided.train, divided.test or divided.validation
    asked = rank_by_hash(asked, "evaluation-1")[:ROWS]
    scoring = Answers.of(dict(answers), [row.answer for row in rows])
    shots = rank_by_hash(shown, "few-shot-1")[:SHOTS]
    figures: dict[str, Any] = {"rows": len(asked), "kind": scoring.kind}
    for name, examples in (("zero_shot", []), ("few_shot", shots)):
        figures[name] = _score(asked, examples, ask, scoring) if asked else None
    return figures


def told(report: Report, figures: Mapping[str, Any]) -> Report:
    """The report with what the base does already; a finding where that is nearly all."""
    best = max(figures[name] or 0.0 for name in ("zero_shot", "few_shot"))
    found = [Finding("base-already-good", (), dict(figures))] if best >= GOOD else []
    whole = {**report.figures, "base": dict(figures)}
    return replace(report, findings=(*found, *report.findings), figures=whole)


def verdict(report: Report) -> tuple[str, str]:
    """("yes" | "not yet" | "no", why), by the findings."""
    codes = {finding.code for finding in report.findings}
    if "base-already-good" in codes:
        return "no", "the base gives the right answers already, at least with examples"
    if "looks-like-lookup" in codes:
        return "no", "the answers look like facts to look up: use retrieval"
    if "too-few-examples" in codes:
        return "not yet", "there are fewer than 100 usable examples: put some into the prompt"
    if report.severe:
        errors = ", ".join(dict.fromkeys(finding.code for finding in report.of("error")))
        return "not yet", f"errors come first: {errors}"
    if "small-data" in codes:
        return "yes", "with the preset small-data: there are fewer than 500 usable examples"
    return "yes", "there are enough examples, and nothing severe was found"


def _score(rows: Sequence[Row], examples: Sequence[Row], ask: Ask, answers: Answers) -> float:
    before = [
        message for row in examples for message in row.messages if message["role"] != "system"
    ]

    def asked(row: Row) -> str:
        system = [m for m in row.prompt if m["role"] == "system"]
        rest = [m for m in row.prompt if m["role"] != "system"]
        return ask([*system, *before, *rest])

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(asked, rows))
    scores = [answers.score(text, row.answer) for text, row in zip(said, rows, strict=True)]
    return round(sum(score.value for score in scores) / len(scores), 4)
