"""Any order of publishing, flipping, retiring and rejecting keeps what routing rests on."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from registry import Registry
from registry.database import Base
from registry.errors import InvalidTransition
from registry.versions import TRANSITIONS
from tests.registry.making import digest_of, make_adapter, make_version

ALIASES = ("tickets", "tickets-beta")


class Routing(RuleBasedStateMachine):
    """Compares the registry with a model of it: a dict of states and a dict of aliases."""

    registry: Registry
    versions = Bundle("versions")

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}
        self.live: dict[str, str | None] = dict.fromkeys(ALIASES)
        self.previous: dict[str, str | None] = dict.fromkeys(ALIASES)
        self.made = 0

    @initialize()
    def begin(self) -> None:
        with self.registry.database.write() as session:
            for table in reversed(Base.metadata.sorted_tables):
                session.execute(table.delete())
        make_adapter(self.registry)
        self.registry.aliases.ensure("acme", ALIASES[1], "tickets")
        self.revision = self.registry.revision()

    @rule(target=versions)
    def publish(self) -> str:
        self.made += 1
        digest = digest_of(self.made)
        make_version(self.registry, self.made)
        self.states[digest] = "candidate"
        return digest

    @rule(digest=versions, state=st.sampled_from(sorted(TRANSITIONS)))
    def move(self, digest: str, state: str) -> None:
        if state in TRANSITIONS[self.states[digest]]:
            self.registry.versions.move(digest, state)
            self.states[digest] = state
        else:
            with pytest.raises(InvalidTransition):
                self.registry.versions.move(digest, state)

    @rule(digest=versions, alias=st.sampled_from(ALIASES))
    def flip(self, digest: str, alias: str) -> None:
        if self.states[digest] == "rejected":
            with pytest.raises(InvalidTransition):
                self.registry.aliases.flip("acme", alias, digest)
            return
        self.registry.aliases.flip("acme", alias, digest)
        self.states[digest] = "live"
        if self.live[alias] != digest:
            self.previous[alias], self.live[alias] = self.live[alias], digest

    @rule(digest=versions)
    def retire(self, digest: str) -> None:
        expected = self.states[digest] == "live" and digest not in self.live.values()
        assert self.registry.aliases.retire(digest) is expected
        if expected:
            self.states[digest] = "retired"

    @rule(digest=versions)
    def force(self, digest: str) -> None:
        if self.states[digest] != "live":
            self.registry.versions.force(digest, "ada")
            self.states[digest] = "candidate"
        else:
            with pytest.raises(InvalidTransition):
                self.registry.versions.force(digest, "ada")

    @rule(target=versions, digest=consumes(versions))
    def publish_again(self, digest: str) -> object:
        number = next(n for n in range(1, self.made + 1) if digest_of(n) == digest)
        assert make_version(self.registry, number).state == self.states[digest]
        return multiple(digest)

    @invariant()
    def registry_and_model_agree(self) -> None:
        snapshot = self.registry.snapshot()
        assert {v.digest: v.state for v in self.registry.versions.all()} == self.states
        assert snapshot.versions.keys() == {
            digest for digest, state in self.states.items() if state != "rejected"
        }
        for (_, name), alias in snapshot.aliases.items():
            assert (alias.live, alias.previous) == (self.live[name], self.previous[name])
        assert snapshot.revision >= self.revision, "a revision never goes back"
        self.revision = snapshot.revision


def test_any_order_of_steps_keeps_registry_and_model_in_agreement(registry: Registry) -> None:
    machine = type("RoutingHere", (Routing,), {"registry": registry})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )
