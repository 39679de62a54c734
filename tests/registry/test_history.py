"""Figures of what was served and said: what is counted, and whose it is."""

from __future__ import annotations

from typing import Any

from registry import Registry
from registry.exchanges import Exchange


def _serve(registry: Registry, tenant: str, name: str, at: float = 100.0, **fields: Any) -> None:
    values = {"adapter": "support", "served": "adapter", "status": 200, "latency_ms": 5.0}
    values |= {"prompt_tokens": 3, "completion_tokens": 2, **fields}
    registry.exchanges.add([Exchange(id=name, tenant=tenant, created_at=at, **values)])


def test_requests_are_told_oldest_first_without_copies_for_a_shadow(registry: Registry) -> None:
    for tenant in ("acme", "lex"):
        registry.tenants.create(tenant)
    _serve(registry, "acme", "a", at=100.0, digest="d" * 64, ttft_ms=1.5)
    _serve(registry, "acme", "b", at=101.0, fallback="deadline", served="base")
    _serve(registry, "acme", "copy", at=101.0, role="shadow", shadow_of="b")
    _serve(registry, "lex", "c", at=102.0, status=503)
    _serve(registry, "acme", "old", at=1.0)
    found = registry.history.requests(50.0)
    assert [(past.at, past.tenant, past.status) for past in found] == [
        (100.0, "acme", 200), (101.0, "acme", 200), (102.0, "lex", 503),
    ]  # fmt: skip
    assert (found[0].digest, found[0].ttft_ms, found[0].prompt_tokens) == ("d" * 64, 1.5, 3)
    assert found[1].fallback == "deadline"
    assert [past.at for past in registry.history.requests(50.0, "lex")] == [102.0]
    assert [past.at for past in registry.history.requests(50.0, limit=2)] == [101.0, 102.0]


def test_a_correction_without_a_rating_says_that_the_answer_was_not_good(
    registry: Registry,
) -> None:
    registry.tenants.create("acme")
    for name in ("good", "bad", "corrected", "labelled"):
        _serve(registry, "acme", name)
    give = registry.exchanges.give_feedback
    give("acme", "good", rating=1.0)
    give("acme", "bad", rating=-1.0)
    give("acme", "corrected", correction="smart-home")
    give("acme", "labelled", label="billing")
    assert [one.good for one in registry.history.judgements(0.0)] == [True, False, False]
    assert registry.history.judged(0.0) == {"acme": (1, 3)}
    assert registry.history.judged(1e12) == {}
    assert registry.history.judgements(0.0, "lex") == []


def test_what_people_say_of_a_control_is_no_judgement_of_the_adapter(registry: Registry) -> None:
    registry.tenants.create("acme")
    for name, role in (("own", "live"), ("control", "control"), ("copy", "shadow")):
        _serve(registry, "acme", name, role=role)
        registry.exchanges.give_feedback("acme", name, rating=1.0 if name == "own" else -1.0)
    assert registry.history.judged(0.0) == {"acme": (1, 1)}
    assert [one.good for one in registry.history.judgements(0.0)] == [True]


def test_receipts_are_counted_by_tenant_and_kind(registry: Registry) -> None:
    registry.tenants.create("acme")
    for kind in ("hold", "hold", "promote"):
        registry.decisions.record("acme", "support", kind, "rule")
    assert registry.decisions.counts() == {("acme", "hold"): 2, ("acme", "promote"): 1}
