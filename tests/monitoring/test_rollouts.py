"""Rollouts on a real registry: a retrained version's way to traffic, and off it again."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from monitoring.metrics import Metrics
from monitoring.rollouts import Rollouts, is_staged, waits
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.aliases import Alias
from registry.decisions import Decision
from registry.errors import RegistryError
from registry.exchanges import Exchange
from registry.outcomes import Outcome
from tests.monitoring.scene import Clock

SETTINGS = ControllerSettings(rollout_shadow=20, rollout_requests=10, rollout_patience_s=1000)
OLD, NEW = "a" * 64, "b" * 64


class Stage:
    """`acme` with `support` live, and a version that the loop trained."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.clock = Clock()
        self.numbers = itertools.count()
        registry.tenants.create("acme")
        registry.adapters.create("acme", "support", "tiny")
        registry.aliases.ensure("acme", "support", "support")
        self._trained(OLD, "cli")
        registry.versions.certify(OLD, {"passed": True})
        registry.aliases.flip("acme", "support", OLD)
        self._trained(NEW, "controller")
        self.rollouts = self.restarted()

    def restarted(self) -> Rollouts:
        """As after a crash."""
        return Rollouts(self.registry, SETTINGS, Metrics(), clock=self.clock)

    def _trained(self, digest: str, trigger: str) -> None:
        file = self.registry.upload("acme", "train.jsonl", b"{}")
        job = self.registry.jobs.enqueue("acme", "support", file, trigger=trigger)
        assert self.registry.jobs.lease("worker-1") is not None
        self.registry.versions.publish(
            "acme", "support", digest, manifest={}, evaluation={}, verdict="promote", job_id=job.id
        )
        self.registry.jobs.succeed(job.id, "worker-1", digest)

    def attend(self, broken: tuple[str, str] | None = None) -> Alias:
        """One look at the adapter."""
        tenant = self.registry.tenants.get("acme")
        self.clock.now += 1
        self.rollouts.attend(tenant, self.registry.adapters.get("acme", "support"), broken)
        return self.alias

    @property
    def alias(self) -> Alias:
        return self.registry.aliases.get("acme", "support")

    @property
    def state(self) -> str:
        return self.registry.versions.get(NEW).state

    def certify(self) -> None:
        """The swapper's part."""
        self.registry.versions.certify(NEW, {"passed": True})

    def send(
        self,
        count: int,
        digest: str,
        role: str,
        *,
        valid: bool | None = True,
        fallback: str = "",
        finish: str = "stop",
    ) -> None:
        """Answers that the router recorded."""
        self.clock.now += 1
        self.registry.exchanges.add(
            [
                Exchange(
                    id=f"chatcmpl-{next(self.numbers)}",
                    tenant="acme",
                    alias="support",
                    adapter="support",
                    digest=digest,
                    served="adapter",
                    role=role,
                    fallback=fallback,
                    status=200,
                    latency_ms=5.0,
                    valid=valid,
                    finish_reason=finish,
                    created_at=self.clock.now,
                )
                for _ in range(count)
            ]
        )

    def both(self, count: int, *, valid: bool = True, role: str = "canary") -> None:
        """Traffic in turns: the old version answers well, the new one as said."""
        for _ in range(count):
            self.send(1, OLD, "live")
            self.send(1, NEW, role, valid=valid)

    def receipts(self) -> list[Decision]:
        """Of the new version, oldest first."""
        found = self.registry.decisions.all("acme", "support")
        return [d for d in reversed(found) if d.digest == NEW]

    def steps(self) -> list[tuple[str, float | None]]:
        return [(d.kind, d.evidence.get("weight")) for d in self.receipts()]


@pytest.fixture
def stage(sqlite_registry: Registry) -> Stage:
    return Stage(sqlite_registry)


def _to(stage: Stage, weight: float) -> Alias:
    """Bring the new version, which does no harm, to a share of traffic."""
    stage.attend()
    stage.certify()
    stage.both(20, role="shadow")
    for _ in range(3):
        alias = stage.attend()
        if alias.canary_weight == weight:
            return alias
        stage.both(10)
    raise AssertionError(f"no canary of {weight}: {stage.steps()}")


def test_a_version_that_does_not_come_to_an_end_is_stopped(stage: Stage) -> None:
    stage.attend()
    for _ in range(40):
        stage.send(1, OLD, "live", valid=None)
        stage.send(1, NEW, "shadow", valid=None, finish="length")
        stage.attend()
    assert stage.state == "rejected"
    assert stage.receipts()[-1].rule == "shadow-harm:cut"


