"""What limits how many requests an engine works on at once: places in its batch, and LoRA slots.

As vLLM's scheduler does it: at most `max_num_seqs` requests progress, and of their adapters at most
`max_loras` are distinct. Those that don't fit wait; one behind them that does fit goes first.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Slots:
    """None: without bound. `active` has the adapters of what runs, and how often."""

    max_loras: int | None = None
    max_num_seqs: int | None = None
    running: int = 0
    most_running: int = 0
    most_adapters: int = 0
    active: Counter[str] = field(default_factory=Counter)
    waiting: list[tuple[str | None, asyncio.Future[None]]] = field(default_factory=list)

    @asynccontextmanager
    async def place(self, adapter: str | None) -> AsyncIterator[None]:
        """Wait for a place, hold it. `adapter` None: the base, which takes no slot."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append((adapter, turn))
        self._admit()
        try:
            await turn
        except BaseException:
            if (adapter, turn) in self.waiting:
                self.waiting.remove((adapter, turn))
            elif not turn.cancelled():
                self._leave(adapter)
            raise
        try:
            yield
        finally:
            self._leave(adapter)

    def _fits(self, adapter: str | None) -> bool:
        if self.max_num_seqs is not None and self.running >= self.max_num_seqs:
            return False
        full = self.max_loras is not None and len(self.active) >= self.max_loras
        return adapter is None or adapter in self.active or not full

    def _admit(self) -> None:
        for entry in list(self.waiting):
            adapter, turn = entry
            if turn.done() or not self._fits(adapter):
                continue
            self.waiting.remove(entry)
            self.running += 1
            if adapter is not None:
                self.active[adapter] += 1
            self.most_running = max(self.most_running, self.running)
            self.most_adapters = max(self.most_adapters, len(self.active))
            turn.set_result(None)

    def _leave(self, adapter: str | None) -> None:
        self.running -= 1
        if adapter is not None:
            self.active[adapter] -= 1
            if not self.active[adapter]:
                del self.active[adapter]
        self._admit()
