"""How a training process can be made to rest and go on: what it is told, and where it keeps what.

Knows nothing about models; imports no torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

PAUSED_EXIT = 4
"""The exit code of a training process that came to rest because it was asked to."""


class Paused(Exception):
    """Training came to rest as it was asked to; its state is kept."""


class Wish:
    """The wish that training come to rest.

    While a step may be under way the loop answers it, after it has kept its state. At any other
    time there is nothing to keep that is not kept already, and the process ends at once by `leave`.
    """

    def __init__(self, leave: Callable[[], None] = lambda: os._exit(PAUSED_EXIT)) -> None:
        self._leave = leave
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._stepping = False

    @property
    def asked(self) -> bool:
        """Whether somebody wants training to rest."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Called from any thread."""
        with self._lock:
            self._asked.set()
            if self._stepping:
                return
        self._leave()

    def __enter__(self) -> None:
        """Steps begin. Raises Paused when nobody wants them any more."""
        with self._lock:
            if self.asked:
                raise Paused
            self._stepping = True

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._stepping = False


@dataclass(frozen=True)
class Durable:
    """`every_s` seconds of training at most lie between two states in `folder`. `resume` is the
    state to go on from; `key` says what is trained on what, and a state with another is refused.
    The weights of the last `checkpoints` epochs are kept too.
    """

    folder: Path
    every_s: float = 60.0
    resume: Path | None = None
    key: str = ""
    checkpoints: int = 0
    wish: Wish = field(default_factory=Wish)