def test_a_good_version_gets_to_traffic_step_by_step(stage: Stage) -> None:
    alias = stage.attend()
    assert (alias.shadow, alias.shadow_share, alias.canary) == (NEW, 0.2, None)
    stage.both(20, role="shadow")
    assert stage.attend().canary is None, "the engine has not checked it yet"
    stage.certify()
    alias = stage.attend()
    assert (alias.shadow, alias.canary, alias.canary_weight) == (None, NEW, 0.01)
    for weight in (0.1, 0.5):
        stage.both(10)
        assert stage.attend().canary_weight == weight
    stage.both(10)
    assert stage.attend().live == OLD, "no harm of 5 % is not proven yet"
    stage.both(80)
    alias = stage.attend()
    assert (alias.live, alias.previous, alias.canary) == (NEW, OLD, None)
    assert stage.state == "live"
    assert stage.steps() == [
        ("shadow", None), ("canary", 0.01), ("canary", 0.1), ("canary", 0.5), ("promote", None)
    ]  # fmt: skip
    assert stage.receipts()[-1].rule == "no-harm-proven"
    stage.attend()
    assert len(stage.steps()) == 5, "it is over"


def test_a_shadow_whose_answers_are_out_of_form_meets_no_client(stage: Stage) -> None:
    stage.attend()
    stage.certify()
    stage.both(20, role="shadow", valid=False)
    alias = stage.attend()
    assert (alias.live, alias.shadow, alias.canary) == (OLD, None, None)
    assert stage.state == "rejected"
    last = stage.receipts()[-1]
    assert (last.kind, last.rule) == ("reject", "shadow-harm:invalid")
    assert last.evidence["harm"]["invalid"]["challenger"] == 1.0


def test_a_canary_that_turns_bad_is_stopped_within_two_dozen_answers(stage: Stage) -> None:
    _to(stage, 0.1)
    harmed = 0
    while stage.state == "canary":
        harmed += 1
        assert harmed <= 24
        stage.both(1, valid=False)
        stage.attend()
    assert stage.alias.live == OLD
    assert stage.receipts()[-1].rule == "canary-harm:invalid"


def test_a_canary_that_no_engine_serves_is_stopped(stage: Stage) -> None:
    _to(stage, 0.01)
    for _ in range(40):
        stage.send(1, OLD, "live")
        stage.send(1, OLD, "live", fallback="canary-unavailable")
    stage.attend()
    assert stage.receipts()[-1].rule == "canary-harm:failed"


def test_what_a_person_corrected_counts_against_a_version(stage: Stage) -> None:
    _to(stage, 0.01)
    stage.both(40)
    stage.registry.outcomes.of("acme", "support", 0.0)
    rows = stage.registry.exchanges.since(0)
    for row in [row for row in rows if row.role in ("canary", "live")][-80:]:
        if row.digest == NEW:
            stage.registry.exchanges.give_feedback("acme", row.id, correction="another")
        else:
            stage.registry.exchanges.give_feedback("acme", row.id, rating=1.0)
    stage.attend()
    assert stage.receipts()[-1].rule == "canary-harm:disliked"


@pytest.mark.parametrize(
    "otherwise",
    [
        lambda registry: registry.tenants.update("acme", rollout="direct"),
        lambda registry: registry.versions.force(NEW, "ada"),
    ],
    ids=["direct", "a person approved"],
)
def test_what_is_not_the_loops_to_bring_in_is_left_alone(
    stage: Stage, otherwise: Callable[[Registry], object]
) -> None:
    otherwise(stage.registry)
    stage.attend()
    assert stage.receipts() == []
    assert stage.state == "candidate"


def test_where_a_person_must_approve_it_goes_as_far_as_that_and_waits(stage: Stage) -> None:
    stage.registry.tenants.update("acme", auto_promote=False)
    _to(stage, 0.5)
    stage.both(100)
    for _ in range(3):
        stage.attend()
    assert (stage.alias.live, stage.alias.canary) == (OLD, NEW)
    hold = stage.receipts()[-1]
    assert (hold.kind, hold.rule) == ("hold", "waiting-for-approval")
    assert hold.evidence["harm"]["invalid"]["challenger"] == 0.0
    assert [d.kind for d in stage.receipts()].count("hold") == 1
    version = stage.registry.versions.get(NEW)
    receipts = stage.registry.decisions.all("acme", "support")
    assert waits(version, receipts)
    asked = stage.registry.versions.force(NEW, "ada")
    assert not waits(asked, receipts), "the swapper has it now"


def test_who_takes_a_waiting_versions_traffic_away_has_said_no(stage: Stage) -> None:
    stage.registry.tenants.update("acme", auto_promote=False)
    _to(stage, 0.5)
    stage.both(100)
    stage.attend()
    stage.registry.aliases.update("acme", "support", canary=None)
    stage.attend()
    assert stage.state == "rejected"
    assert stage.receipts()[-1].rule == "declined"


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.5], ids=["shadow", "canary", "waiting"])
def test_what_a_person_declined_is_over_at_once_wherever_it_was(
    stage: Stage, weight: float
) -> None:
    stage.registry.tenants.update("acme", auto_promote=False)
    if weight:
        _to(stage, weight)
        stage.both(100)
    stage.attend()
    stage.registry.decline(NEW, "ada", "too terse")
    for _ in range(2):
        assert (stage.alias.live, stage.alias.canary, stage.alias.shadow) == (OLD, None, None)
        assert not waits(stage.registry.versions.get(NEW), stage.receipts()[::-1])
        last = stage.receipts()[-1]
        assert (last.kind, last.rule, last.by) == ("reject", "declined", "ada")
        stage.attend()


