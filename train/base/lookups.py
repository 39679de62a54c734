"""Skills of finding a fact in a text: key-value lists, who, where, how many, rules with numbers."""

from __future__ import annotations

import random

from train.base.chat import Chat, chat
from train.base.invention import gibberish, number, person, phrase, place, word
from train.base.lexicon import Lexicon, number_in_words
from train.base.stories import sentence

# (sentence, question about {x}, question about {who}); {x} is the fact, {who} is the subject.
FACTS = (
    ("place", "{who} lives in {x}.", "Where does {who} live?", "Who lives in {x}?"),
    ("place", "{who} is from {x}.", "Where is {who} from?", "Who is from {x}?"),
    ("place", "{who} moved to {x}.", "Which place did {who} move to?", "Who moved to {x}?"),
    ("noun", "{who} has a {x}.", "What does {who} have?", "Who has a {x}?"),
    ("noun", "{who} likes the {x}.", "What does {who} like?", "Who likes the {x}?"),
    ("noun", "The {x} of {who} is new.", "What of {who} is new?", "Whose {x} is new?"),
    ("noun", "{who} must bring the {x}.", "What must {who} bring?", "Who must bring the {x}?"),
    ("noun", "The {x} was taken by {who}.", "What was taken by {who}?", "Who took the {x}?"),
    ("number", "{who} has {x} points.", "How many points does {who} have?", "Who has {x} points?"),
    ("number", "{who} is {x} years old.", "How old is {who}?", "Who is {x} years old?"),
    ("number", "{who} paid {x} euro.", "How much did {who} pay?", "Who paid {x} euro?"),
    ("name", "{who} met {x}.", "Who did {who} meet?", "Who met {x}?"),
    ("company", "{who} works at {x}.", "Where does {who} work?", "Who works at {x}?"),
    ("company", "{who} left {x} in spring.", "Which company did {who} leave?", "Who left {x}?"),
)
ROLES = [
    "supplier",
    "customer",
    "buyer",
    "seller",
    "provider",
    "client",
    "contractor",
    "vendor",
    "licensee",
    "consultant",
    "landlord",
    "tenant",
    "agency",
    "distributor",
    "publisher",
    "carrier",
    "teacher",
    "doctor",
    "driver",
    "baker",
    "captain",
    "king",
    "farmer",
    "neighbour",
    "guard",
    "pilot",
    "nurse",
    "judge",
    "coach",
    "artist",
    "singer",
    "cook",
    "gardener",
]
# Rules with a duty, a number and a unit. Facts of daily life, in the grammar of rules.
RULES = (
    "{who} shall {v} the {n} within {k} {unit}.",
    "{who} must {v} the {n} {k} {unit} before the {m}.",
    "After {k} {unit}, {who} will {v} the {n}.",
    "{who} may not {v} the {n} for {k} {unit}.",
    "The {n} is to be kept by {who} for {k} {unit}.",
    "{k} {unit} are given to {who} to {v} the {n}.",
    "Not later than {k} {unit} after the {m}, {who} is to {v} the {n}.",
)
LAWS = (
    "The law of {x} holds in the {n}.",
    "They follow the rules of {x}, and the {n} is {a}.",
    "In this {n} all go by the law of {x}.",
    "This {n} is made under the laws of {x}.",
)


def fact_value(rng: random.Random, lexicon: Lexicon, kind: str) -> str:
    """A value for a fact of the given kind."""
    if kind == "place":
        return place(rng, lexicon)
    if kind == "noun":
        return (
            gibberish(rng) if rng.random() < 0.2 else rng.choice(rng.choice(lexicon.themes).nouns)
        )
    if kind == "number":
        return str(number(rng))
    if kind == "company":
        return lexicon.company(rng)
    return person(rng, lexicon)


def subject(rng: random.Random, lexicon: Lexicon) -> str:
    """Who a sentence is about: a person, a company or a role with its article."""
    kind = rng.random()
    if kind < 0.45:
        return person(rng, lexicon)
    if kind < 0.65:
        return lexicon.company(rng)
    role = rng.choice(ROLES)
    return f"the {role.capitalize() if rng.random() < 0.5 else role}"


