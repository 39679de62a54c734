"""What is there of every adapter: the newest numbers, receipts, versions, corrections, gains."""

from __future__ import annotations

from typing import Any

from registry import Registry
from registry.exchanges import Exchange
from tests.registry.making import digest_of, make_adapter, make_version


def _serve(registry: Registry, tenant: str, name: str, **fields: Any) -> None:
    values = {"adapter": "tickets", "served": "adapter", "status": 200, "latency_ms": 5.0}
    registry.exchanges.add([Exchange(id=name, tenant=tenant, **{**values, **fields})])


def test_what_came_since_a_number_is_told_by_whose_it_is(registry: Registry) -> None:
    for tenant in ("acme", "lex"):
        make_adapter(registry, tenant)
    _serve(registry, "acme", "a")
    _serve(registry, "lex", "b")
    _serve(registry, "acme", "c")
    whole = registry.news.exchanges(0)
    assert whole == {"acme": registry.exchanges.last_number(), "lex": whole["acme"] - 1}
    assert registry.news.exchanges(whole["lex"]) == {"acme": whole["acme"]}
    word = registry.exchanges.give_feedback("lex", "b", rating=1.0)
    assert registry.news.words(0) == {("lex", "tickets"): word.number}
    assert registry.news.words(word.number) == {}


def test_corrections_that_wait_are_counted_as_they_would_be_read(registry: Registry) -> None:
    make_adapter(registry)
    for name in ("plain", "used", "control", "unasked", "rated"):
        _serve(registry, "acme", name, role="control" if name == "control" else "live")
        prompt = None if name == "unasked" else {"messages": [{"role": "user", "content": "?"}]}
        said = None if name == "rated" else "billing"
        registry.exchanges.give_feedback("acme", name, rating=0.5, correction=said, messages=prompt)
    rows = registry.corrections.of("acme", "tickets")
    registry.corrections.mark_used([row.id for row in rows if row.exchange_id == "used"], "job")
    assert len(registry.corrections.of("acme", "tickets")) == 1
    assert registry.news.corrections() == {("acme", "tickets"): 1}
    assert registry.corrections.count("acme", "tickets") == 1
    assert registry.corrections.count("acme", "tickets", rows[-1].created_at + 1) == 0
    assert registry.corrections.answers("acme", "tickets") == [], "no answer of theirs is kept"
    _serve(registry, "acme", "kept", answer="refund")
    prompt = {"messages": [{"role": "user", "content": "?"}]}
    registry.exchanges.give_feedback("acme", "kept", correction="billing", messages=prompt)
    assert registry.corrections.answers("acme", "tickets") == [("refund", "billing")]


def test_versions_are_told_with_what_their_canary_prompts_said(registry: Registry) -> None:
    make_adapter(registry)
    one, other = make_version(registry, 1), make_version(registry, 2)
    registry.versions.certify(other.digest, {"passed": True, "again": {"passed": False}})
    told = {v.digest: v for v in registry.news.versions()}
    assert set(told) == {digest_of(1), digest_of(2)}
    assert told[one.digest].again is None
    assert told[other.digest].again == {"passed": False}
    assert (told[one.digest].state, told[one.digest].verdict) == ("candidate", "promote")


def test_receipts_that_are_open_and_gains_that_are_known(registry: Registry) -> None:
    make_adapter(registry)
    record = registry.decisions.record
    first = record("acme", "tickets", "retrain", "drift", expected={"gain_at_most": 0.5}, at=1.0)
    second = record("acme", "tickets", "retrain", "drift", expected={"compared": 0}, at=2.0)
    record("acme", "tickets", "hold", "cooldown", at=3.0)
    assert {row.id for row in registry.news.unscored()} == {first.id, second.id}
    registry.decisions.realise(first.id, {"outcome": "promoted", "gain": 0.25})
    registry.decisions.realise(second.id, {"outcome": "job-failed"})
    assert registry.news.unscored() == []
    assert [(g.expected, g.realised) for g in registry.news.gains()] == [(0.5, 0.25)]
    assert registry.news.receipts() == {
        ("acme", "tickets", "retrain"): (2, 2.0),
        ("acme", "tickets", "hold"): (1, 3.0),
    }
