"""Rest: which adapters need no look in this tick, since nothing is new for them.

Most adapters are idle most of the time, and a look takes some ten queries. So each tick reads the
whole fleet in one query a table; what is there of one adapter is its *mark*. One that was left with
nothing to decide is at rest for as long as its mark is the same. Figures only; keeps nothing in the
registry: after a restart everyone is looked at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from registry import Registry
from registry.adapters import Adapter
from registry.aliases import Alias
from registry.news import Names, Standing
from registry.versions import ON_ITS_WAY


class Rest:
    """`read` once a tick; then `has(names)` for each adapter, and `settle` once it was looked
    at."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._marks: dict[Names, Any] = {}
        self._left: dict[Names, tuple[Any, float]] = {}
        """The mark of each adapter at rest, and until when it is (seconds since the epoch)."""
        self._exchanges: dict[str, int] = {}
        self._words: dict[Names, int] = {}
        self._under_way: frozenset[Names] = frozenset()

    def read(
        self, adapters: Iterable[Adapter], aliases: Iterable[Alias], versions: Iterable[Standing]
    ) -> None:
        """See what is there now."""
        news = self._registry.news
        self._exchanges.update(news.exchanges(max(self._exchanges.values(), default=0)))
        self._words.update(news.words(max(self._words.values(), default=0)))
        routed: dict[Names, list[Any]] = defaultdict(list)
        for a in aliases:
            weights = (a.canary_weight, a.shadow_share, a.updated_at)
            routed[a.tenant, a.adapter].append(
                (a.name, a.live, a.previous, a.canary, a.shadow, weights)
            )
        made: dict[Names, list[Any]] = defaultdict(list)
        for version in versions:
            again = (version.again or {}).get("passed")
            made[version.tenant, version.adapter].append(
                (version.digest, version.state, version.state_at, version.verdict, again)
            )
        left: dict[Names, list[Any]] = defaultdict(list)
        for (tenant, name, kind), (count, at) in sorted(news.receipts().items()):
            left[tenant, name].append((kind, count, at))
        self._under_way = frozenset(
            names for names, some in made.items() if any(v[1] in ON_ITS_WAY for v in some)
        )
        self._marks = {
            names: (
                adapter.base,
                self._exchanges.get(adapter.tenant, 0),
                self._words.get(names, 0),
                routed[names],
                made[names],
                left[names],
            )
            for adapter in adapters
            for names in [(adapter.tenant, adapter.name)]
        }
        self._left = {names: kept for names, kept in self._left.items() if names in self._marks}

    def has(self, names: Names, now: float) -> bool:
        """Whether nothing is new for an adapter that was left with nothing to decide."""
        mark, until = self._left.get(names, (None, 0.0))
        return mark is not None and now < until and mark == self._marks[names]

    def settle(self, names: Names, cursor: int, memory: Mapping[str, Any], until: float) -> None:
        """It was looked at and there is nothing to decide: it rests, unless a version is on its way
        or it has more to read than it read (`cursor`, and `said` of its memory)."""
        read = cursor >= self._exchanges.get(names[0], 0)
        heard = memory.get("said", 0) >= self._words.get(names, 0)
        if read and heard and names not in self._under_way:
            self._left[names] = self._marks[names], until

    def wake(self, names: Names) -> None:
        """It is to be looked at, whatever is new."""
        self._left.pop(names, None)
