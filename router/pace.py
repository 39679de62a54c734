"""Pace: how long a token takes in one replica as more requests share its steps. Pure.

An engine's step takes about `a + b·n` seconds with n requests in it: a is what a step costs in any
case (weights are read once), b what one more request adds. Both are learned from the requests that
pass, by least squares that forgets. What matters is the ratio a/b: how many requests a step carries
until it takes twice as long.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_FORGET = 0.995
"""Weight of what is known at each new observation: about 200 requests are remembered."""
_PRIOR_RATIO = 16.0
"""a/b before anything was seen, and where too little was seen to tell a from b."""
_PRIOR_WEIGHT = 4.0


@dataclass(slots=True)
class Pace:
    """`learn` from finished requests; `ratio` and `most` decide."""

    _w: float = 0.0
    _n: float = 0.0
    _nn: float = 0.0
    _t: float = 0.0
    _nt: float = 0.0
    _ratio: float = field(default=_PRIOR_RATIO)

    def learn(self, together: float, seconds: float) -> None:
        """`together`: requests in the engine while this one ran, itself included, on average.
        `seconds`: what each of its tokens took."""
        f = _FORGET
        self._w = self._w * f + 1.0
        self._n = self._n * f + together
        self._nn = self._nn * f + together * together
        self._t = self._t * f + seconds
        self._nt = self._nt * f + together * seconds
        self._ratio = self._fit()

    @property
    def ratio(self) -> float:
        """a/b, in requests; at least 1."""
        return self._ratio

    def most(self, reference: float, slowdown: float) -> float:
        """How many requests may share a step so that it takes at most `slowdown` times as long as
        with `reference` of them."""
        return slowdown * reference + (slowdown - 1.0) * self._ratio

    def _fit(self) -> float:
        mean_n, mean_t = self._n / self._w, self._t / self._w
        spread = self._nn / self._w - mean_n * mean_n
        if mean_t <= 0.0:
            return _PRIOR_RATIO
        # The prior is a slope that was seen at a spread of one request squared, `_PRIOR_WEIGHT`
        # times: it fades as soon as batches of different sizes were seen.
        prior_b = mean_t / (_PRIOR_RATIO + mean_n)
        covariance = self._nt / self._w - mean_n * mean_t
        strength = _PRIOR_WEIGHT / self._w
        b = (covariance + prior_b * strength) / (spread + strength)
        if b <= 0.0:
            return 1e6  # more requests cost nothing that shows
        return max(1.0, mean_t / b - mean_n)
