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
from typing import Any

from threadpoolctl import threadpool_limits

from bench.report import Report
from cli.base import default_folder
from monitoring.control import EVERY, Control
from monitoring.drift import Detector, DriftSettings
from monitoring.integrity import Integrity, layout
from monitoring.redaction import redacted
from monitoring.signals import Format, observe
from monitoring.sketch import sketches
from router.said import read
from serve.meanings import make

CHARS = 500
PROMPT_WORDS = 40
_REFERENCE, _TURNS = 200, 20
_TOGETHER = 128
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
    threadpool_limits(1, user_api="blas")  # as in the controller
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
    """All that watching one exchange takes, from its prompt and answer to the evidence. Prompts
    come as many at a time as the router's recorder and the controller take on a busy day."""
    chance = random.Random(7)
    words = _LETTER.split()
    system = {"role": "system", "content": "Route the ticket to one label."}
    prompts = [
        [system, {"role": "user", "content": " ".join(chance.choices(words, k=PROMPT_WORDS))}]
        for _ in range(_TOGETHER * _TURNS * max(3, rounds) + _REFERENCE)
    ]
    meaning = make(default_folder())
    watched = [(packed, float(at)) for at, packed in enumerate(sketches(prompts, meaning))]
    settings = DriftSettings(reference=_REFERENCE)
    detector, control, integrity = Detector(settings), Control(settings, 1), Integrity(_REFERENCE)
    detector.see_all(watched[:_REFERENCE])
    baseline = detector.baseline
    assert baseline is not None
    begun = EVERY * settings.bag  # its own reference, and a bag to compare with
    control.see_all(baseline, [float(at) for at in range(begun)], 0.1)
    now = itertools.count(begun, _TOGETHER)
    asked = itertools.cycle(_parts(prompts))
    seen = itertools.cycle(_parts(watched[_REFERENCE:]))

    def controlled() -> None:
        began = next(now)
        control.see_all(baseline, [float(began + at) for at in range(_TOGETHER)], 0.1)

    steps: dict[str, Callable[[], object]] = {
        f"a sketch of {PROMPT_WORDS} words": lambda: sketches(next(asked), meaning),
        "how its messages are built": lambda: [
            integrity.see(code) for code in map(layout, next(asked))
        ],
        "the drift test": lambda: detector.see_all(next(seen), 0.1),
        "the stream without drift": controlled,
        f"signals of {CHARS} characters": lambda: [
            observe((_LETTER * 3)[:CHARS]) for _ in range(_TOGETHER)
        ],
    }
    report = Report(f"signals: of one exchange, {_TOGETHER} at a time", "one thread", ("", "µs"))
    for name, step in steps.items():
        turns = timeit.repeat(step, timer=time.process_time, number=_TURNS, repeat=max(3, rounds))
        report.figures[name] = min(turns) / _TURNS / _TOGETHER * 1e6
        report.add(name, f"{report.figures[name]:.0f}")
    whole = sum(report.figures.values())
    report.add("together", f"{whole:.0f}")
    assert not detector.dropped, "repeats would be cheaper"
    assert not detector.established, "so would rest"
    report.judge(f"an exchange in at most 200 µs: {whole:.0f}", whole <= 200)
    alone = timeit.repeat(
        lambda: sketches(next(asked)[:1], meaning), timer=time.process_time, number=100, repeat=5
    )
    report.add("a sketch made alone", f"{min(alone) / 100 * 1e6:.0f}")
    return report


def _parts(whole: list[Any]) -> list[list[Any]]:
    return [whole[at : at + _TOGETHER] for at in range(0, len(whole) - _TOGETHER + 1, _TOGETHER)]
