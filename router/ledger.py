"""The ledger: which version sits where in one replica, as far as this router's own traffic and the
engine's acknowledgements tell. Pure.

vLLM keeps two lists of adapters, both least recently used first: `max_loras` in slots, ready for a
step, and `max_cpu_loras` in memory, a copy away. What is in neither is read from disk, or from the
store. Its metrics don't say what is where (`vllm:lora_requests_info` shows requests in flight), so
the same two lists are kept here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

SLOT, HOST, COLD = "slot", "host", "cold"


@dataclass(slots=True)
class Ledger:
    """`slots` and `host` are the engine's max_loras and max_cpu_loras. Versions by digest."""

    slots: int
    host: int
    _slotted: OrderedDict[str, None] = field(default_factory=OrderedDict)
    _held: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def acknowledged(self, digest: str) -> None:
        """The engine has just answered from it, whoever asked: it is in its memory. Say it once:
        what was acknowledged long ago may have made room for others since."""
        if digest not in self._held:
            self._hold(digest)

    def where(self, digest: str) -> str:
        """slot, host or cold."""
        if digest in self._slotted:
            return SLOT
        return HOST if digest in self._held else COLD

    def use(self, digest: str) -> str:
        """A request for it goes to the engine; where it was until now."""
        was = self.where(digest)
        self._hold(digest)
        self._slotted[digest] = None
        self._slotted.move_to_end(digest)
        while len(self._slotted) > self.slots:
            self._slotted.popitem(last=False)
        return was

    def forget(self, digest: str) -> None:
        """The engine could not serve it."""
        self._slotted.pop(digest, None)
        self._held.pop(digest, None)

    @property
    def in_slots(self) -> int:
        """Slots that hold something."""
        return len(self._slotted)

    def _hold(self, digest: str) -> None:
        self._held[digest] = None
        self._held.move_to_end(digest)
        while len(self._held) > self.host:
            gone, _ = self._held.popitem(last=False)
            self._slotted.pop(gone, None)
