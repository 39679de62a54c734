"""Skills about themes.

What is this about, belongs, odd one out, word lists. Tenants' topics are never asked.
"""

from __future__ import annotations

import random

from train.base.chat import Chat, chat
from train.base.lexicon import Lexicon
from train.base.stories import themed_sentence


def about(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Name the theme of a text or of some words."""
    theme = rng.choice(lexicon.asked_themes)
    if rng.random() < 0.6:
        text = " ".join(themed_sentence(rng, lexicon, theme) for _ in range(rng.randint(1, 3)))
    else:
        text = ", ".join(rng.sample(theme.words, rng.randint(2, 5)))
    ask = rng.choice(
        (
            "{}\nWhat is this about?",
            "What is the topic of this text? {}",
            "Topic? {}",
            "{} Name the topic.",
        )
    )
    return chat(rng, "about", (ask.format(text), theme.name))


def belongs(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Yes or no: does a word go with others (any theme), or is it in a list."""
    pairs = []
    for _ in range(rng.randint(1, 3)):
        theme, other = rng.sample(lexicon.themes, 2)
        shown = rng.sample(theme.words, 4)
        yes = rng.random() < 0.5
        if rng.random() < 0.5:
            foreign = [w for w in other.words if w not in theme.words]
            probe = shown.pop() if yes else rng.choice(foreign)
            pairs.append((f"Does {probe} go with {', '.join(shown)}?", "yes" if yes else "no"))
        else:
            probe = (
                rng.choice(shown) if yes else rng.choice([w for w in theme.words if w not in shown])
            )
            pairs.append(
                (f"List: {', '.join(shown)}. Is {probe} in the list?", "yes" if yes else "no")
            )
    return chat(rng, "belongs", *pairs)


def odd_one_out(rng: random.Random, lexicon: Lexicon) -> Chat:
    """The word that does not go with the others."""
    pairs = []
    for _ in range(rng.randint(1, 3)):
        theme, other = rng.sample(lexicon.themes, 2)
        foreign = rng.choice([w for w in other.words if w not in theme.words])
        shown = [
            *rng.sample([w for w in theme.words if w not in other.words], rng.randint(3, 4)),
            foreign,
        ]
        rng.shuffle(shown)
        ask = rng.choice(("Which word does not belong? {}", "Odd one out: {}"))
        pairs.append((ask.format(", ".join(shown)), foreign))
    return chat(rng, "odd one out", *pairs)


def word_list(rng: random.Random, lexicon: Lexicon) -> Chat:
    """Words of a named theme."""
    theme = rng.choice(lexicon.asked_themes)
    count = rng.randint(2, 5)
    ask = rng.choice(("Name {} words about {}.", "Give {} words of {}.", "List {} things from {}."))
    return chat(
        rng, "word list", (ask.format(count, theme.name), ", ".join(rng.sample(theme.words, count)))
    )
