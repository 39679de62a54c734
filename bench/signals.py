"""What the signals of an answer cost, and what watching an exchange does: µs each.

Ours alone, in this process. The router's thread that writes records pays for signals and sketch, at
most `records_per_second` times a second; the controller pays for the tests.
"""

from __future__ import annotations

import itertools
import json
import random
import time
import timeit
from collections.abc import Callable

from bench.report import Report
from monitoring.control import EVERY, Control
from monitoring.drift import Detector, DriftSettings
from monitoring.integrity import Integrity, layout
from monitoring.redaction import redacted
from monitoring.signals import Format, observe
from monitoring.sketch import sketch
from router.said import read

CHARS = 500
PROMPT_WORDS = 40
_REFERENCE, _TURN = 200, 500
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
    return [report, _exchange(rounds)]


def _exchange(rounds: int) -> Report:
    """All that watching one exchange takes, from its prompt and answer to the evidence."""
    chance = random.Random(7)
    words = _LETTER.split()
    system = {"role": "system", "content": "Route the ticket to one label."}
    prompts = [
        [system, {"role": "user", "content": " ".join(chance.choices(words, k=PROMPT_WORDS))}]
        for _ in range(_TURN * max(3, rounds) + _REFERENCE)
    ]
    sketches = [sketch(prompt) for prompt in prompts]
    settings = DriftSettings(reference=_REFERENCE)
    detector, control, integrity = Detector(settings), Control(settings, 1), Integrity(_REFERENCE)
    for number, packed in enumerate(sketches[:_REFERENCE]):
        detector.see(packed, float(number))
    baseline = detector.baseline
    assert baseline is not None
    for number in range(EVERY * 2 * _REFERENCE):  # its own reference, and a bag to compare with
        control.see(baseline, float(number), 0.1)
    asked, seen = itertools.cycle(prompts), itertools.cycle(sketches[_REFERENCE:])
    now = itertools.count(EVERY * 2 * _REFERENCE)
    steps: dict[str, Callable[[], object]] = {
        f"a sketch of {PROMPT_WORDS} words": lambda: sketch(next(asked)),
        "how its messages are built": lambda: integrity.see(layout(next(asked))),
        "the drift test": lambda: detector.see(next(seen), float(next(now)), 0.1),
        "the stream without drift": lambda: control.see(baseline, float(next(now)), 0.1),
        f"signals of {CHARS} characters": lambda: observe((_LETTER * 3)[:CHARS]),
    }
    report = Report("signals: of one exchange", "one thread", ("", "µs"))
    for name, step in steps.items():
        turns = timeit.repeat(step, timer=time.process_time, number=_TURN, repeat=max(3, rounds))
        report.figures[name] = min(turns) / _TURN * 1e6
        report.add(name, f"{report.figures[name]:.0f}")
    whole = sum(report.figures.values())
    report.add("together", f"{whole:.0f}")
    assert not detector.dropped, "repeats would be cheaper"
    report.judge(f"an exchange in at most 200 µs: {whole:.0f}", whole <= 200)
    return report
