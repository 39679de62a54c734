"""Themed sentences and short stories.

The text in which words of one theme meet, so that they cluster.
"""

from __future__ import annotations

import random

from train.base.chat import Chat, chat
from train.base.invention import number, person, place
from train.base.lexicon import Lexicon, Theme

SENTENCES = (
    "The {a} {n} was near the {m}.",
    "{who} {p} the {n}.",
    "{who} {p} the {a} {n} and the {m}.",
    "The {n} and the {m} were {a}.",
    "They {p} it, and the {n} was {a}.",
    "We want to {v} the {n}.",
    "My {n} is {a}, not {b}.",
    "I {p} a {n} with the {m}.",
    "Nobody {p} the {n} or the {m}.",
    "There was no {n} in {where}.",
    "You can {v} it with a {a} {n}.",
    "{who} will {v} the {n} in {month}.",
    "In {where} the {n} is {a}.",
    "The {n} must be {a}, because they {p} the {m}.",
    "Did {who} {v} the {n}?",
    "It was a {a} {n}, so {who} could not {v} it.",
    "{who} had {k} {n} and one {m}.",
    "Please do not {v} the {n} before {month}.",
    "Why was the {n} so {a}?",
    "The {n} has a {m}, but the {m} is {a}.",
    "On {day} {who} {p} {k} {n}.",
    "I still have the {n}, yet the {m} is gone.",
    "Hello, this is about the {n} and the {m}.",
    "If the {n} is {a}, {v} the {m}.",
    "Each {n} shall have a {m}.",
    "No {n} may {v} the {m} without a {a} {n}.",
)


def themed_sentence(rng: random.Random, lexicon: Lexicon, theme: Theme) -> str:
    """One sentence whose content words come from one theme."""
    first, second = rng.sample(theme.nouns, 2)
    return rng.choice(SENTENCES).format(
        n=first,
        m=second,
        p=rng.choice(theme.past),
        v=rng.choice(theme.base),
        a=rng.choice(theme.adjectives),
        b=rng.choice(theme.adjectives),
        who=person(rng, lexicon),
        where=place(rng, lexicon),
        month=rng.choice(lexicon.names["months"]),
        day=rng.choice(lexicon.names["weekdays"]),
        k=number(rng),
    )


def sentence(rng: random.Random, lexicon: Lexicon) -> str:
    """One sentence of any theme."""
    return themed_sentence(rng, lexicon, rng.choice(lexicon.themes))


def story(rng: random.Random, lexicon: Lexicon) -> Chat:
    """A few sentences of one theme, told on request (every theme) or named (asked themes only)."""
    theme = rng.choice(lexicon.themes)
    text = " ".join(themed_sentence(rng, lexicon, theme) for _ in range(rng.randint(2, 4)))
    kind = rng.random()
    if kind < 0.4 or theme not in lexicon.asked_themes:
        seed = ", ".join(rng.sample(theme.nouns, 3))
        ask = rng.choice(
            (
                "Write a few lines with these words: {}.",
                "Tell me something about: {}",
                "Use these: {}",
            )
        )
        return chat(rng, "story", (ask.format(seed), text))
    ask = rng.choice(
        ("Tell a short story about {}.", "Write some lines about {}.", "Say something about {}.")
    )
    return chat(rng, "story", (ask.format(theme.name), text))


def onward(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Go on with a text: the next sentence stays within the theme."""
    theme = rng.choice(lexicon.themes)
    lines = [themed_sentence(rng, lexicon, theme) for _ in range(rng.randint(2, 5))]
    ask = rng.choice(("Go on with the text: {}", "{} What could come next?", "Add a line: {}"))
    return chat(rng, "onward", (ask.format(" ".join(lines[:-1])), lines[-1]))


def more_words(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Name words that go with some words of one theme: every theme takes part, none is named."""
    theme = rng.choice(lexicon.themes)
    chosen = rng.sample(theme.words, min(len(theme.words), rng.randint(6, 9)))
    cut = rng.randint(3, 4)
    ask = rng.choice(("More words like {}", "What goes with {}?", "Which words go with {}?"))
    return chat(rng, "more words", (ask.format(", ".join(chosen[:cut])), ", ".join(chosen[cut:])))


def missing_word(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Fill a gap: a themed text with one noun blanked, which stands in the text elsewhere."""
    theme = rng.choice(lexicon.themes)
    lines = [themed_sentence(rng, lexicon, theme) for _ in range(3)]
    words = [w for w in theme.nouns if w in " ".join(lines).split()]
    if not words:
        return onward(rng, lexicon)
    gap = rng.choice(words)
    text = " ".join(lines)
    blanked = text.replace(f" {gap}", " ___", 1)
    return chat(rng, "gap", (f"{blanked}\nWhich word is missing?", gap))
