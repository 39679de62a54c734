"""Skills of copying.

Repeat, quote, pick by position, what comes after. No knowledge of the world.
"""

from __future__ import annotations

import random

from train.base.chat import Chat, chat
from train.base.invention import gibberish, person, phrase, word
from train.base.lexicon import Lexicon
from train.base.stories import sentence

REPEAT = (
    "Repeat: {}",
    "Say this again: {}",
    "Copy the text: {}",
    "Repeat after me: {}",
    "{} Repeat that.",
    "Echo: {}",
)
QUOTED = (
    ('{who} said "{text}". What did {who} say?', "{text}"),
    ('The sign says "{text}". What does the sign say?', "{text}"),
    ('{who} wrote "{text}" and left. Give the quoted words.', "{text}"),
    ('{before} "{text}" {after} What is in quotes?', "{text}"),
    ('{before} "{text}" {after} Quote it.', '"{text}"'),
)
MARKED = (
    ("[", "]", "brackets"),
    ("(", ")", "parentheses"),
    ("<", ">", "angle marks"),
    ("*", "*", "stars"),
    ("{", "}", "braces"),
)
ORDINALS = ("first", "second", "third", "fourth", "fifth")


def content(rng: random.Random, lexicon: Lexicon, size: int) -> str:
    """About `size` words: unrelated items, gibberish only, or a sentence."""
    kind = rng.random()
    if kind < 0.6 or size > 12:
        return phrase(rng, lexicon, max(1, size - 1), size)
    if kind < 0.85:
        return " ".join(gibberish(rng) for _ in range(size))
    return sentence(rng, lexicon)


def plain_repeat(rng: random.Random, lexicon: Lexicon) -> Chat:
    """The easiest form: many turns that give back exactly what was said."""
    size = rng.choice((1, 2, 3, 4, 6, 8))
    pairs = []
    for _ in range(rng.randint(1, 4)):
        text = content(rng, lexicon, size)
        pairs.append((f"Repeat: {text}", text))
    return chat(rng, "repeat", *pairs, system="")


def repeat(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Repeat one text, in several phrasings."""
    pairs = []
    for _ in range(rng.randint(1, 3)):
        text = content(rng, lexicon, rng.randint(1, 12))
        pairs.append((rng.choice(REPEAT).format(text), text))
    return chat(rng, "repeat", *pairs)


def quoted(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Give back the quoted words of a text."""
    pairs = []
    for _ in range(rng.randint(1, 2)):
        ask, answer = rng.choice(QUOTED)
        parts = {
            "who": person(rng, lexicon),
            "text": content(rng, lexicon, rng.randint(1, 7)),
            "before": sentence(rng, lexicon),
            "after": sentence(rng, lexicon),
        }
        pairs.append((ask.format(**parts), answer.format(**parts)))
    return chat(rng, "quoted", *pairs)


def marked(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Give back what stands between two marks."""
    opening, closing, name = rng.choice(MARKED)
    text = content(rng, lexicon, rng.randint(1, 6))
    left, right = phrase(rng, lexicon, 1, 6), phrase(rng, lexicon, 1, 6)
    ask = rng.choice(
        ("What is in the {}?", "Give the words in {}.", "Copy what is between the {}.")
    )
    return chat(
        rng, "marked", (f"{left} {opening}{text}{closing} {right}\n{ask.format(name)}", text)
    )


def position(rng: random.Random, lexicon: Lexicon) -> Chat:
    """First, last or n-th item of a list, several questions about one list."""
    size = rng.randint(3, 7)
    items = rng.sample([word(rng, lexicon) for _ in range(3 * size)], size)
    choices = [(ORDINALS[i], items[i]) for i in range(min(size, 5))] + [("last", items[-1])] * 2
    rng.shuffle(choices)
    thing = rng.choice(("item", "word", "entry"))
    pairs = [
        (f"What is the {name} {thing}?", answer) for name, answer in choices[: rng.randint(1, 4)]
    ]
    joined = rng.choice((", ", "; ", " ", "\n")).join(items)
    head = rng.choice(("List: ", "Items: ", "", "Words: "))
    pairs[0] = (f"{head}{joined}\n{pairs[0][0]}", pairs[0][1])
    return chat(rng, "position", *pairs)


def neighbour(rng: random.Random, lexicon: Lexicon) -> Chat:
    """What comes after (or before) a word of a list."""
    items = list(dict.fromkeys(word(rng, lexicon) for _ in range(rng.randint(4, 9))))
    pairs = []
    for _ in range(rng.randint(1, 3)):
        index = rng.randrange(1, len(items) - 1) if len(items) > 2 else 0
        if rng.random() < 0.7:
            pairs.append(
                (f"What comes after {items[index]}?", items[min(index + 1, len(items) - 1)])
            )
        else:
            pairs.append((f"What comes before {items[index]}?", items[max(index - 1, 0)]))
    joined = rng.choice((", ", " ", " - ")).join(items)
    pairs[0] = (f"{joined}\n{pairs[0][0]}", pairs[0][1])
    return chat(rng, "neighbour", *pairs)


def continued(rng: random.Random, lexicon: Lexicon) -> Chat:
    """A pattern of two to six items that goes on and on.

    The shape in which induction forms first.
    """
    items = [word(rng, lexicon) for _ in range(rng.randint(2, 8))]
    rounds = rng.randint(2, 4)
    return chat(rng, "continue", (f"Go on: {' '.join(items * rounds)}", " ".join(items)), system="")
