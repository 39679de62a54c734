"""What the signals of an answer cost, and taking personal data out of one that is kept: µs each.

Ours alone, in this process: the thread that writes records pays for them, at most
`records_per_second` times a second.
"""

from __future__ import annotations

import json
import time
import timeit
from collections.abc import Callable

from bench.report import Report
from monitoring.redaction import redacted
from monitoring.signals import Format, observe
from router.said import read

CHARS = 500
_LETTER = (
    "The parcel left Leipzig on Monday and should be with you by Thursday at noon. If it is not "
    "there by then, please answer this mail and we will ask the carrier where it went, send you "
    "another one at once, or pay the price of it back to your account, whichever you like best. "
)
_SCHEMA = {
    "type": "object",
    "required": ["city", "parcels", "kind"],
    "properties": {
        "city": {"type": "string"},
        "parcels": {"type": "integer"},
        "kind": {"enum": ["late", "lost"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "additionalProperties": False,
}


def main(rounds: int) -> list[Report]:
    """Run it; the best of `rounds` turns counts, what else the machine does only adds to them."""
    text = (_LETTER * 3)[:CHARS]
    record = json.dumps({"city": "Leipzig", "parcels": 2, "kind": "late", "tags": ["a", "b"]})
    label = Format.of({"labels": ["billing", "delivery", "returns"]})
    form = Format.of({"schema": _SCHEMA})
    words = text.split(" ")
    chunks = [
        b'data: {"id":"chatcmpl-0","object":"chat.completion.chunk","created":1,"model":"triage",'
        b'"choices":[{"index":0,"delta":{"content":%s},"logprobs":null,"finish_reason":null}]}\n\n'
        % json.dumps(f" {word}").encode()
        for word in words
    ]
    steps: dict[str, Callable[[], object]] = {
        f"signals of {len(text)} characters of English": lambda: observe(text),
        "signals of a label": lambda: observe("delivery", label),
        f"signals of {len(record)} characters of JSON, by schema": lambda: observe(record, form),
        f"reading a stream of {len(chunks)} chunks": lambda: read(chunks),
        f"redacting {len(text)} characters": lambda: redacted(text),
    }
    report = Report("signals: of one answer", "one thread", ("", "µs"))
    for name, step in steps.items():
        turns = timeit.repeat(step, timer=time.process_time, number=1000, repeat=max(3, rounds))
        report.figures[name] = min(turns) * 1000
        report.add(name, f"{report.figures[name]:.0f}")
    first = next(iter(report.figures.values()))
    report.judge(f"{CHARS} characters of text in at most 50 µs: {first:.0f}", first <= 50)
    return [report]
