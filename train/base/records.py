"""Skills of JSON.

Make a record with named keys from sentences, with null for what is not said; read one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable

from train.base.chat import Chat, chat
from train.base.invention import code, gibberish, number, person, phrase, place
from train.base.lexicon import Lexicon
from train.base.lookups import LAWS, RULES, capital, fact_value, rule_parts, subject
from train.base.stories import sentence

Value = str | int | None
# Attribute sentences: the sentence implies its key, which must be understood, not only copied.
ATTRIBUTES: tuple[tuple[str, str, str], ...] = (
    ("city", "{who} lives in {x}.", "place"),
    ("age", "{who} is {x} years old.", "number"),
    ("owner", "It belongs to {x}.", "name"),
    ("price", "It costs {x} euro.", "number"),
    ("weight", "It weighs {x} grams.", "number"),
    ("author", "It was written by {x}.", "name"),
    ("color", "The colour is {x}.", "colour"),
    ("pages", "It has {x} pages.", "number"),
    ("month", "It began in {x}.", "month"),
    ("day", "It was on {x}.", "weekday"),
    ("food", "{who} eats {x}.", "noun"),
    ("tool", "{who} needs a {x}.", "noun"),
    ("company", "{who} works for {x}.", "company"),
    ("team", "{who} plays for {x}.", "company"),
    ("code", "The code is {x}.", "code"),
    ("country", "It comes from {x}.", "place"),
    ("friend", "{x} is a friend of {who}.", "name"),
    ("size", "The size is {x}.", "number"),
)
ASK_KEYS = (
    "Make JSON with the keys {keys}.",
    "Give JSON: {keys}",
    "Write a record with {keys}.",
    "Fill these keys: {keys}",
)


def attribute_value(rng: random.Random, lexicon: Lexicon, kind: str) -> Value:
    """A value of the given kind; numbers are ints."""
    special: dict[str, Callable[[], Value]] = {
        "number": lambda: number(rng),
        "colour": lambda: rng.choice(lexicon.themes[-3].nouns),
        "month": lambda: rng.choice(lexicon.names["months"]),
        "weekday": lambda: rng.choice(lexicon.names["weekdays"]),
        "code": lambda: code(rng),
    }
    return special[kind]() if kind in special else fact_value(rng, lexicon, kind)


def asked(rng: random.Random, text: str, keys: list[str]) -> str:
    """The text with the instruction before or after it."""
    instruction = rng.choice(ASK_KEYS).format(keys=", ".join(keys))
    return f"{text}\n{instruction}" if rng.random() < 0.7 else f"{instruction}\n{text}"


def from_lines(rng: random.Random, lexicon: Lexicon) -> Chat:
    """`key: value` lines to JSON, some keys missing (null)."""
    keys = rng.sample(lexicon.names["keys"], rng.randint(1, 5))
    record: dict[str, Value] = {}
    for key in keys:
        kind = rng.random()
        record[key] = number(rng) if kind < 0.3 else phrase(rng, lexicon, 1, rng.choice((1, 2, 3)))
    shown = [k for k in keys if rng.random() < 0.85] or keys[:1]
    text = rng.choice(("\n", ", ", "; ")).join(f"{k}: {record[k]}" for k in shown)
    rng.shuffle(keys)
    answer = json.dumps({k: record[k] if k in shown else None for k in keys}, ensure_ascii=False)
    return chat(rng, "json lines", (asked(rng, text, keys), answer))


def from_sentences(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Sentences that state attributes, to JSON under the keys that name them.

    Unsaid keys are null.
    """
    chosen = rng.sample(ATTRIBUTES, rng.randint(1, 4))
    who = subject(rng, lexicon)
    record: dict[str, Value] = {}
    lines = []
    for key, telling, kind in chosen:
        if rng.random() < 0.2:
            record[key] = None
            continue
        record[key] = attribute_value(rng, lexicon, kind)
        lines.append(capital(telling.format(who=who, x=record[key])))
    if rng.random() < 0.4:
        record["name"] = who.removeprefix("the ")
        lines.insert(0, f"This is {who}.")
    if rng.random() < 0.3 or not lines:
        lines.insert(rng.randint(0, len(lines)), sentence(rng, lexicon))
    keys = list(record)
    rng.shuffle(keys)
    answer = json.dumps({k: record[k] for k in keys}, ensure_ascii=False)
    return chat(rng, "json sentences", (asked(rng, " ".join(lines), keys), answer))


def from_rule(rng: random.Random, lexicon: Lexicon) -> Chat:
    """A rule sentence to a record of two to four keys; key names vary, so that none is fixed."""
    parts = rule_parts(rng, lexicon)
    text = capital(rng.choice(RULES).format(**parts))
    law = rng.random() < 0.4
    if law:
        text += " " + capital(rng.choice(LAWS).format(**parts))
    if rng.random() < 0.3:
        text += " " + sentence(rng, lexicon)
    fields: list[tuple[str, Value]] = [
        (rng.choice(("who", "person", "name", "actor")), parts["who"].removeprefix("the ")),
        (rng.choice(("number", "count", parts["unit"], "period")), int(parts["digits"])),
        (rng.choice(("what", "thing", "object", "item")), parts["n"]),
        (rng.choice(("where", "place", "rules of", "state")), parts["x"] if law else None),
        (rng.choice(("unit", "measure")), parts["unit"]),
    ]
    rng.shuffle(fields)
    record = dict(fields[: rng.randint(2, 4)])
    answer = json.dumps(record, ensure_ascii=False)
    return chat(rng, "json rule", (asked(rng, text, list(record)), answer))


def quoted_span(rng: random.Random, lexicon: Lexicon) -> Chat:
    """A quoted or named span of a sentence as the value of a key."""
    span = phrase(rng, lexicon, 1, 4)
    if rng.random() < 0.5:
        span = " ".join(gibberish(rng).capitalize() for _ in range(rng.randint(1, 2)))
    key = rng.choice(lexicon.names["keys"])
    who = person(rng, lexicon)
    text = rng.choice(
        (
            f'{who} calls it "{span}" here. {sentence(rng, lexicon)}',
            f'{sentence(rng, lexicon)} The word for it is "{span}".',
            f'The sign in {place(rng, lexicon)} says "{span}".',
        )
    )
    ask = rng.choice(("Put the quoted words under {}.", "JSON with the quoted words as {}."))
    return chat(
        rng,
        "json quote",
        (f"{text}\n{ask.format(key)}", json.dumps({key: span}, ensure_ascii=False)),
    )


def read_record(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Look up keys of a JSON record."""
    keys = rng.sample(lexicon.names["keys"], rng.randint(1, 6))
    record: dict[str, Value] = {}
    for key in keys:
        kind = rng.random()
        record[key] = (
            None if kind < 0.1 else number(rng) if kind < 0.35 else phrase(rng, lexicon, 1, 3)
        )
    asks = rng.sample(keys, min(len(keys), rng.randint(1, 3)))
    ask = rng.choice(("What is {}?", "Give {}.", "Value of {}?"))
    pairs = [(ask.format(k), "null" if record[k] is None else str(record[k])) for k in asks]
    pairs[0] = (f"{json.dumps(record, ensure_ascii=False)}\n{pairs[0][0]}", pairs[0][1])
    return chat(rng, "json read", *pairs)
