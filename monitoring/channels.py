"""What a prompt is compared by: numbers that say in what way it differs from a baseline of prompts.

Lexical channels compare hashed grams, descriptor channels length, script and signs, and `both` the
two together. Each is a fixed function of the baseline, so it treats all later prompts alike; that
is all that ranks need. Scores are counted in bins laid out by the baseline, so that all that ever
came can be kept in a few kilobytes.

Knows sketches' numbers; nothing about bets.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from monitoring.sketch import CHARACTERS, DESCRIPTORS, WORDS

LEXICAL = CHARACTERS + WORDS
BINS = 512
_SINGLE = ("log_characters", "uppercase", "non_ascii")
SCORES = ("novelty", "shape", "both", *_SINGLE)
"""`novelty`: distance to the nearest three of the baseline, by grams. `shape`: the same by
descriptors. `both`: their sum, each in its own spread. The rest: one descriptor each."""
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
_REACH = 7.0  # spreads to either side of the baseline's mean that bins cover
_COLUMNS = [LEXICAL + DESCRIPTORS.index(name) for name in _SINGLE]


class Channels:
    """Scores against one baseline: (prompts, DIMENSIONS), as float32."""

    def __init__(self, baseline: NDArray[np.float32]) -> None:
        self.baseline = baseline
        self._grams = baseline[:, :LEXICAL]
        shape = baseline[:, LEXICAL:]
        self.usual = shape.mean(axis=0)
        """By descriptor, the baseline's mean."""
        self.spread = np.maximum(shape.std(axis=0), _SMALLEST_SPREAD)
        """By descriptor, the baseline's standard deviation, or the least that counts as one."""
        shape = (shape - self.usual) / self.spread
        self._squares = (shape**2).sum(axis=1)
        self._twice = 2.0 * shape
        # A baseline prompt is its own nearest, so it is scored against all the others.
        pairs = [self._pair(row, self.standardised(row), skip=n) for n, row in enumerate(baseline)]
        apart = np.array(pairs)
        self._centre: list[float] = apart.mean(axis=0).tolist()
        self._scale: list[float] = np.maximum(apart.std(axis=0), _LEAST).tolist()
        every = np.array([self._scores(*both) for both in zip(baseline, pairs, strict=True)])
        spread = np.maximum(every.std(axis=0), _LEAST)
        low, step = every.mean(axis=0) - _REACH * spread, BINS / (2 * _REACH * spread)
        self._layout: list[tuple[float, float]] = [*zip(low.tolist(), step.tolist(), strict=True)]

    def bins(self, numbers: NDArray[np.float32], shape: NDArray[np.float32]) -> list[int]:
        """A prompt's scores, each as the number of a bin. `shape`: it, `standardised`."""
        scores = self._scores(numbers, self._pair(numbers, shape))
        found = []
        for score, (low, step) in zip(scores, self._layout, strict=True):
            at = int((score - low) * step)
            found.append(0 if at < 0 else at if at < BINS else BINS - 1)
        return found

    def standardised(self, numbers: NDArray[np.float32]) -> NDArray[np.float32]:
        """The descriptors, in the baseline's spreads from its mean."""
        shape = (numbers[LEXICAL:] - self.usual) / self.spread
        found: NDArray[np.float32] = np.minimum(np.maximum(shape, -_FURTHEST), _FURTHEST)
        return found

    def _pair(
        self, numbers: NDArray[np.float32], shape: NDArray[np.float32], skip: int | None = None
    ) -> tuple[float, float]:
        """Distances to the nearest, by grams and by descriptors."""
        likeness = self._grams @ numbers[:LEXICAL]
        distance = self._squares - (self._twice @ shape)  # and |shape|², which is added below
        if skip is not None:
            likeness[skip], distance[skip] = -1.0, np.inf
        likeness.partition(-_NEIGHBOURS)
        distance.partition(_NEIGHBOURS - 1)
        near = float(likeness[-_NEIGHBOURS:].sum())
        close = float(distance[:_NEIGHBOURS].sum()) / _NEIGHBOURS + float(shape @ shape)
        # Rounded, so that the last bits of a sum never decide a rank.
        return round(-near, 5), round(math.sqrt(max(close, 0.0)), 5)

    def _scores(self, numbers: NDArray[np.float32], pair: tuple[float, float]) -> list[float]:
        (near, far), (centre, middle), (scale, spread) = pair, self._centre, self._scale
        alike = (near - centre) / scale + (far - middle) / spread
        return [near, far, alike, *[numbers.item(column) for column in _COLUMNS]]
