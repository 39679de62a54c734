"""Snapshots: one moment, all that routing needs, and a revision that moves when it must."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select

from registry import Registry
from registry.database import Revision, bump
from registry.errors import NotFound
from registry.tenants import Tenant, hash_key
from tests.registry.making import digest_of, make_adapter, make_exchange, make_job, make_version


@pytest.fixture
def platform(registry: Registry) -> Registry:
    """A tenant with two versions, a key, an engine, a job, an exchange and a file."""
    make_adapter(registry)
    for seed in (1, 2):
        make_version(registry, seed)
    registry.tenants.create_key("acme")
    registry.engines.register(
        "engine-1", "http://10.0.0.1:8100/", "tiny", max_loras=4, max_lora_rank=16
    )
    registry.engines.heartbeat("engine-1", "ready")
    make_job(registry)
    registry.exchanges.add([make_exchange(1)])
    return registry


ROUTING_CHANGES: dict[str, Callable[[Registry], object]] = {
    "a tenant is made": lambda r: r.tenants.create("lex"),
    "a limit is set": lambda r: r.tenants.update("acme", requests_per_minute=1),
    "a tenant is deleted": lambda r: r.tenants.delete("acme"),
    "a key is made": lambda r: r.tenants.create_key("acme"),
    "a key is revoked": lambda r: r.tenants.revoke_key(r.tenants.keys()[0].id),
    "an adapter is made": lambda r: r.adapters.create("acme", "other", "tiny"),
    "an alias is made": lambda r: r.aliases.ensure("acme", "beta", "tickets"),
    "an alias is flipped": lambda r: r.aliases.flip("acme", "tickets", digest_of(1)),
    "an alias's policy is set": lambda r: r.aliases.update("acme", "tickets", fallback="fail"),
    "a version is published": lambda r: make_version(r, 3),
    "a version is rejected": lambda r: r.versions.move(digest_of(1), "rejected"),
    "a version is forced": lambda r: r.versions.force(digest_of(1), "ada"),
    "an engine begins": lambda r: r.engines.register(
        "e", "http://e", "t", max_loras=1, max_lora_rank=8
    ),
    "an engine's state changes": lambda r: r.engines.heartbeat("engine-1", "draining"),
    "words have a meaning": lambda r: r.engines.set_meaning("tiny", digest_of(7)),
    "an engine is removed": lambda r: r.engines.remove("engine-1"),
    "a version is placed": lambda r: r.engines.place("engine-1", digest_of(1), "warm"),
    "a certificate": lambda r: r.versions.certify(digest_of(1), {"parity": 0.01}),
}

OTHER_CHANGES: dict[str, Callable[[Registry], object]] = {
    "a heartbeat": lambda r: r.engines.heartbeat("engine-1", "ready"),
    "a job is enqueued": lambda r: make_job(r),
    "a job is taken": lambda r: r.jobs.lease("worker-1"),
    "an exchange": lambda r: r.exchanges.add([make_exchange(2)]),
    "feedback": lambda r: r.exchanges.give_feedback("acme", "chatcmpl-acme-1", rating=1.0),
    "a decision": lambda r: r.decisions.record("acme", "tickets", "hold", "rule"),
    "a file": lambda r: r.upload("acme", "data.jsonl", b"{}"),
    "an alias that is there": lambda r: r.aliases.ensure("acme", "tickets", "tickets"),
    "content that is there": lambda r: make_version(r, 1),
    "a look": lambda r: r.snapshot(),
}


@pytest.mark.parametrize("change", ROUTING_CHANGES)
def test_the_revision_moves_when(platform: Registry, change: str) -> None:
    before = platform.revision()
    ROUTING_CHANGES[change](platform)
    assert platform.revision() == before + 1


@pytest.mark.parametrize("change", OTHER_CHANGES)
def test_the_revision_stays_at(platform: Registry, change: str) -> None:
    before = platform.revision()
    OTHER_CHANGES[change](platform)
    assert platform.revision() == before


def test_an_empty_registry_has_an_empty_snapshot(registry: Registry) -> None:
    snapshot = registry.snapshot()
    assert (snapshot.revision, snapshot.engines, snapshot.tenants) == (0, (), {})
    assert snapshot.taken_at > 0


def test_a_snapshot_holds_what_routing_needs(platform: Registry) -> None:
    key = platform.tenants.create_key("acme")
    platform.aliases.flip("acme", "tickets", digest_of(1))
    platform.engines.place("engine-1", digest_of(1), "warm", load_ms=12.0)
    snapshot = platform.snapshot()
    assert snapshot.revision == platform.revision()
    assert snapshot.keys[hash_key(key.secret)].tenant == "acme"
    assert snapshot.tenants["acme"].default_alias == "tickets"
    version = snapshot.versions[digest_of(1)]
    assert snapshot.aliases["acme", "tickets"].live == version.digest
    assert snapshot.served[version.served_name] is version
    assert [(e.id, e.url) for e in snapshot.engines] == [("engine-1", "http://10.0.0.1:8100")]
    assert snapshot.placements["engine-1", version.digest].state == "warm"


def test_a_rejected_version_is_in_no_snapshot(platform: Registry) -> None:
    platform.versions.move(digest_of(1), "rejected")
    snapshot = platform.snapshot()
    assert snapshot.versions.keys() == {digest_of(2)}
    assert len(snapshot.served) == 1


def test_a_snapshot_can_be_read_when_the_registry_is_closed(platform: Registry) -> None:
    snapshot = platform.snapshot()
    platform.close()
    assert snapshot.tenants["acme"].cache_salt
    assert snapshot.versions[digest_of(1)].manifest["rank"] == 8


def test_a_read_sees_one_moment_whatever_is_committed_meanwhile(registry: Registry) -> None:
    registry.tenants.create("acme")
    with registry.database.read() as session:
        first = session.scalar(select(Revision.value))
        elsewhere = threading.Thread(target=registry.tenants.create, args=("lex",))
        elsewhere.start()
        elsewhere.join()
        assert session.scalar(select(Revision.value)) == first
        assert [*session.scalars(select(Tenant.name))] == ["acme"]
    assert registry.revision() == 2


def test_a_change_that_fails_leaves_the_revision_alone(registry: Registry) -> None:
    before = registry.revision()
    with pytest.raises(ZeroDivisionError), registry.database.write() as session:
        session.add(Tenant(name="acme"))
        bump(session)
        session.flush()
        raise ZeroDivisionError
    assert registry.revision() == before
    assert registry.tenants.all() == []


def test_an_engine_that_starts_again_has_nothing_placed_in_it(platform: Registry) -> None:
    platform.engines.place("engine-1", digest_of(1), "warm")
    platform.engines.place("engine-1", digest_of(2), "failed", reason="rank 64 is above 16")
    assert len(platform.engines.placements()) == 2
    [failed] = platform.engines.placements(digest_of(2))
    assert failed.reason == "rank 64 is above 16"
    engine = platform.engines.register(
        "engine-1", "http://10.0.0.2:8100", "tiny", max_loras=4, max_lora_rank=16
    )
    assert (engine.state, engine.url) == ("starting", "http://10.0.0.2:8100")
    assert platform.engines.placements() == []


def test_what_a_bases_words_mean_holds_for_its_engines_until_they_serve_another(
    platform: Registry,
) -> None:
    def register(name: str, base: str) -> None:
        platform.engines.register(name, "http://e", base, max_loras=1, max_lora_rank=8)

    register("engine-2", "tiny")
    register("engine-3", "large")
    platform.engines.set_meaning("tiny", digest_of(7))
    assert [e.meaning for e in platform.engines.all()] == [digest_of(7), digest_of(7), None]
    register("engine-1", "tiny")
    platform.engines.heartbeat("engine-1", "ready")
    assert platform.snapshot().engines[0].meaning == digest_of(7)
    register("engine-1", "large")
    assert platform.engines.get("engine-1").meaning is None
    assert platform.engines.meaning("tiny") == digest_of(7), "engine-2 says so"
    assert platform.engines.meaning("large") is None


def test_an_engine_that_is_down_has_nothing_placed_in_it(platform: Registry) -> None:
    platform.engines.place("engine-1", digest_of(1), "warm")
    platform.engines.heartbeat("engine-1", "down")
    assert platform.engines.placements() == []
    assert platform.engines.ready() == []


def test_an_engine_is_ready_only_while_it_says_so(platform: Registry) -> None:
    assert [e.id for e in platform.engines.ready()] == ["engine-1"]
    assert platform.engines.ready(max_age_s=-1.0) == [], "it spoke too long ago"
    platform.engines.heartbeat("engine-1", "draining")
    assert platform.engines.ready() == []


def test_an_unknown_engine_or_state_is_named(platform: Registry) -> None:
    with pytest.raises(NotFound, match="engine 'engine-9' does not exist"):
        platform.engines.heartbeat("engine-9", "ready")
    with pytest.raises(NotFound, match="engine 'engine-9' does not exist"):
        platform.engines.place("engine-9", digest_of(1), "warm")
    with pytest.raises(ValueError, match="engine state 'happy': expected one of starting, ready"):
        platform.engines.heartbeat("engine-1", "happy")
