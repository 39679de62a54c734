"""Metrics whose label values can't grow without bound.

A label's value comes from outside (a tenant's name, an error's code), and each one is a series for
ever (https://prometheus.io/docs/practices/naming/#labels). So each label has a `Bound`; what it
doesn't admit is counted under `other`. Knows nothing about what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from prometheus_client.metrics import MetricWrapperBase

from monitoring.slate import retire

MetricType = TypeVar("MetricType", bound=MetricWrapperBase)

_REMEMBERED = 10_000
"""Refused values that are known to have been; a scanner's names must not fill the memory."""

OTHER = "other"
NOBODY = "none"
"""The tenant of a request that no key vouched for."""


class Bound:
    """The values that one label may take.

    A closed bound admits only what `know` was told, an open one whatever comes first; neither ever
    more than `cap` values. `on_overflow` is called with the label's name for each value refused,
    once, so that it is silent where the same ones are refused again and again.
    """

    def __init__(
        self,
        label: str,
        cap: int,
        *,
        known: Iterable[str] = (),
        closed: bool = False,
        on_overflow: Callable[[str], None] | None = None,
    ) -> None:
        self.label = label
        self.cap = cap
        self.closed = closed
        self.known: dict[str, None] = dict.fromkeys((*known, OTHER))
        self._always = frozenset(self.known)
        self._on_overflow = on_overflow
        self._refused: set[str] = set()

    def admit(self, value: str) -> str:
        """The value itself, or `other`."""
        if value in self.known:
            return value
        if not self.closed and len(self.known) - len(self._always) < self.cap:
            self.known[value] = None
            return value
        if value not in self._refused and len(self._refused) < _REMEMBERED:
            self._refused.add(value)
            if self._on_overflow is not None:
                self._on_overflow(self.label)
        return OTHER

    def know(self, names: Iterable[str]) -> tuple[list[str], list[str]]:
        """Make these (the first `cap` of them, in order) the known values: (came, went)."""
        wanted = dict.fromkeys([n for n in names if n not in self._always][: self.cap])
        before = self.known
        self.known = {**dict.fromkeys(self._always), **wanted}
        came = [name for name in wanted if name not in before]
        return came, [name for name in before if name not in self.known]


class Family(Generic[MetricType]):
    """A metric with labels, each held to its bound. `labels` works as in prometheus_client."""

    def __init__(self, metric: MetricType, bounds: tuple[Bound, ...]) -> None:
        self.metric = metric
        self.bounds = bounds
        self._names = tuple(bound.label for bound in bounds)
        self._children: dict[tuple[str, ...], MetricType] = {}

    def labels(self, *values: object, **named: object) -> MetricType:
        """The series for these label values, by position or by name. Raises ValueError."""
        if named:
            if values or named.keys() != set(self._names):
                raise ValueError(f"expected the labels {', '.join(self._names)}")
            values = tuple(named[name] for name in self._names)
        if len(values) != len(self.bounds):
            raise ValueError(f"expected the labels {', '.join(self._names)}")
        key = tuple(b.admit(str(v)) for b, v in zip(self.bounds, values, strict=True))
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self.metric.labels(*key)
        return child

    def forget(self, **named: str) -> None:
        """Drop every series whose labels have these values."""
        wanted = [(self._names.index(n), v) for n, v in named.items() if n in self._names]
        if not wanted:
            return
        for key in list(self._children):  # a copy: other threads may add series meanwhile
            if all(key[i] == v for i, v in wanted):
                retire(self._children.pop(key))
                self.metric.remove(*key)
