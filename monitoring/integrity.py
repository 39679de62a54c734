"""Integrity: has the pipeline before the model changed, rather than what people ask?

Most "drift" is a client that applies a chat template by itself, lost its system prompt or sends
empty turns. Retraining on that would teach the adapter somebody's mistake. Each exchange carries a
*layout*: a number that says how its messages are built and nothing of what they say. The layouts of
the first exchanges after a promotion are what is usual; where nearly all exchanges have another,
all at once, the pipeline changed. Clients whose system prompts differ from request to request have
no usual layout, and nothing is said of them.

Beside it goes the client's name (monitoring.client). Another client alone is no change: libraries
are upgraded. One that came with another layout is said to be the probable cause.

Pure: no clock, no database; goes on from what `dump` gives.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.sketch import text_of

MARKERS, EMPTY, OPEN = 1 << 24, 1 << 25, 1 << 26
"""Bits of a layout: signs of a chat template within a text; no user text at all; the last message
is an assistant's. Those below hash the system prompt, digits folded; 0 for none."""

_TEMPLATE = re.compile(
    r"<\|(?:im_start|im_end|begin_of_text|start_header_id|eot_id|user|assistant|system)\|>"
    r"|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|\{\{-?\s*\w|\{%-?\s*\w"
    r"|^### (?:Instruction|Response):",
    re.MULTILINE,
)
_DIGITS = re.compile(r"\d+")
_LOOKED_AT = 4000
WINDOW = 50
"""Exchanges that are looked at at a time: after so many a broken pipeline has been seen."""
_USUAL, _FEWEST = 0.01, 3  # of the reference: rarer layouts are nobody's habit
_COVERED = 0.9  # of the reference, by usual layouts; else there is no habit to speak of
_CHANGED, _MENDED = 0.8, 0.2  # of the window
_REMEMBERED = 2 * WINDOW  # clients of exchanges that were built as usual


def layout(messages: Any) -> int:
    """How a conversation is built, from 0 to 2^27 - 1. Whatever is no conversation is EMPTY."""
    if not isinstance(messages, Sequence) or isinstance(messages, str | bytes):
        return EMPTY
    system, asked, bits, role = "", False, 0, None
    for message in messages:
        if not isinstance(message, Mapping):
            continue
        role, text = message.get("role"), text_of(message.get("content"))
        if role in ("system", "developer"):
            system += text
        elif role == "user":
            asked = asked or bool(text.strip()) or _is_rich(message.get("content"))
        if _TEMPLATE.search(text[:_LOOKED_AT]):
            bits |= MARKERS
    if not asked:
        bits |= EMPTY
    if role == "assistant":
        bits |= OPEN
    folded = _DIGITS.sub("0", " ".join(system.split()))
    hashed = zlib.crc32(folded.encode("utf-8", "replace")) & (MARKERS - 1) if folded else 0
    return bits | hashed


class Integrity:
    """The layouts of one adapter's exchanges, from one promotion to the next. `reference`: how many
    say what is usual."""

    def __init__(self, reference: int, state: Mapping[str, Any] | None = None) -> None:
        self._reference = reference
        kept = state or {}
        self._counts = Counter({int(k): int(v) for k, v in kept.get("counts", {}).items()})
        self._settled: frozenset[int] | None = None
        self._window: deque[int] = deque(kept.get("window", ()), maxlen=WINDOW)
        self._numbers: deque[int] = deque(kept.get("numbers", ()), maxlen=WINDOW)
        self.changed = bool(kept.get("changed", False))
        """Whether nearly all exchanges are built in another way than usual; so until nearly none
        is."""
        self._clients: deque[str] = deque(kept.get("clients", ()), maxlen=WINDOW)
        self._usual_clients: deque[str] = deque(kept.get("usual_clients", ()), maxlen=_REMEMBERED)
        self.cause: str = kept.get("cause", "")
        """While changed: which client gave way to which as it came about; empty where none did."""

    @property
    def usual(self) -> frozenset[int]:
        """Usual layouts; empty while the reference is taken, and where there is no habit."""
        if self._settled is not None:
            return self._settled
        size = self._counts.total()
        if size < self._reference:
            return frozenset()
        usual = {code: n for code, n in self._counts.items() if n >= max(_FEWEST, _USUAL * size)}
        habit = sum(usual.values()) >= _COVERED * size
        self._settled = frozenset(usual) if habit else frozenset()  # nothing is counted any more
        return self._settled

    @property
    def what(self) -> str:
        """What is new about most of the window, for people, and which client probably did it."""
        return f"{self._novelty}, since {self.cause}" if self.cause else self._novelty

    @property
    def clients(self) -> list[tuple[str, float]]:
        """(name, share) of the clients of the last exchanges, the most frequent first."""
        known = Counter(name for name in self._clients if name)
        return [(name, n / known.total()) for name, n in known.most_common()]

    @property
    def _novelty(self) -> str:
        usual = self.usual
        strange = Counter(code for code in self._window if code not in usual)
        for bit, said in (
            (MARKERS, "chat-template markers within the messages"),
            (EMPTY, "no user text"),
            (OPEN, "the last message is an assistant's"),
        ):
            if sum(n for code, n in strange.items() if code & bit) > strange.total() / 2:
                return said
        gone = sum(n for code, n in strange.items() if not code) > strange.total() / 2
        return "the system prompt is gone" if gone else "another system prompt"

    @property
    def first(self) -> int | None:
        """The number of the first exchange of the window that is built in another way."""
        usual, numbers = self.usual, [*self._numbers]
        late = [*self._window][len(self._window) - len(numbers) :]
        return next((n for n, code in zip(numbers, late, strict=True) if code not in usual), None)

    def see(self, code: int, client: str | None = None, number: int = 0) -> bool:
        """Take in one exchange's layout, client and number; whether `changed` is another than
        before."""
        self._clients.append(client or "")
        if self._settled is None and self._counts.total() < self._reference:
            self._counts[code] += 1
            self._usual_clients.append(client or "")
            return False
        usual = self.usual
        if not usual:
            return False
        self._window.append(code)
        self._numbers.append(number)
        if code in usual:
            self._usual_clients.append(client or "")
        strange = sum(code not in usual for code in self._window)
        before = self.changed
        if not before:
            self.changed = strange >= _CHANGED * WINDOW
        elif len(self._window) == WINDOW:
            self.changed = strange > _MENDED * WINDOW
        if self.changed != before:
            self.cause = self._successor(usual) if self.changed else ""
        return self.changed != before

    def _successor(self, usual: frozenset[int]) -> str:
        """`X → Y`, where Y sent most of what is strange and nothing that was as usual of late."""
        latest = zip(reversed(self._window), reversed(self._clients), strict=False)
        strange = Counter(client for code, client in latest if code not in usual)
        before = Counter(self._usual_clients).most_common(1)
        if not strange or not before:
            return ""
        [(new, sent)], [(old, _)] = strange.most_common(1), before
        if not new or not old or new in self._usual_clients or sent <= strange.total() / 2:
            return ""
        return f"{old} → {new}"

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "counts": {str(code): n for code, n in self._counts.most_common(100)},
            "window": [*self._window],
            "numbers": [*self._numbers],
            "changed": self.changed,
            "clients": [*self._clients],
            "usual_clients": [*self._usual_clients],
            "cause": self.cause,
        }


def _is_rich(content: Any) -> bool:
    """Whether there are parts that are no text: a picture alone is a question too."""
    return isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") not in (None, "text") for part in content
    )
