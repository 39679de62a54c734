"""Aliases: swap, rollback and retirement, each in one step that nobody sees half of."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from registry import Registry
from registry.errors import (
    AlreadyExists,
    InvalidTransition,
    InvalidValue,
    NotFound,
    NothingBefore,
    NotServable,
)
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fallback", None),
        ("sticky", "ip"),
        ("sticky", ["user"]),
        ("wait_ms", -1),
        ("wait_ms", 0.5),
        ("wait_ms", 2**40),
        ("canary_weight", 1.01),
        ("canary_weight", -0.01),
        ("canary_weight", float("nan")),
        ("shadow_share", "1"),
        ("shadow_share", True),
    ],
)
def test_a_field_out_of_its_range_is_named_and_changes_nothing(
    registry: Registry, field: str, value: object
) -> None:
    make_adapter(registry)
    before = registry.revision()
    with pytest.raises(InvalidValue, match=f"^{field} .*: expected ") as error:
        registry.aliases.update("acme", "tickets", **{field: value})
    assert error.value.field == field
    with pytest.raises(InvalidValue):
        registry.aliases.create("acme", "beta", "tickets", **{field: value})
    assert registry.revision() == before


def test_an_alias_is_created_once_with_its_fields(registry: Registry) -> None:
    make_adapter(registry)
    made = registry.aliases.create("acme", "beta", "tickets", fallback="fail", sticky="user")
    assert (made.fallback, made.sticky, made.wait_ms) == ("fail", "user", 2000)
    assert made.updated_at > 0
    with pytest.raises(AlreadyExists, match="alias 'acme/beta'"):
        registry.aliases.create("acme", "beta", "tickets")
    with pytest.raises(NotFound, match="adapter 'acme/other'"):
        registry.aliases.create("acme", "gamma", "other")


def test_a_canary_has_passed_its_gate_or_an_engine_s_check(registry: Registry) -> None:
    make_adapter(registry)
    version = registry.versions.publish(
        "acme", "tickets", digest_of(7), manifest={}, evaluation={}, verdict="insufficient"
    )
    with pytest.raises(NotServable, match="verdict is 'insufficient', and no engine"):
        registry.aliases.update("acme", "tickets", canary=version.digest)
    registry.aliases.update("acme", "tickets", shadow=version.digest, shadow_share=0.5)
    registry.versions.certify(version.digest, {"parity": 0.01})
    registry.aliases.update("acme", "tickets", canary=version.digest, canary_weight=0.5)
    registry.aliases.update("acme", "tickets", shadow=None)
    alias = registry.aliases.get("acme", "tickets")
    assert (alias.canary, alias.canary_weight) == (version.digest, 0.5)
    assert (alias.shadow, alias.shadow_share) == (None, 0.0)


def test_neither_canary_nor_shadow_is_rejected_or_somebody_elses(registry: Registry) -> None:
    make_adapter(registry)
    make_adapter(registry, "lex", "clauses")
    foreign = make_version(registry, 1, "lex", "clauses")
    bad = make_version(registry, 2)
    registry.versions.move(bad.digest, "rejected")
    for place in ("canary", "shadow"):
        with pytest.raises(NotServable, match=f"can't be the {place}: it was rejected"):
            registry.aliases.update("acme", "tickets", **{place: bad.digest})
        for digest in (foreign.digest, digest_of("nothing"), "\0", ""):
            with pytest.raises(NotFound, match="version"):
                registry.aliases.update("acme", "tickets", **{place: digest})


def test_a_rollback_goes_to_what_was_live_and_leaves_a_receipt(registry: Registry) -> None:
    make_adapter(registry)
    with pytest.raises(NothingBefore, match="alias acme/tickets has no version before"):
        registry.roll_back("acme", "tickets", "somebody")
    old, new = make_version(registry, 1), make_version(registry, 2)
    with pytest.raises(NotServable, match="can't be rolled back to: it was never live"):
        registry.roll_back("acme", "tickets", "somebody", old.digest)
    for version in (old, new):
        registry.versions.certify(version.digest, {"parity": 0.01})
        registry.aliases.flip("acme", "tickets", version.digest)
    went = registry.roll_back("acme", "tickets", "somebody")
    assert (went["from"], went["to"]) == (new.digest, old.digest)
    assert registry.aliases.get("acme", "tickets").live == old.digest
    [receipt] = registry.decisions.all(kind="rollback")
    assert (receipt.by, receipt.digest) == ("somebody", old.digest)
    with pytest.raises(NotFound, match="alias 'acme/nothing'"):
        registry.roll_back("acme", "nothing", "somebody")
