"""Lines that are no rows, by what is wrong with them; and roles that do not take turns."""

from __future__ import annotations

import json
import re
from collections import defaultdict

from train.audit.corpus import BadLine, Corpus, Sample
from train.audit.finding import Finding, Place, of_rows

_ANSWERS = frozenset(
    ("completion", "output", "chosen", "rejected", "preferred_output", "non_preferred_output")
)
_INDEX = re.compile(r"messages\[(\d+)\]")


def malformed(corpus: Corpus) -> list[Finding]:
    """A finding for each way in which lines are no rows."""
    places: dict[str, list[Place]] = defaultdict(list)
    for bad in corpus.bad:
        places[_code(bad)].append(bad.place)
    return [finding for code, found in places.items() for finding in of_rows(code, found)]


def out_of_turn(corpus: Corpus) -> list[Finding]:
    """Conversations that begin with the assistant, or in which one speaks twice in a row."""
    return of_rows("roles-out-of-turn", [s.place for s in corpus.samples if not _in_turn(s)])


def _in_turn(sample: Sample) -> bool:
    roles = [m["role"] for m in sample.row.messages if m["role"] != "system"]
    return all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles))


def _code(bad: BadLine) -> str:
    field, expected = bad.error.field, bad.error.expected
    if not field:
        return "broken-json"
    if expected.startswith("assistant"):
        return "no-answer"
    if field.endswith(".role"):
        return "wrong-role"
    if "not empty" in expected:
        whole = field in _ANSWERS or field.partition("[")[0] in _ANSWERS
        return "empty-answer" if whole or _is_answer(bad) else "empty-message"
    return "no-messages" if field == "messages" else "content-not-text"


def _is_answer(bad: BadLine) -> bool:
    found = _INDEX.match(bad.error.field)
    try:
        message = json.loads(bad.raw.decode("utf-8-sig"))["messages"][int(found[1] if found else 0)]
        return bool(message["role"] == "assistant")
    except (ValueError, RecursionError, KeyError, IndexError, TypeError):
        return False  # no JSON Lines, or another field
