"""Invented material.

Gibberish words and names, codes and numbers, so that copying can't be memorised.
"""

from __future__ import annotations

import random

from train.base.lexicon import Lexicon

ONSETS = [
    "b",
    "bl",
    "br",
    "c",
    "ch",
    "cl",
    "cr",
    "d",
    "dr",
    "f",
    "fl",
    "fr",
    "g",
    "gl",
    "gr",
    "h",
    "j",
    "k",
    "kl",
    "l",
    "m",
    "n",
    "p",
    "pl",
    "pr",
    "qu",
    "r",
    "s",
    "sh",
    "sk",
    "sl",
    "sn",
    "st",
    "t",
    "th",
    "tr",
    "v",
    "w",
    "z",
]
VOWELS = ["a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oo", "ou"]
CODAS = [
    "",
    "",
    "",
    *[
        "b",
        "ck",
        "d",
        "f",
        "g",
        "k",
        "l",
        "ll",
        "m",
        "n",
        "nd",
        "nt",
        "p",
        "r",
        "rd",
        "rk",
        "rn",
        "s",
        "sk",
        "st",
        "t",
        "th",
        "x",
    ],
]
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"


def gibberish(rng: random.Random) -> str:
    """An invented lower-case word of one to three syllables."""
    count = rng.choice((1, 2, 2, 3))
    return "".join(
        rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS) for _ in range(count)
    )


def code(rng: random.Random) -> str:
    """A short code such as `KB-4071`."""
    head = "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 3)))
    return f"{head}{rng.choice(('-', '', '#'))}{rng.randint(10, 9999)}"


def number(rng: random.Random) -> int:
    """A whole number; small and round ones are common, as in real text."""
    kind = rng.random()
    if kind < 0.4:
        return rng.randint(1, 31)
    if kind < 0.7:
        return rng.choice(
            (5, 10, 14, 15, 20, 21, 28, 30, 40, 45, 50, 60, 75, 90, 100, 120, 150, 180)
        )
    return rng.randint(1, 999)


def person(rng: random.Random, lexicon: Lexicon) -> str:
    """A first name, sometimes with a surname, sometimes invented."""
    kind = rng.random()
    if kind < 0.2:
        return gibberish(rng).capitalize()
    first = rng.choice(lexicon.names["first names"])
    return f"{first} {rng.choice(lexicon.names['surnames'])}" if kind > 0.85 else first


def place(rng: random.Random, lexicon: Lexicon) -> str:
    """A city, country or state, sometimes invented."""
    if rng.random() < 0.12:
        return gibberish(rng).capitalize()
    return rng.choice(lexicon.names[rng.choice(("cities", "countries", "states"))])


def word(rng: random.Random, lexicon: Lexicon) -> str:
    """Any single item worth copying.

    Mostly lexicon words, also names, gibberish, numbers, codes.
    """
    kind = rng.random()
    if kind < 0.48:
        return rng.choice(lexicon.words)
    if kind < 0.57:
        return rng.choice(lexicon.names["common"])
    if kind < 0.75:
        return gibberish(rng)
    if kind < 0.82:
        return gibberish(rng).capitalize()
    if kind < 0.88:
        return rng.choice(lexicon.words).capitalize()
    if kind < 0.92:
        return rng.choice(lexicon.names["first names"])
    if kind < 0.95:
        return place(rng, lexicon)
    if kind < 0.98:
        return str(number(rng))
    return code(rng)


def phrase(rng: random.Random, lexicon: Lexicon, low: int = 2, high: int = 6) -> str:
    """Several unrelated items, separated by spaces."""
    return " ".join(word(rng, lexicon) for _ in range(rng.randint(low, high)))
