"""The word lists that the corpus is written from: themes, names, places, units and JSON keys.

Reads `lexicon.txt` and `names.txt` beside this file; knows nothing about skills or chats.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

HERE = Path(__file__).parent

# Themes close to what a support desk or a contract reader works on. The corpus tells stories about
# them, so that their words cluster, but never asks what they are: that question is the tenants'.
UNASKED = frozenset(
    [
        "money",
        "invoices",
        "parcels",
        "warehouse",
        "passwords",
        "returns",
        "damage",
        "clothes",
        "phones",
        "computers",
        "lights",
        "networks",
        "shops",
        "contracts",
        "parties",
        "secrets",
        "insurance",
        "deadlines",
        "law",
        "office",
        "sound",
    ]
)

NUMBER_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number_in_words(number: int) -> str:
    """English words of a whole number from 0 to 999: 45 is `forty-five`."""
    if not 0 <= number <= 999:
        raise ValueError(f"number_in_words takes 0 to 999, got {number}")
    if number < 20:
        return NUMBER_WORDS[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return TENS[tens - 2] + (f"-{NUMBER_WORDS[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    head = f"{NUMBER_WORDS[hundreds]} hundred"
    return f"{head} and {number_in_words(rest)}" if rest else head


@dataclass(frozen=True)
class Theme:
    """Words that belong together, by part of speech."""

    name: str
    nouns: tuple[str, ...]
    past: tuple[str, ...]
    base: tuple[str, ...]
    adjectives: tuple[str, ...]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """All words of the theme, without repeats."""
        return tuple(dict.fromkeys(self.nouns + self.past + self.base + self.adjectives))


@dataclass(frozen=True)
class Lexicon:
    """Themes and names; every list is a tuple so that a seed always gives the same text."""

    themes: tuple[Theme, ...]
    names: dict[str, tuple[str, ...]]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every lower-case word of every theme, without repeats."""
        return tuple(dict.fromkeys(word for theme in self.themes for word in theme.words))

    @cached_property
    def asked_themes(self) -> tuple[Theme, ...]:
        """The themes that questions may be asked about."""
        return tuple(theme for theme in self.themes if theme.name not in UNASKED)

    def company(self, rng: random.Random) -> str:
        """A company-like name such as `Northgate Systems`."""
        stem = rng.choice(self.names["company stems"])
        tail = rng.choice(self.names["company tails"])
        form = rng.choice(self.names["company forms"])
        return f"{stem}{tail} {form}" if rng.random() < 0.7 else f"{stem} {form}"


@cache
def load_lexicon() -> Lexicon:
    """Read the two word files. Cached: the lists never change while a program runs."""
    themes = []
    for line in (HERE / "lexicon.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, rest = line.partition(": ")
        groups = [tuple(group.split()) for group in rest.split(";")]
        themes.append(Theme(name, *groups))
    names = {}
    for line in (HERE / "names.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        kind, _, entries = line.partition(": ")
        names[kind] = tuple(entries.split(","))
    return Lexicon(tuple(themes), names)
