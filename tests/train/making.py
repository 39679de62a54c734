"""Rows, files and options for the training tests: a small task that a small base learns at once."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from train.rows import Row
from train.task import Task

QUEUES = {"billing": "invoice", "delivery": "parcel", "login": "password"}
_NAMES = ("Ada", "Ben", "Cora", "Dan", "Eva", "Finn", "Gus", "Hana", "Ivo", "June")
_DAYS = ("Monday", "Tuesday", "Friday", "last week", "yesterday", "in March")
_ASKS = (
    "Hello, my {thing} has been wrong since {day}. Best regards, {name}",
    "Please help me with the {thing} that {name} asked about {day}.",
    "{name} here. The {thing} from {day} is not right.",
)


def row(question: str, answer: str = "yes", line: int = 1, **metadata: Any) -> Row:
    """A row with one question and one answer."""
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return Row(line, messages, metadata)


def record(question: str, answer: str) -> dict[str, Any]:
    """A row as a tenant's file has it."""
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
    }


def tickets(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Tickets that one word gives away, no two of them alike."""
    rng = random.Random(seed)
    every = [
        record(ask.format(thing=thing, day=day, name=name), queue)
        for queue, thing in QUEUES.items()
        for ask in _ASKS
        for day in _DAYS
        for name in _NAMES
    ]
    return rng.sample(every, count)


def jsonl(records: Sequence[Any]) -> bytes:
    """Lines of JSON; a string is taken as it is, so that a file can hold a broken line."""
    return "\n".join(r if isinstance(r, str) else json.dumps(r) for r in records).encode()


def task(base: str, **changes: Any) -> Task:
    """A job on training.jsonl for a small base: one thread, as tests run side by side."""
    made = Task(
        tenant="acme",
        adapter="tickets",
        base=base,
        base_name="tiny",
        spec={"rank": 4, "epochs": 1},
        answers={"kind": "label"},
        training="training.jsonl",
        validation=None,
        parent=None,
        device="cpu",
        threads=1,
        nice=0,
        evaluation_rows=10,
        few_shot=2,
        probes=2,
    )
    return replace(made, **changes)
