"""Meanings: what the words of the engines' bases mean, as their engines say and the store keeps.

Asked in the recorder's thread, which may wait for the store. Knows engines' rows and blobs; nothing
about sketches.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from monitoring.meaning import Meaning
from registry.engines import meanings
from registry.snapshot import Snapshot
from registry.store import Store

_log = structlog.get_logger("router.meanings")
_AGAIN_S = 60.0


class Meanings:
    """Kept in memory, a few MB for each base. `snapshot` is the registry's latest; `clock` is
    monotonic seconds."""

    def __init__(
        self,
        store: Store,
        snapshot: Callable[[], Snapshot],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._clock = clock
        self._told: dict[str, str] = {}
        self._kept: dict[str, Meaning] = {}
        """By digest."""
        self._again: dict[str, float] = {}
        """Digests that could not be had, and when to ask for them again."""

    def of(self, base: str) -> Meaning | None:
        """None: no engine has told, or the store can't say. May block for as long as the store
        does, once a minute at most while it fails."""
        # What was told holds until an engine says otherwise: one that is being replaced may be
        # gone before the next has told.
        self._told |= meanings(self._snapshot().engines)
        digest = self._told.get(base)
        if digest is None:
            return None
        return self._kept.get(digest) or self._load(digest)

    def _load(self, digest: str) -> Meaning | None:
        now = self._clock()
        if now < self._again.get(digest, now):
            return None
        try:
            meaning = Meaning.load(self._store.blob(digest))
        except Exception as error:  # a store may be of any kind; records go on without
            if digest not in self._again:
                _log.warning(
                    "prompts are sketched without meanings", blob=digest[:12], error=repr(error)
                )
            self._again[digest] = now + _AGAIN_S
            return None
        self._again.pop(digest, None)
        in_use = set(self._told.values())
        self._kept = {d: kept for d, kept in self._kept.items() if d in in_use} | {digest: meaning}
        return meaning
