"""In-context mappings: a few pairs are shown, one more is asked. The shape of few-shot prompts."""

from __future__ import annotations

import json
import random

from train.base.chat import Chat, chat
from train.base.invention import gibberish, number, word
from train.base.lexicon import Lexicon, number_in_words
from train.base.lookups import RULES, capital, rule_parts
from train.base.stories import themed_sentence

Pair = tuple[str, str]


def labelled(rng: random.Random, lexicon: Lexicon, shots: int, sentences: bool) -> list[Pair]:
    """Words or sentences of a few themes, each theme with an arbitrary label of this chat only."""
    themes = rng.sample(lexicon.themes, rng.randint(2, 4))
    labels = [
        rng.choice(
            (gibberish(rng), rng.choice(rng.choice(lexicon.asked_themes).words), f"group {i}")
        )
        for i in range(4)
    ]
    order = [rng.randrange(len(themes)) for _ in range(shots - 1)]
    order.append(rng.choice(order))
    rows = []
    for index in order:
        theme = themes[index]
        text = themed_sentence(rng, lexicon, theme) if sentences else rng.choice(theme.words)
        rows.append((text, labels[index]))
    return rows


def recalled(rng: random.Random, lexicon: Lexicon, shots: int) -> list[Pair]:
    """Arbitrary pairs; the asked one was shown before."""
    rows = [(word(rng, lexicon), word(rng, lexicon)) for _ in range(max(2, shots - 1))]
    return [*rows, rng.choice(rows)]


def transformed(rng: random.Random, lexicon: Lexicon, shots: int) -> list[Pair]:
    """A rule that the pairs show: capital, quotes, twice, first word, digits, JSON."""
    kind = rng.randrange(7)
    rows = []
    for _ in range(shots):
        first, second = word(rng, lexicon), word(rng, lexicon)
        count = number(rng)
        rows.append(
            (
                (first, f'"{first}"'),
                (first, f"{first} {first}"),
                (f"{first} {second}", first),
                (f"{first} {second}", second),
                (number_in_words(count), str(count)),
                (f"{first} {second}", json.dumps({first: second})),
                (f"{first} {second}", f"{second} {first}"),
            )[kind]
        )
    return rows


def extracted(rng: random.Random, lexicon: Lexicon, shots: int) -> list[Pair]:
    """Rule sentences to one slot or a small record; which one, only the shown pairs say."""
    slot = rng.choice(("who", "digits", "n", "unit", "record"))
    names = rng.sample(lexicon.names["keys"], 2)
    rows = []
    for _ in range(shots):
        parts = rule_parts(rng, lexicon)
        parts["who"] = parts["who"].removeprefix("the ")
        text = capital(rng.choice(RULES).format(**parts))
        if slot == "record":
            rows.append(
                (text, json.dumps({names[0]: parts["who"], names[1]: int(parts["digits"])}))
            )
        else:
            rows.append((text, parts[slot]))
    return rows


def mapping(rng: random.Random, lexicon: Lexicon, longest: int = 8) -> Chat:
    """A mapping shown as earlier turns of the chat or as lines of one message."""
    kind = rng.random()
    shots = rng.randint(3, longest)
    if kind < 0.25:
        rows = labelled(rng, lexicon, shots, sentences=False)
    elif kind < 0.5:
        rows = labelled(rng, lexicon, shots, sentences=True)
    elif kind < 0.65:
        rows = recalled(rng, lexicon, shots)
    elif kind < 0.85:
        rows = transformed(rng, lexicon, shots)
    else:
        rows = extracted(rng, lexicon, shots)
    if rng.random() < 0.55:
        return chat(rng, "mapping", *rows)
    arrow = rng.choice((" -> ", " => ", ": ", " = "))
    lines = "\n".join(f"{a}{arrow}{b}" for a, b in rows[:-1])
    return chat(rng, "mapping", (f"{lines}\n{rows[-1][0]}{arrow.rstrip()}", rows[-1][1]))


def long_mapping(rng: random.Random, lexicon: Lexicon) -> Chat:
    """A mapping of up to 20 pairs: 200 to 600 tokens."""
    return mapping(rng, lexicon, longest=20)
