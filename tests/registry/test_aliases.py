"""Aliases: swap, rollback and retirement, each in one step that nobody sees half of."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry import Registry
from registry.errors import InvalidTransition, NotFound
from tests.registry.making import digest_of, make_adapter, make_version


def test_a_tenants_first_alias_is_its_default_and_stays_it(registry: Registry) -> None:
    make_adapter(registry)
    registry.aliases.ensure("acme", "beta", "tickets")
    assert registry.tenants.get("acme").default_alias == "tickets"
    assert [a.name for a in registry.aliases.of_adapter("acme", "tickets")] == ["beta", "tickets"]


def test_a_flip_makes_one_version_live_and_remembers_the_one_before(registry: Registry) -> None:
    make_adapter(registry)
    old, new = make_version(registry, 1), make_version(registry, 2)
    registry.aliases.flip("acme", "tickets", old.digest)
    alias = registry.aliases.flip("acme", "tickets", new.digest)
    assert (alias.live, alias.previous) == (new.digest, old.digest)
    states = {v.digest: v.state for v in registry.versions.all()}
    assert states == {old.digest: "live", new.digest: "live"}, "the old one drains first"


def test_a_flip_to_what_is_live_already_forgets_nothing(registry: Registry) -> None:
    make_adapter(registry)
    old, new = make_version(registry, 1), make_version(registry, 2)
    for digest in (old.digest, new.digest, new.digest):
        alias = registry.aliases.flip("acme", "tickets", digest)
    assert (alias.live, alias.previous) == (new.digest, old.digest)


def test_a_rollback_is_a_flip_to_the_version_before_even_if_it_was_retired(
    registry: Registry,
) -> None:
    make_adapter(registry)
    old, new = make_version(registry, 1), make_version(registry, 2)
    registry.aliases.flip("acme", "tickets", old.digest)
    registry.aliases.flip("acme", "tickets", new.digest)
    assert registry.aliases.retire(old.digest)
    alias = registry.aliases.flip("acme", "tickets", old.digest)
    assert (alias.live, alias.previous) == (old.digest, new.digest)
    assert registry.versions.get(old.digest).state == "live"


def test_a_version_retires_only_when_no_alias_points_at_it(registry: Registry) -> None:
    make_adapter(registry)
    registry.aliases.ensure("acme", "beta", "tickets")
    old, new = make_version(registry, 1), make_version(registry, 2)
    for name in ("tickets", "beta"):
        registry.aliases.flip("acme", name, old.digest)
    registry.aliases.flip("acme", "tickets", new.digest)
    assert not registry.aliases.retire(old.digest), "beta still points at it"
    registry.aliases.flip("acme", "beta", new.digest)
    assert registry.aliases.retire(old.digest)
    assert not registry.aliases.retire(old.digest), "it is retired already"
    assert not registry.aliases.retire(digest_of("unknown"))


def test_a_flip_to_a_rejected_version_changes_nothing(registry: Registry) -> None:
    make_adapter(registry)
    old, bad = make_version(registry, 1), make_version(registry, 2)
    registry.aliases.flip("acme", "tickets", old.digest)
    registry.versions.move(bad.digest, "rejected")
    before = registry.revision()
    with pytest.raises(InvalidTransition, match="is 'rejected' and can't become 'live'"):
        registry.aliases.flip("acme", "tickets", bad.digest)
    alias = registry.aliases.get("acme", "tickets")
    assert (alias.live, alias.previous) == (old.digest, None)
    assert registry.revision() == before


def test_a_flip_to_another_tenants_version_finds_nothing(registry: Registry) -> None:
    make_adapter(registry)
    make_adapter(registry, "lex", "clauses")
    foreign = make_version(registry, 1, "lex", "clauses")
    with pytest.raises(NotFound, match="version"):
        registry.aliases.flip("acme", "tickets", foreign.digest)
    with pytest.raises(NotFound, match="alias 'acme/nothing'"):
        registry.aliases.flip("acme", "nothing", foreign.digest)
    assert registry.aliases.get("acme", "tickets").live is None
    assert registry.versions.get(foreign.digest).state == "candidate"


def test_a_flip_ends_the_canary(registry: Registry) -> None:
    make_adapter(registry)
    old, new = make_version(registry, 1), make_version(registry, 2)
    registry.aliases.flip("acme", "tickets", old.digest)
    registry.aliases.update("acme", "tickets", canary=new.digest, canary_weight=0.1)
    alias = registry.aliases.flip("acme", "tickets", new.digest)
    assert (alias.canary, alias.canary_weight) == (None, 0.0)


def test_an_update_names_the_fields_that_there_are_not(registry: Registry) -> None:
    make_adapter(registry)
    changed = registry.aliases.update("acme", "tickets", fallback="fail", wait_ms=10)
    assert (changed.fallback, changed.wait_ms) == ("fail", 10)
    with pytest.raises(TypeError, match="an alias has no field live"):
        registry.aliases.update("acme", "tickets", live="0" * 64)
    with pytest.raises(ValueError, match="fallback 'hope': expected one of fail, wait"):
        registry.aliases.ensure("acme", "beta", "tickets", fallback="hope")
    with pytest.raises(ValueError, match="fallback 'hope': expected one of fail, wait"):
        registry.aliases.update("acme", "tickets", fallback="hope")


def test_a_reader_never_sees_half_of_a_flip(registry: Registry) -> None:
    """While aliases flip to and fro, what each snapshot calls live is live in it."""
    make_adapter(registry)
    digests = [make_version(registry, seed).digest for seed in range(3)]
    registry.aliases.flip("acme", "tickets", digests[0])
    done = threading.Event()

    def flip_and_retire() -> None:
        try:
            for turn in range(1, 25):
                registry.aliases.flip("acme", "tickets", digests[turn % 3])
                registry.aliases.retire(digests[(turn - 1) % 3])
        finally:
            done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(flip_and_retire)
        seen = 0
        while not done.is_set() or seen == 0:
            snapshot = registry.snapshot()
            alias = snapshot.aliases["acme", "tickets"]
            assert alias.live is not None
            assert snapshot.versions[alias.live].state == "live"
            seen += 1
        writing.result()


def test_flips_and_retirements_at_once_never_leave_an_alias_on_a_retired_version(
    registry: Registry,
) -> None:
    make_adapter(registry)
    digests = [make_version(registry, seed).digest for seed in range(2)]

    def flip(turn: int) -> None:
        registry.aliases.flip("acme", "tickets", digests[turn % 2])

    def retire(turn: int) -> None:
        registry.aliases.retire(digests[turn % 2])

    with ThreadPoolExecutor(4) as pool:
        for work in [pool.submit(act, n) for n in range(30) for act in (flip, retire)]:
            work.result()
    alias = registry.aliases.get("acme", "tickets")
    assert alias.live is not None
    assert registry.versions.get(alias.live).state == "live"