def test_harm_stops_what_waits_for_a_person(stage: Stage) -> None:
    stage.registry.tenants.update("acme", auto_promote=False)
    _to(stage, 0.5)
    stage.both(100)
    stage.attend()
    stage.both(100, valid=False)
    stage.attend()
    assert stage.state == "rejected"
    assert not waits(stage.registry.versions.get(NEW), stage.receipts()[::-1])


def test_answers_of_what_waits_for_a_person_are_read_once_a_minute(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.registry.tenants.update("acme", auto_promote=False)
    _to(stage, 0.5)
    stage.both(100)
    stage.attend()
    of = stage.registry.outcomes.of
    read: list[float] = []

    def seen(tenant: str, adapter: str, since: float) -> list[Outcome]:
        read.append(stage.clock.now)
        return of(tenant, adapter, since)

    monkeypatch.setattr(stage.registry.outcomes, "of", seen)
    for _ in range(130):
        stage.attend()
    assert len(read) == 3
    stage.registry.tenants.update("acme", auto_promote=True)
    stage.attend()
    assert stage.alias.live == NEW, "at once"


def test_a_direct_rollout_waits_for_a_person_from_the_start(stage: Stage) -> None:
    stage.registry.tenants.update("acme", auto_promote=False, rollout="direct")
    for _ in range(2):
        stage.attend()
    (hold,) = stage.receipts()
    assert (hold.kind, hold.rule) == ("hold", "waiting-for-approval")
    assert stage.state == "candidate"


@pytest.mark.parametrize("weight", [0.0, 0.01, 0.5], ids=["new", "canary", "last step"])
def test_while_something_is_broken_nothing_goes_further_and_one_receipt_says_so(
    stage: Stage, weight: float
) -> None:
    if weight:
        _to(stage, weight)
        stage.both(100)
    before = (stage.state, stage.steps())
    for _ in range(3):
        stage.attend(("artifact-changed", "another base"))
    (*steps, hold) = stage.receipts()
    assert (stage.state, [(d.kind, d.evidence.get("weight")) for d in steps]) == before
    assert (hold.kind, hold.rule, hold.evidence) == (
        "hold", "rollout-artifact-changed", {"reason": "another base"}
    )  # fmt: skip
    stage.attend()
    assert len(stage.receipts()) == len(steps) + 2, "it goes on once that is mended"


def test_harm_stops_a_canary_though_the_pipeline_is_broken(stage: Stage) -> None:
    _to(stage, 0.1)
    stage.both(40, valid=False)
    stage.attend(("pipeline-changed", "no user text"))
    assert stage.state == "rejected"


def test_what_people_trained_is_not_staged(stage: Stage) -> None:
    tenant = stage.registry.tenants.get("acme")
    assert is_staged(stage.registry, tenant, stage.registry.versions.get(NEW))
    assert not is_staged(stage.registry, tenant, stage.registry.versions.get(OLD))


def test_a_canary_that_a_person_took_away_stays_away(stage: Stage) -> None:
    _to(stage, 0.1)
    stage.registry.aliases.update("acme", "support", canary=None)
    assert stage.attend().canary is None
    assert stage.state == "canary"


@pytest.mark.parametrize("killed_after", range(4))
@pytest.mark.parametrize("valid", [True, False], ids=["promoted", "rejected"])
def test_a_controller_killed_between_two_rows_goes_on_where_it_was(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, killed_after: int, valid: bool
) -> None:
    _to(stage, 0.5)
    stage.both(100, valid=valid)
    writes = itertools.count()

    def once(write: Callable[..., object]) -> Callable[..., object]:
        def written(*args: object, **kwargs: object) -> object:
            if next(writes) == killed_after:
                raise RegistryError("killed")
            return write(*args, **kwargs)

        return written

    with monkeypatch.context() as patch:
        for noun, names in (
            (stage.registry.aliases, ("flip", "update", "take_off")),
            (stage.registry.versions, ("move",)),
            (stage.registry.decisions, ("record",)),
        ):
            for name in names:
                patch.setattr(noun, name, once(getattr(noun, name)))
        try:
            stage.attend()
        except RegistryError:
            stage.rollouts = stage.restarted()
    stage.attend()
    alias = stage.attend()
    assert alias.live == (NEW if valid else OLD)
    assert alias.canary is None
    assert stage.state == ("live" if valid else "rejected")
    ends = [d.kind for d in stage.receipts() if d.kind in ("promote", "reject")]
    assert ends == ["promote" if valid else "reject"], "one receipt, however often it was killed"