def capital(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def key_value(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Look up entries of a list of `key: value` lines."""
    keys = list(dict.fromkeys(word(rng, lexicon) for _ in range(rng.randint(2, 8))))
    values = [phrase(rng, lexicon, 1, rng.choice((1, 1, 2, 3))) for _ in keys]
    sep, end = rng.choice(
        ((": ", "\n"), (" = ", "\n"), (": ", ", "), (" is ", ". "), (" - ", "; "))
    )
    lines = end.join(f"{k}{sep}{v}" for k, v in zip(keys, values, strict=True))
    asked = rng.sample(range(len(keys)), min(len(keys), rng.randint(1, 4)))
    ask = rng.choice(("What is {}?", "Look up {}.", "{}?", "Give the value of {}."))
    pairs = [(ask.format(keys[i]), values[i]) for i in asked]
    if rng.random() < 0.25:
        ask_back = rng.choice(("Which key has {}?", "Where is {}?"))
        pairs.append((ask_back.format(values[asked[0]]), keys[asked[0]]))
    pairs[0] = (f"{lines}\n{pairs[0][0]}", pairs[0][1])
    return chat(rng, "key value", *pairs)


def facts(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Several sentences about several people; then questions about one fact or one subject each."""
    count = rng.randint(1, 5)
    people = list(dict.fromkeys(subject(rng, lexicon) for _ in range(count)))
    lines, pairs = [], []
    same = rng.choice(FACTS) if rng.random() < 0.5 else None
    for who in people:
        kind, telling, ask_fact, ask_who = same or rng.choice(FACTS)
        value = fact_value(rng, lexicon, kind)
        lines.append(capital(telling.format(who=who, x=value)))
        if rng.random() < 0.6:
            pairs.append((ask_fact.format(who=who), value))
        else:
            pairs.append((ask_who.format(x=value), who.removeprefix("the ")))
    if rng.random() < 0.3:
        lines.insert(rng.randint(0, len(lines)), sentence(rng, lexicon))
    rng.shuffle(pairs)
    pairs = pairs[: rng.randint(1, 3)]
    pairs[0] = (f"{' '.join(lines)} {pairs[0][0]}", pairs[0][1])
    return chat(rng, "facts", *pairs)


def rule_parts(rng: random.Random, lexicon: Lexicon) -> dict[str, str]:
    """Slots of one rule sentence: who, what, how long (digits, words or both)."""
    theme = rng.choice(lexicon.themes)
    count = number(rng) if rng.random() < 0.8 else rng.randint(1, 120)
    written = {0: str(count), 1: number_in_words(count), 2: f"{number_in_words(count)} ({count})"}
    first, second = rng.sample(theme.nouns, 2)
    return {
        "who": subject(rng, lexicon),
        "v": rng.choice(theme.base),
        "n": first,
        "m": second,
        "a": rng.choice(theme.adjectives),
        "k": written[rng.choice((0, 0, 0, 1, 2))],
        "digits": str(count),
        "unit": rng.choice(lexicon.names["units"]),
        "x": rng.choice(lexicon.names[rng.choice(("countries", "states"))]),
    }


def rules(rng: random.Random, lexicon: Lexicon) -> Chat:
    """A rule: who has the duty, how many, of what unit, under whose law."""
    parts = rule_parts(rng, lexicon)
    text = capital(rng.choice(RULES).format(**parts))
    who = parts["who"].removeprefix("the ")
    pairs = [
        (
            rng.choice(
                ("How many {unit}?", "Which number is in the text?", "How long, in {unit}?")
            ),
            parts["digits"],
        ),
        (rng.choice(("Who is this about?", "Who has to act?", "Name the one who is bound.")), who),
        (rng.choice(("Which thing is it about?", "What is it about: which thing?")), parts["n"]),
    ]
    if rng.random() < 0.4:
        text += " " + capital(rng.choice(LAWS).format(**parts))
        pairs.append(
            (rng.choice(("Which law?", "Whose law holds?", "Which place is named?")), parts["x"])
        )
    elif rng.random() < 0.3:
        pairs.append((rng.choice(("Which law?", "Whose law holds?")), "none"))
    if rng.random() < 0.5:
        text = (
            f"{text} {sentence(rng, lexicon)}"
            if rng.random() < 0.5
            else f"{sentence(rng, lexicon)} {text}"
        )
    rng.shuffle(pairs)
    pairs = [(ask.format(**parts), answer) for ask, answer in pairs[: rng.randint(1, 3)]]
    pairs[0] = (f"{text}\n{pairs[0][0]}", pairs[0][1])
    return chat(rng, "rules", *pairs)


def digits(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Number words to digits, alone or in a sentence."""
    pairs = []
    for _ in range(rng.randint(1, 4)):
        count = number(rng)
        words = number_in_words(count)
        ask = rng.choice(
            (
                "{} in digits",
                "Write {} as a number.",
                "I have {} boxes. How many?",
                "{} days: how many?",
            )
        )
        pairs.append((ask.format(words), str(count)))
    return chat(rng, "digits", *pairs)


def found_number(rng: random.Random, lexicon: Lexicon) -> Chat:
    """The only number of a text."""
    count = number(rng)
    text = f"{phrase(rng, lexicon, 1, 5)} {count} {phrase(rng, lexicon, 1, 5)}"
    ask = rng.choice(
        ("Which number is in the text?", "Give the number.", "What number do you see?")
    )
    if any(c.isdigit() for c in text.replace(str(count), "", 1)):
        return digits(rng, lexicon)
    return chat(rng, "number", (f"{text}\n{ask}", str(count)))
