"""Estimate: how many tokens a request may take, before anybody counted them. Pure.

The prompt's by its body's weight, the completion's by the request's own bound; both learn from what
the tenant's requests really took. Knows no tokenizer: the engine's count is what is settled in the
end, so an estimate has to be cheap and about right, not exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

_BYTES_PER_TOKEN = 4.0
"""English under BPE vocabularies: https://help.openai.com/en/articles/4936856"""
_BYTES_RANGE = (0.5, 64.0)
_FIRST_COMPLETION = 256.0
_COMPLETION_RANGE = (16, 4096)
"""What may be taken for a completion whose request sets no bound."""
_PRIOR_BYTES = 2000.0
"""Weight of the first guess: about two short requests."""
_SHARE = 0.05
"""Of the newest request in what was learned: about the last twenty count."""
_MOST_TOKENS = 10_000_000
_MOST_CHOICES = 128
_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""The first that is there counts, as in vLLM."""
_whole = msgspec.json.Decoder(int)


def weigh(body: bytes) -> int:
    """A body's weight in bytes of ASCII: what a character takes beyond one byte counts twice.

    Scripts outside ASCII take more tokens for a character, not as many more as UTF-8 takes bytes:
    with four bytes a token, "ü" weighs ¾ of a token and "漢" 1¼. Raises UnicodeDecodeError.
    """
    return len(body) if body.isascii() else 2 * len(body) - len(body.decode())


@dataclass(slots=True)
class _Habit:
    """What one tenant's requests took: moving means."""

    bytes: float = _PRIOR_BYTES
    tokens: float = _PRIOR_BYTES / _BYTES_PER_TOKEN
    completion: float = _FIRST_COMPLETION


@dataclass(slots=True)
class Estimator:
    """Grows by one small record for each tenant that was served."""

    _habits: dict[str, _Habit] = field(default_factory=dict)

    def estimate(
        self, tenant: str, body_bytes: int, fields: Mapping[str, msgspec.Raw]
    ) -> tuple[int, int]:
        """(prompt, completion) tokens for a body of this weight (`weigh`), each at least 1.

        A bound or an `n` that is not a number is the engine's to refuse, and counts as absent.
        """
        habit = self._habits.get(tenant, _NEW)
        low, high = _BYTES_RANGE
        per_token = min(high, max(low, habit.bytes / habit.tokens))
        prompt = min(_MOST_TOKENS, int(body_bytes / per_token) + 1)
        completion = 0
        for name in _BOUNDS:
            if name in fields and (completion := _number(fields[name])) > 0:
                break
        else:
            least, most = _COMPLETION_RANGE
            completion = min(most, max(least, int(habit.completion)))
        if "n" in fields:
            completion *= min(_MOST_CHOICES, max(1, _number(fields["n"])))
        return prompt, min(_MOST_TOKENS, completion)

    def learn(
        self, tenant: str, body_bytes: int, prompt_tokens: int, completion_tokens: int
    ) -> None:
        """What a request of this weight took. One whose tokens nobody counted teaches nothing."""
        if prompt_tokens <= 0 or body_bytes <= 0:
            return
        habit = self._habits.get(tenant)
        if habit is None:
            habit = self._habits[tenant] = _Habit()
        habit.bytes += _SHARE * (body_bytes - habit.bytes)
        habit.tokens += _SHARE * (prompt_tokens - habit.tokens)
        if completion_tokens > 0:
            habit.completion += _SHARE * (completion_tokens - habit.completion)


_NEW = _Habit()


def _number(raw: msgspec.Raw) -> int:
    try:
        return _whole.decode(raw)
    except msgspec.MsgspecError:
        return 0
