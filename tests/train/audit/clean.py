"""A clean data set, made from nothing: support questions with answers in sentences, and variants of
it whose answers are labels or JSON. The same rows every time."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

Record = dict[str, Any]

SYSTEM = "You answer the questions of our customers in one or two sentences."
_THINGS = [
    "kettle",
    "toaster",
    "lamp",
    "blender",
    "heater",
    "vacuum",
    "radio",
    "printer",
    "monitor",
    "keyboard",
    "scooter",
    "bicycle",
    "tent",
    "stove",
    "mattress",
    "wardrobe",
    "mirror",
    "curtain",
    "carpet",
    "drill",
]
_PROBLEMS = {
    "broken": "arrived with a crack along one side",
    "late": "has not reached us although two weeks went by",
    "wrong": "came in another colour than the shop showed",
    "noise": "hums loudly as soon as it is switched on",
    "parts": "lacks the screws that the manual lists",
    "refund": "went back to you and the money is still missing",
}
_REMEDY = {
    "broken": "I am sorry about the crack in your {thing}. We send a new one {when}.",
    "late": "Your {thing} should have been there by now. We ask the carrier {when}.",
    "wrong": "That is not the colour you chose. We exchange the {thing} {when}.",
    "noise": "A hum like this points to a loose fan. Our workshop calls about the {thing} {when}.",
    "parts": "The screws for your {thing} leave our store {when}. There is nothing to pay.",
    "refund": "Money for a returned {thing} takes ten days. Accounting checks yours {when}.",
}
_WHEN = ("today", "tomorrow", "on Monday", "this week", "within two days", "by Friday")
_OPENINGS = (
    "Hello, {name} from {town} writing. The {thing} {problem}. What happens next?",
    "My {thing} {problem}, and {name} in {town} told me to ask you. What can be done?",
    "In {town} we bought a {thing} that {problem}. Please answer to {name}.",
    "{name} here. I live in {town}; the {thing} I ordered {problem}. Can you help?",
)
_NAMES = [
    "Ada",
    "Bruno",
    "Carla",
    "Dmitri",
    "Elif",
    "Farid",
    "Greta",
    "Hugo",
    "Ines",
    "Jonas",
    "Katya",
    "Liam",
    "Marta",
    "Nils",
]
_TOWNS = [
    "Porto",
    "Ghent",
    "Malmo",
    "Graz",
    "Turin",
    "Lyon",
    "Leeds",
    "Tampere",
    "Krakow",
    "Basel",
    "Bilbao",
    "Zagreb",
]


def sentences(count: int = 320) -> list[Record]:
    """Answers that are texts."""
    rng = random.Random(7)
    cells = [(thing, problem) for thing in _THINGS for problem in _PROBLEMS]
    rows = []
    for index in range(count):
        thing, problem = cells[index % len(cells)]
        opening = _OPENINGS[(index // len(cells) + index) % len(_OPENINGS)]
        ask = opening.format(
            thing=thing,
            problem=_PROBLEMS[problem],
            name=rng.choice(_NAMES),
            town=rng.choice(_TOWNS),
        )
        answer = _REMEDY[problem].format(thing=thing, when=rng.choice(_WHEN))
        rows.append(record(ask, answer, system=SYSTEM))
    return rows


def labels(count: int = 320) -> list[Record]:
    """The same questions; the answer is the problem's name."""
    problems = list(_PROBLEMS)
    rows = sentences(count)
    for index, row in enumerate(rows):
        row["messages"][-1]["content"] = problems[index % len(problems)]
    return rows


def objects(count: int = 320) -> list[Record]:
    """The same questions; the answer is JSON with the thing and the problem."""
    cells = [(thing, problem) for thing in _THINGS for problem in _PROBLEMS]
    rows = sentences(count)
    for index, row in enumerate(rows):
        thing, problem = cells[index % len(cells)]
        row["messages"][-1]["content"] = json.dumps({"thing": thing, "problem": problem})
    return rows


SCHEMA = {
    "type": "object",
    "required": ["thing", "problem"],
    "properties": {"thing": {"type": "string"}, "problem": {"enum": list(_PROBLEMS)}},
}


def record(ask: str, answer: str, *, system: str | None = None, **metadata: Any) -> Record:
    """A row as a file has it."""
    first = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": ask}, {"role": "assistant", "content": answer}]
    return {"messages": [*first, *turns], **copy.deepcopy(metadata)}


def jsonl(records: list[Any]) -> bytes:
    """Lines of JSON; a string is a line as it is."""
    return "\n".join(r if isinstance(r, str) else json.dumps(r) for r in records).encode()
