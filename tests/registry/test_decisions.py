"""Receipts for decisions, detectors that go on where they stood, and tenants' files."""

from __future__ import annotations

import pytest

from registry import Registry
from registry.decisions import DriftState
from registry.errors import ContentCorrupted, NotFound
from registry.store import Store
from tests.registry.making import digest_of


@pytest.fixture
def tenants(registry: Registry) -> Registry:
    """A registry with two tenants."""
    registry.tenants.create("acme")
    registry.tenants.create("lex")
    return registry


def test_a_receipt_keeps_what_was_known_and_expected(tenants: Registry) -> None:
    kept = tenants.decisions.record(
        "acme",
        "tickets",
        "retrain",
        "drift-sustained",
        by="controller",
        digest=digest_of(1),
        job_id="ftjob-1",
        evidence={"statistic": 0.31, "threshold": 0.12, "corrections": 40},
        expected={"gain": 0.3},
    )
    [found] = tenants.decisions.all("acme", "tickets", "retrain")
    assert found.id == kept.id
    assert found.evidence == {"statistic": 0.31, "threshold": 0.12, "corrections": 40}
    assert (found.expected, found.realised) == ({"gain": 0.3}, None)


def test_a_decision_is_scored_when_what_happened_is_known(tenants: Registry) -> None:
    decision = tenants.decisions.record("acme", "tickets", "promote", "gate")
    tenants.decisions.realise(decision.id, {"gain": 0.28})
    assert tenants.decisions.all()[0].realised == {"gain": 0.28}
    with pytest.raises(NotFound, match="decision 'dec-nothing'"):
        tenants.decisions.realise("dec-nothing", {})


def test_decisions_are_listed_newest_first_and_by_kind(tenants: Registry) -> None:
    for kind in ("watch", "retrain", "promote"):
        tenants.decisions.record("acme", "tickets", kind, "rule")
    tenants.decisions.record("lex", "clauses", "watch", "rule")
    assert [d.kind for d in tenants.decisions.all("acme")] == ["promote", "retrain", "watch"]
    assert [d.tenant for d in tenants.decisions.all(kind="watch")] == ["lex", "acme"]
    assert tenants.decisions.all("acme", "other") == []


def test_a_detector_goes_on_where_it_stood(tenants: Registry) -> None:
    assert tenants.decisions.drift_state("acme", "tickets") is None
    for cursor in (10, 20):
        tenants.decisions.save_drift_state(
            DriftState(
                tenant="acme",
                adapter="tickets",
                epoch=1,
                cursor=cursor,
                state={"statistic": 0.2},
                arrays=bytes(range(256)),
            )
        )
    found = tenants.decisions.drift_state("acme", "tickets")
    assert found is not None
    assert (found.epoch, found.cursor, found.state) == (1, 20, {"statistic": 0.2})
    assert found.arrays == bytes(range(256))
    assert len(tenants.decisions.drift_states()) == 1


def test_a_file_comes_back_as_it_was_and_only_to_its_tenant(tenants: Registry) -> None:
    data = b'{"messages": []}\n\x00\xff'
    file_id = tenants.upload("acme", "../../etc/passwd", data)
    assert tenants.content("acme", file_id) == data
    file = tenants.files.get("acme", file_id)
    assert (file.bytes, file.filename, file.purpose) == (len(data), "../../etc/passwd", "fine-tune")
    with pytest.raises(NotFound, match="file"):
        tenants.content("lex", file_id)
    with pytest.raises(NotFound, match="file"):
        tenants.files.delete("lex", file_id)


def test_files_are_listed_newest_first(tenants: Registry) -> None:
    ids = [tenants.upload("acme", f"{n}.jsonl", b"%d" % n) for n in range(3)]
    assert [file.id for file in tenants.files.all("acme")] == ids[::-1]
    assert tenants.files.all("lex") == []


def test_a_deleted_file_leaves_the_same_bytes_of_others_alone(tenants: Registry) -> None:
    mine = tenants.upload("acme", "a.jsonl", b"same")
    theirs = tenants.upload("lex", "b.jsonl", b"same")
    tenants.files.delete("acme", mine)
    with pytest.raises(NotFound):
        tenants.content("acme", mine)
    assert tenants.content("lex", theirs) == b"same"


def test_a_file_whose_bytes_changed_is_not_handed_out(tenants: Registry, store_url: str) -> None:
    file_id = tenants.upload("acme", "a.jsonl", b"same")
    digest = tenants.files.get("acme", file_id).digest
    store: Store = tenants.store
    store._fs.pipe_file(f"{store._root}/blobs/{digest}", b"other")
    with pytest.raises(ContentCorrupted, match=f"blobs/{digest[:12]}… is corrupted"):
        tenants.content("acme", file_id)
