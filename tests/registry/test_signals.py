"""What a version's answers were like: shares and means over those that have the figure."""

from __future__ import annotations

from typing import Any

import pytest

from registry import Registry
from registry.exchanges import Exchange
from registry.signals import Window
from tests.registry.making import digest_of, make_exchange


def exchange(number: int, **columns: Any) -> Exchange:
    """A served request with some of its columns."""
    row = make_exchange(number)
    for name, value in {"role": "live", **columns}.items():
        setattr(row, name, value)
    return row


def test_signals_are_summed_up_by_version_and_role_within_a_window(registry: Registry) -> None:
    registry.tenants.create("acme")
    registry.exchanges.add(
        [
            exchange(0, valid=False, refused=True, created_at=1.0),  # before the window
            exchange(1, valid=True, refused=False, repetition=0.0, answer_chars=10, cost=0.5),
            exchange(2, valid=False, refused=True, repetition=0.5, answer_chars=30, cost=0.25),
            exchange(3, valid=True, refused=False, finish_reason="length", mean_logprob=-0.5),
            exchange(4, prefill_ms=40.0, decode_ms=100.0, queue_ms=8.0, finish_reason="stop"),
            exchange(5, status=502, valid=False, refused=True, prefill_ms=9e9),
            exchange(6, digest=digest_of(2), role="shadow", valid=False, prompt_tokens=7),
            exchange(7, digest=None, served="base", role=""),
            exchange(8, adapter="letters", valid=False),
            exchange(9, valid=False, created_at=2000.0),  # behind it
        ]
    )
    live, base, shadow = registry.signals.windows("acme", "tickets", since=1000.0, until=2000.0)
    assert live == Window(
        digest=digest_of(1),
        role="live",
        requests=5,
        errors=1,
        cut=0.5,
        checked=3,
        valid=pytest.approx(2 / 3),
        read=3,
        refused=pytest.approx(1 / 3),
        repetition=0.25,
        answer_chars=20.0,
        told=1,
        mean_logprob=-0.5,
        streamed=1,
        prefill_ms=40.0,
        decode_ms=100.0,
        queue_ms=2.0,
        latency_ms=12.5,
        prompt_tokens=0,
        completion_tokens=0,
        cost=0.75,
    )
    assert (base.digest, base.requests, base.checked, base.valid) == (None, 1, 0, None)
    assert (base.cost, base.mean_logprob, base.cut) == (None, None, None)
    assert (shadow.digest, shadow.role, shadow.valid) == (digest_of(2), "shadow", 0.0)
    assert shadow.prompt_tokens == 7
    assert [w.requests for w in registry.signals.windows("acme", "tickets", since=0.0)] == [7, 1, 1]


def test_where_only_errors_were_there_is_nothing_to_say(registry: Registry) -> None:
    registry.tenants.create("acme")
    registry.exchanges.add([exchange(1, status=503)])
    [window] = registry.signals.windows("acme", "tickets", since=0.0)
    assert (window.requests, window.errors, window.latency_ms) == (1, 1, None)
    assert registry.signals.windows("acme", "nothing", since=0.0) == []
