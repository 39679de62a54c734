"""The corpus: which skills, in which proportion, at which stage of training. Endless and seeded.

The curriculum starts with plain repeats, because copying (induction) has to form before anything
else can, then spans and lookups, then records and mappings, then long chats.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from train.base import copying, lookups, mappings, records, stories, topics
from train.base.chat import Chat
from train.base.lexicon import Lexicon, load_lexicon

Skill = Callable[[random.Random, Lexicon], Chat]

# Weight of each skill at the start, at one third, and from two thirds of the training on.
SKILLS: dict[str, tuple[Skill, float, float, float]] = {
    "plain repeat": (copying.plain_repeat, 10, 2, 1),
    "continue": (copying.continued, 6, 0.5, 0.3),
    "repeat": (copying.repeat, 3, 4, 2.5),
    "quoted": (copying.quoted, 1, 4, 3),
    "marked": (copying.marked, 1, 2.5, 2),
    "position": (copying.position, 1, 2.5, 2),
    "neighbour": (copying.neighbour, 2, 2, 1.5),
    "key value": (lookups.key_value, 1, 4, 3),
    "facts": (lookups.facts, 0.5, 6, 6),
    "rules": (lookups.rules, 0.3, 5, 6),
    "digits": (lookups.digits, 0.5, 2, 2),
    "number": (lookups.found_number, 0.5, 2, 1.5),
    "json lines": (records.from_lines, 0.3, 3, 3),
    "json sentences": (records.from_sentences, 0.2, 4, 6),
    "json rule": (records.from_rule, 0.2, 4, 7),
    "json quote": (records.quoted_span, 0.2, 3, 3),
    "json read": (records.read_record, 0.3, 2, 2),
    "mapping": (mappings.mapping, 0.3, 3, 3.5),
    "long mapping": (mappings.long_mapping, 0.0, 0.5, 2.5),
    "story": (stories.story, 1, 2, 2.5),
    "onward": (stories.onward, 1, 2, 2.5),
    "more words": (stories.more_words, 1, 2, 3),
    "gap": (stories.missing_word, 0.5, 1, 1),
    "about": (topics.about, 0.5, 2.5, 4),
    "belongs": (topics.belongs, 0.3, 1.5, 2),
    "odd one out": (topics.odd_one_out, 0.3, 2, 3),
    "word list": (topics.word_list, 0.3, 1, 1.5),
}


def weights(progress: float) -> list[float]:
    """Weight of each skill at a point of the training, 0 to 1: linear between the three columns."""
    place = min(max(progress, 0.0), 1.0) * 3
    mixed = []
    for _, start, middle, end in SKILLS.values():
        if place < 1:
            mixed.append(start + (middle - start) * place)
        else:
            mixed.append(middle + (end - middle) * min(place - 1, 1))
    return mixed


def one_chat(rng: random.Random, progress: float) -> Chat:
    """One chat of the mixture at a point of the training."""
    (skill, *_rest) = rng.choices(list(SKILLS.values()), weights(progress))[0]
    return skill(rng, load_lexicon())


def chats(seed: int, progress: float = 1.0) -> Iterator[Chat]:
    """An endless stream at a fixed point of the training; the same seed gives the same chats."""
    rng = random.Random(seed)
    while True:
        yield one_chat(rng, progress)
