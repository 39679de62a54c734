"""A person's no to a version on its way to traffic: state, traffic and receipt, all or nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from registry import Registry
from registry.errors import InvalidTransition, InvalidValue, NotServable
from tests.registry.making import make_adapter, make_version


def _live(registry: Registry) -> str:
    """The digest of what is live behind both aliases of acme/tickets."""
    make_adapter(registry)
    registry.aliases.ensure("acme", "beta", "tickets")
    live = make_version(registry, "live").digest
    for alias in ("tickets", "beta"):
        registry.aliases.flip("acme", alias, live)
    return live


@pytest.mark.parametrize("place", ["candidate", "shadow", "canary"])
def test_a_version_on_its_way_is_rejected_and_off_its_traffic_with_one_receipt(
    registry: Registry, place: str
) -> None:
    live, version, other = _live(registry), make_version(registry, 1), make_version(registry, 2)
    if place != "candidate":
        registry.aliases.update("acme", "tickets", **{place: version.digest})
        registry.aliases.update("acme", "beta", **{place: other.digest})
    declined = registry.decline(version.digest, "ada", "too terse")
    assert declined.state == "rejected"
    assert declined.reasons["rejected_because"] == "a person declined it: too terse"
    tickets, beta = (registry.aliases.get("acme", name) for name in ("tickets", "beta"))
    assert (tickets.live, tickets.canary, tickets.shadow) == (live, None, None)
    if place != "candidate":
        assert getattr(beta, place) == other.digest, "another's place is left alone"
    registry.decline(version.digest, "bob")
    [receipt] = registry.decisions.all("acme", "tickets", "reject")
    assert (receipt.by, receipt.rule, receipt.digest) == ("ada", "declined", version.digest)
    assert receipt.evidence == {
        "reason": "ada declined it: too terse",
        "taken_off": {} if place == "candidate" else {"tickets": place},
    }


def test_with_a_canary_goes_its_share_and_routers_see_it(registry: Registry) -> None:
    _live(registry)
    version = make_version(registry, 1)
    registry.aliases.update("acme", "tickets", canary=version.digest, canary_weight=0.5)
    before = registry.revision()
    registry.decline(version.digest, "ada")
    assert registry.aliases.get("acme", "tickets").canary_weight == 0.0
    assert registry.revision() > before


@pytest.mark.parametrize("path", [("live",), ("live", "retired"), ("held",)], ids=lambda p: p[-1])
def test_what_is_not_on_its_way_is_not_declined(registry: Registry, path: tuple[str, ...]) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    for state in path:
        registry.versions.move(version.digest, state)
    with pytest.raises(NotServable, match=f"can't be declined: it is '{path[-1]}'"):
        registry.decline(version.digest, "ada")
    assert registry.versions.get(version.digest).state == path[-1]
    assert registry.decisions.all("acme") == []


def test_a_reason_is_a_text_for_people(registry: Registry) -> None:
    make_adapter(registry)
    version = make_version(registry, 1)
    for because in ("\0", "x" * 1001, "\ud800"):
        with pytest.raises(InvalidValue, match="because"):
            registry.decline(version.digest, "ada", because)
    assert registry.versions.get(version.digest).state == "candidate"


def test_what_goes_live_at_the_same_moment_is_either_live_or_declined(registry: Registry) -> None:
    live = _live(registry)
    for seed in range(10):
        digest = make_version(registry, seed).digest
        registry.aliases.update("acme", "tickets", canary=digest, canary_weight=0.5)

        def flip(digest: str = digest) -> None:
            with suppress(InvalidTransition):
                registry.aliases.flip("acme", "tickets", digest)

        def decline(digest: str = digest) -> None:
            with suppress(NotServable):
                registry.decline(digest, "ada")

        with ThreadPoolExecutor(2) as pool:
            for work in [pool.submit(act) for act in (flip, decline)]:
                work.result()
        alias, state = registry.aliases.get("acme", "tickets"), registry.versions.get(digest).state
        declined = [d for d in registry.decisions.all("acme", "tickets") if d.digest == digest]
        assert alias.canary is None
        assert (state, alias.live, len(declined)) in (("live", digest, 0), ("rejected", live, 1))
        registry.aliases.flip("acme", "tickets", live)
