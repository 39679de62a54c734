"""Versions: which state may follow which, and how a person finds one."""

from __future__ import annotations

import pytest

from registry import Registry
from registry.errors import AlreadyExists, InvalidTransition, NotFound
from registry.versions import TRANSITIONS
from tests.registry.making import digest_of, make_adapter, make_version

PATHS = {
    "candidate": (),
    "shadow": ("shadow",),
    "canary": ("canary",),
    "live": ("live",),
    "retired": ("live", "retired"),
    "rejected": ("rejected",),
    "held": ("held",),
}
"""How a candidate gets to each state."""


@pytest.mark.parametrize("wanted", TRANSITIONS)
@pytest.mark.parametrize("state", TRANSITIONS)
def test_a_version_moves_only_along_the_drawn_lines(
    registry: Registry, state: str, wanted: str
) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    for step in PATHS[state]:
        registry.versions.move(version.digest, step)
    before = registry.revision()
    if wanted in TRANSITIONS[state]:
        assert registry.versions.move(version.digest, wanted).state == wanted
        assert registry.revision() == before + 1
    else:
        with pytest.raises(
            InvalidTransition, match=f"is '{state}' and can't become '{wanted}'"
        ) as error:
            registry.versions.move(version.digest, wanted)
        assert version.served_name in str(error.value)
        assert registry.versions.get(version.digest).state == state
        assert registry.revision() == before


def test_a_rejected_version_never_goes_straight_to_traffic() -> None:
    assert TRANSITIONS["rejected"] == {"candidate"}
    assert all(states <= TRANSITIONS.keys() for states in TRANSITIONS.values())


def test_publishing_the_same_content_again_returns_the_version_there_is(
    registry: Registry,
) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    registry.versions.move(version.digest, "live")
    before = registry.revision()
    assert make_version(registry, 1).state == "live"
    assert registry.revision() == before
    assert len(registry.versions.all("acme")) == 1


def test_content_that_another_adapter_owns_is_refused(registry: Registry) -> None:
    make_adapter(registry)
    make_adapter(registry, "lex", "clauses")
    make_version(registry, 1)
    with pytest.raises(AlreadyExists):
        make_version(registry, 1, "lex", "clauses")


def test_reasons_are_added_to_what_is_known(registry: Registry) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    registry.versions.move(version.digest, "rejected", {"summary": "parity", "parity": 0.4})
    forced = registry.versions.force(version.digest, "ada")
    assert (forced.state, forced.verdict) == ("candidate", "promote")
    assert forced.reasons == {"summary": "parity", "parity": 0.4, "requested_by": "ada"}
    registry.versions.certify(version.digest, {"parity": 0.01})
    assert registry.versions.get(version.digest).certificate == {"parity": 0.01}


def test_a_live_version_can_not_be_forced_because_it_is_live(registry: Registry) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    registry.versions.move(version.digest, "live")
    with pytest.raises(InvalidTransition):
        registry.versions.force(version.digest, "ada")


def test_a_version_is_found_by_served_name_digest_or_prefix(registry: Registry) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    for name in (
        version.digest,
        version.digest[:6],
        version.short,
        version.served_name,
        f"tickets@{version.digest[:8]}",
    ):
        assert registry.versions.find("acme", name).digest == version.digest


def test_a_version_is_not_found_by_anything_else(registry: Registry) -> None:
    make_adapter(registry)
    make_adapter(registry, "lex", "clauses")
    version = make_version(registry, 1)
    other = make_version(registry, 2, "lex", "clauses")
    for name in (
        "",
        "tickets",
        version.digest[:5],
        "%",
        "______",
        "tickets@",
        f"wrong@{version.short}",
        f"{version.digest[:12]}g",
        other.served_name,
        other.digest,
    ):
        with pytest.raises(NotFound):
            registry.versions.find("acme", name)


def test_an_unknown_version_is_named_in_the_error(registry: Registry) -> None:
    unknown = digest_of("unknown")
    for act in (
        lambda: registry.versions.get(unknown),
        lambda: registry.versions.move(unknown, "live"),
        lambda: registry.versions.force(unknown, "ada"),
        lambda: registry.versions.certify(unknown, {}),
    ):
        with pytest.raises(NotFound, match=f"version '{unknown[:12]}' does not exist"):
            act()


def test_versions_are_listed_oldest_first_and_by_state(registry: Registry) -> None:
    make_adapter(registry)
    made = [make_version(registry, seed).digest for seed in range(4)]
    assert [v.digest for v in registry.versions.all("acme", "tickets")] == made
    registry.versions.move(made[2], "live")
    assert [v.digest for v in registry.versions.all(state="live")] == [made[2]]
    assert registry.versions.all("lex") == []
