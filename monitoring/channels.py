"""What a prompt is compared by: numbers that say in what way it differs from a baseline of prompts.

Lexical channels compare hashed grams, the semantic one what the words mean to the base, descriptor
channels length, script and signs, and `both` grams and descriptors together. Each is a fixed
function of the baseline, so it treats all later prompts alike; that is all that ranks need. Scores
are counted in bins laid out by the baseline, so that all that ever came can be kept in a few
kilobytes.

Sketches hold whole numbers, so distances are exact: many prompts at once get the same scores as one
after another. Knows sketches' numbers; nothing about bets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.sketch import DESCRIPTORS, LEXICAL, NUMBERS, SCALE

Rows = NDArray[np.int8]

BINS = 512
_SINGLE = ("log_characters", "uppercase", "non_ascii")
SCORES = ("novelty", "meaning", "shape", "both", *_SINGLE)
"""`novelty`: distance to the nearest three of the baseline, by grams. `meaning`: the same by what
the words mean. `shape`: by descriptors. `both`: novelty and shape, each in its own spread, added.
The rest: one descriptor each."""
SIDES = (
    *((name, index, 1) for index, name in enumerate(SCORES)),
    *((f"-{name}", SCORES.index(name), -1) for name in ("log_characters", "uppercase")),
)
"""(channel, its score, whether high or low scores are bet on). Symbols, digits, word length and
single directions of the grams were tried as channels: a burst of one topic moves them."""

_NEIGHBOURS = 3
_SMALLEST_SPREAD = 0.02
_LEAST = 1e-3  # of a score
_FURTHEST = 6.0
_STEPS = 16.0  # of a spread
_REACH = 7.0  # spreads to either side of the baseline's mean that bins cover
_COLUMNS = [NUMBERS + DESCRIPTORS.index(name) for name in _SINGLE]


class Channels:
    """Scores against one baseline: (prompts, DIMENSIONS), numbers of sketches."""

    def __init__(self, baseline: Rows) -> None:
        self.baseline = baseline
        shape = described(baseline[:, NUMBERS:])
        self.usual = shape.mean(axis=0)
        """By descriptor, the baseline's mean."""
        self.spread = np.maximum(shape.std(axis=0), _SMALLEST_SPREAD)
        """By descriptor, the baseline's standard deviation, or the least that counts as one."""
        self._shapes = self.standardised(baseline)
        # A baseline prompt is its own nearest, so it is scored against all the others.
        apart = self._apart(baseline, self._shapes, itself=True)
        self._centre = apart.mean(axis=0)
        self._scale = np.maximum(apart.std(axis=0), _LEAST)
        every = self._scores(baseline, apart)
        spread = np.maximum(every.std(axis=0), _LEAST)
        self._low = every.mean(axis=0) - _REACH * spread
        self._step = BINS / (2 * _REACH * spread)

    @property
    def meant(self) -> bool:
        """Whether the baseline says anything of what its words mean."""
        return bool(self.baseline[:, LEXICAL:NUMBERS].any())

    def bins(self, rows: Rows, shapes: Rows) -> NDArray[np.int64]:
        """(prompts, SCORES): scores, each as the number of a bin. `shapes`: the rows,
        `standardised`."""
        scores = self._scores(rows, self._apart(rows, shapes))
        at: NDArray[np.float64] = np.clip((scores - self._low) * self._step, 0, BINS - 1)
        return at.astype(np.int64)

    def standardised(self, rows: Rows) -> Rows:
        """The descriptors, in sixteenths of the baseline's spreads from its mean."""
        apart = (described(rows[:, NUMBERS:]) - self.usual) / self.spread
        steps: NDArray[np.float64] = np.rint(np.clip(apart, -_FURTHEST, _FURTHEST) * _STEPS)
        return steps.astype(np.int8)

    def _apart(self, rows: Rows, shapes: Rows, itself: bool = False) -> NDArray[np.float64]:
        """(prompts, 3): distances to the nearest, by grams, meaning and descriptors."""
        found = np.empty((len(rows), 3))
        for column, (first, last) in enumerate(((0, LEXICAL), (LEXICAL, NUMBERS))):
            likeness = _products(rows[:, first:last], self.baseline[:, first:last])
            if itself:
                np.fill_diagonal(likeness, -np.inf)
            likeness.partition(-_NEIGHBOURS, axis=1)
            found[:, column] = likeness[:, -_NEIGHBOURS:].sum(axis=1) / -(SCALE * SCALE)
        distance = _products(self._shapes, self._shapes, each=True) - 2.0 * _products(
            shapes, self._shapes
        )
        distance += _products(shapes, shapes, each=True)[:, None]
        if itself:
            np.fill_diagonal(distance, np.inf)
        distance.partition(_NEIGHBOURS - 1, axis=1)
        close = distance[:, :_NEIGHBOURS].sum(axis=1, dtype=np.float64) / _NEIGHBOURS
        found[:, 2] = np.sqrt(close) / _STEPS
        return found

    def _scores(self, rows: Rows, apart: NDArray[np.float64]) -> NDArray[np.float64]:
        near, meant, far = apart.T
        alike = (near - self._centre[0]) / self._scale[0] + (far - self._centre[2]) / self._scale[2]
        return np.column_stack([near, meant, far, alike, described(rows[:, _COLUMNS])])


def described(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Descriptors between 0 and 1, from a sketch's numbers of them."""
    found: NDArray[np.float64] = (numbers / SCALE + 1.0) / 2.0
    return found


def _products(rows: Rows, others: Rows, each: bool = False) -> NDArray[np.float32]:
    """Of each row with all others, or (`each`) with the one of its number. Exact: whole numbers
    that stay below 2^24."""
    if each:
        wide = rows.astype(np.float32)
        found: NDArray[np.float32] = (wide * others).sum(axis=1, dtype=np.float32)
        return found
    product: NDArray[np.float32] = rows.astype(np.float32) @ others.astype(np.float32).T
    return product
