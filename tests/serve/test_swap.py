import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from monitoring.metrics import Metrics
from registry import Registry
from registry.errors import DatabaseUnavailable
from registry.fingerprint import base_fingerprint
from registry.versions import Version
from serve.swap import GRACE_S, Swapper
from tests.fake_engine import FakeEngine
from tests.serve.making import (
    BASE,
    BASE_LOGPROB,
    adapter_folder,
    base_folder,
    candidate,
    engine,
    swap_settings,
    tenant,
)


class Scene:
    """A registry with one tenant, a fake engine that is ready, and a swapper."""

    def __init__(self, registry: Registry, folder: Path, fake: FakeEngine) -> None:
        self.registry = registry
        self.folder = folder
        self.fake = fake
        self.metrics = Metrics()
        self.metrics.know_tenants(["acme"])
        self.swapper = self.another_swapper()
        self._folders = 0
        tenant(registry)
        self.engine_is_ready()

    def another_swapper(self, **changes: Any) -> Swapper:
        clock: Callable[[], float] = changes.pop("clock", time.time)
        settings = swap_settings(self.folder, **changes)
        return Swapper(self.registry, settings, self.metrics, clock=clock)

    def engine_is_ready(self, name: str = "engine-0", url: str | None = None) -> None:
        self.registry.engines.register(
            name, url or self.fake.url, BASE, max_loras=4, max_lora_rank=16
        )
        self.registry.engines.heartbeat(name, "ready")

    def candidate(self, *, known: bool = True, **options: Any) -> Version:
        """A candidate; `known` says whether the engine's resolver would load it."""
        verdict, reasons = options.pop("verdict", "promote"), options.pop("reasons", None)
        job_id = options.pop("job_id", None)
        self._folders += 1
        folder = adapter_folder(
            self.folder / f"adapter-{self._folders}", seed=self._folders, **options
        )
        version = candidate(self.registry, folder, verdict=verdict, reasons=reasons, job_id=job_id)
        if known:
            self.fake.adapters.add(version.served_name)
        return version

    def state(self, version: Version) -> str:
        return self.registry.versions.get(version.digest).state

    def live(self) -> str | None:
        return self.registry.aliases.get("acme", "triage").live

    def why(self, version: Version) -> str:
        return str(self.registry.versions.get(version.digest).reasons["rejected_because"])

    def decisions(self, kind: str) -> int:
        return len(self.registry.decisions.all("acme", kind=kind))

    def swaps(self, outcome: str) -> float:
        return float(self.metrics.swaps_total.labels(outcome)._value.get())

    def gauge(self, name: str) -> float:
        value = self.metrics.registry.get_sample_value(f"switchyard_{name}")
        assert value is not None, name
        return value


@pytest.fixture
async def scene(sqlite_registry: Registry, tmp_path: Path) -> AsyncIterator[Scene]:
    async with engine() as fake:
        scene = Scene(sqlite_registry, tmp_path, fake)
        yield scene
        await scene.swapper.shutdown()


# What gets to traffic


async def test_a_candidate_that_passes_goes_live(scene: Scene) -> None:
    version = scene.candidate()

    await scene.swapper.tick()

    assert (scene.state(version), scene.live()) == ("live", version.digest)
    (placement,) = scene.registry.engines.placements(version.digest)
    assert (placement.engine_id, placement.state) == ("engine-0", "warm")
    certificate = scene.registry.versions.get(version.digest).certificate
    assert certificate["passed"]
    assert certificate["engines"]["engine-0"]["effect_mean"] == 1.0
    (decision,) = scene.registry.decisions.all("acme", kind="promote")
    assert decision.digest == version.digest
    assert decision.evidence["replaced"] == {"triage": None}
    assert scene.swaps("promoted") == 1


async def test_a_tenants_own_fine_tune_that_is_not_promoted_answers_to_its_name_only(
    scene: Scene,
) -> None:
    version = scene.candidate(verdict="insufficient", reasons={"by_name": True})

    await scene.swapper.tick()

    assert (scene.state(version), scene.live()) == ("held", None)
    assert scene.registry.versions.get(version.digest).certificate["passed"]
    assert scene.decisions("reject") == scene.decisions("promote") == 0


async def test_a_fine_tune_that_the_engine_can_not_serve_is_rejected_whoever_asked(
    scene: Scene,
) -> None:
    version = scene.candidate(verdict="insufficient", reasons={"by_name": True}, rank=64)

    await scene.swapper.tick()

    assert scene.state(version) == "rejected"


async def test_an_adapter_without_an_alias_gets_one_of_its_own_name(scene: Scene) -> None:
    scene.registry.adapters.create("acme", "tone", BASE)
    folder = adapter_folder(scene.folder / "tone", seed=99, manifest={"adapter": "tone"})
    digest = scene.registry.store.publish(folder)
    version = scene.registry.versions.publish(
        "acme", "tone", digest, manifest={}, evaluation={}, verdict="promote"
    )
    scene.fake.adapters.add(version.served_name)

    await scene.swapper.tick()

    assert scene.registry.aliases.get("acme", "tone").live == digest


async def test_every_ready_engine_is_warmed_and_checked_before_the_flip(scene: Scene) -> None:
    async with engine() as second:
        scene.engine_is_ready("engine-1", second.url)
        version = scene.candidate()
        second.adapters.add(version.served_name)

        await scene.swapper.tick()

        assert second.loaded == scene.fake.loaded == [version.served_name]
    certificate = scene.registry.versions.get(version.digest).certificate
    assert certificate["engines"].keys() == {"engine-0", "engine-1"}


async def test_the_version_before_is_kept_while_it_drains_and_then_retired(scene: Scene) -> None:
    now = 0.0
    swapper = scene.another_swapper(drain_s=30, clock=lambda: now)
    first = scene.candidate()
    await swapper.tick()
    second = scene.candidate()
    await swapper.tick()
    flipped = scene.registry.aliases.get("acme", "triage").updated_at

    now = flipped + 29
    await swapper.tick()
    assert (scene.live(), scene.state(first)) == (second.digest, "live")

    now = flipped + 31
    await swapper.tick()
    assert (scene.state(first), scene.state(second)) == ("retired", "live")
    assert scene.registry.aliases.get("acme", "triage").previous == first.digest
    await swapper.shutdown()


async def test_of_two_candidates_the_later_wish_stays(scene: Scene) -> None:
    first, second = scene.candidate(), scene.candidate()
    await scene.swapper.tick()
    assert scene.live() == second.digest

    scene.registry.versions.move(first.digest, "retired")
    scene.registry.versions.force(first.digest, by="ann")
    await scene.swapper.tick()

    assert scene.live() == first.digest
    assert scene.registry.decisions.all("acme", kind="promote")[0].by == "ann"


async def test_a_tenant_that_promotes_by_hand_is_asked_first(scene: Scene) -> None:
    scene.registry.tenants.update("acme", auto_promote=False)
    version = scene.candidate()
    await scene.swapper.tick()
    assert scene.state(version) == "candidate"

    scene.registry.versions.force(version.digest, by="ann")
    await scene.swapper.tick()

    assert scene.live() == version.digest


# What doesn't


async def test_what_the_loop_trained_waits_for_its_rollout_and_a_person_may_shorten_it(
    scene: Scene,
) -> None:
    first = scene.candidate()
    await scene.swapper.tick()
    assert scene.live() == first.digest
    file = scene.registry.upload("acme", "train.jsonl", b"{}")
    job = scene.registry.jobs.enqueue("acme", "triage", file, trigger="controller")
    second = scene.candidate(job_id=job.id)
    await scene.swapper.tick()
    assert (scene.live(), scene.state(second)) == (first.digest, "candidate")
    scene.registry.versions.force(second.digest, "ada")
    await scene.swapper.tick()
    assert scene.live() == second.digest


@pytest.mark.parametrize("verdict", ["reject", "insufficient"])
async def test_a_verdict_against_it_is_the_end_of_a_candidate(scene: Scene, verdict: str) -> None:
    version = scene.candidate(verdict=verdict, reasons={"summary": "no better than the base"})

    await scene.swapper.tick()

    assert scene.state(version) == "rejected"
    assert scene.why(version) == "no better than the base"
    assert scene.decisions("reject") == 1
    assert scene.fake.loaded == []


async def test_an_adapter_without_effect_never_gets_traffic(scene: Scene) -> None:
    scene.fake.logprob = lambda model, ids, position: BASE_LOGPROB
    version = scene.candidate()

    await scene.swapper.tick()

    assert (scene.state(version), scene.live()) == ("rejected", None)
    assert "ignores the adapter" in scene.why(version)
    (decision,) = scene.registry.decisions.all("acme", kind="reject")
    assert decision.evidence["effect_mean"] == 0.0
    assert scene.swaps("rejected") == 1


async def test_a_canary_is_checked_before_it_meets_traffic_and_stays_a_canary(
    scene: Scene,
) -> None:
    live = scene.candidate()
    await scene.swapper.tick()
    canary = scene.candidate(verdict="promote")
    scene.registry.aliases.update("acme", "triage", canary=canary.digest, canary_weight=0.1)
    await scene.swapper.tick()
    version = scene.registry.versions.get(canary.digest)
    assert (version.state, version.certificate["passed"]) == ("canary", True)
    assert scene.live() == live.digest
    scene.registry.versions.force(canary.digest, "ada")
    await scene.swapper.tick()
    assert scene.live() == canary.digest


async def test_a_shadow_without_effect_is_rejected(scene: Scene) -> None:
    scene.candidate()
    await scene.swapper.tick()
    shadow = scene.candidate(verdict="insufficient")
    scene.registry.aliases.update("acme", "triage", shadow=shadow.digest, shadow_share=1.0)
    scene.fake.logprob = lambda model, ids, position: BASE_LOGPROB
    await scene.swapper.tick()
    assert scene.state(shadow) == "rejected"


async def test_a_corrupted_file_is_named(scene: Scene) -> None:
    version = scene.candidate()
    (file,) = (scene.folder / "store").rglob("adapter_model.safetensors")
    file.write_bytes(b"rotten")

    await scene.swapper.tick()

    assert scene.state(version) == "rejected"
    assert "adapter_model.safetensors is corrupted" in scene.why(version)


async def test_a_file_that_rots_after_staging_is_named_too(scene: Scene) -> None:
    version = scene.candidate(known=False)
    scene.registry.store.fetch(version.digest, scene.folder / "staging")
    (file,) = (scene.folder / "store").rglob("adapter_model.safetensors")
    file.write_bytes(b"rotten")

    await scene.swapper.tick()

    assert "adapter_model.safetensors is corrupted" in scene.why(version)
    (placement,) = scene.registry.engines.placements(version.digest)
    assert placement.state == "failed"


async def test_a_rank_above_an_engines_is_rejected_with_both_figures(scene: Scene) -> None:
    version = scene.candidate(rank=32)

    await scene.swapper.tick()

    assert "rank 32 is above this engine's 16" in scene.why(version)


async def test_an_adapter_for_another_base_is_rejected(scene: Scene) -> None:
    ours = base_folder(scene.folder / "base")
    theirs = base_fingerprint(base_folder(scene.folder / "other", hidden_size=256))
    version = scene.candidate(manifest={**theirs, "base": "big-model"})
    swapper = scene.another_swapper(base=ours)

    await swapper.tick()

    assert "another base (big-model): base_config_sha256" in scene.why(version)
    await swapper.shutdown()


async def test_an_engines_refusal_is_a_rejection_with_what_is_known(scene: Scene) -> None:
    version = scene.candidate(known=False, manifest={"base": "big-model"})

    await scene.swapper.tick()

    assert "it was trained for big-model" in scene.why(version)


async def test_files_of_another_tenant_are_not_taken_for_this_ones(scene: Scene) -> None:
    version = scene.candidate(manifest={"tenant": "lex"})

    await scene.swapper.tick()

    assert "its manifest names lex/triage" in scene.why(version)


async def test_too_few_probes_are_a_rejection(scene: Scene) -> None:
    version = scene.candidate(probes=3)

    await scene.swapper.tick()

    assert scene.why(version).endswith("3 probes: expected at least 16")


async def test_a_rejected_version_that_a_human_wants_is_checked_again(scene: Scene) -> None:
    version = scene.candidate(known=False)
    await scene.swapper.tick()
    assert scene.state(version) == "rejected"

    scene.fake.adapters.add(version.served_name)
    scene.registry.versions.force(version.digest, by="ann")
    await scene.swapper.tick()

    assert scene.live() == version.digest


# Trouble that passes


async def test_without_an_engine_a_candidate_waits(scene: Scene) -> None:
    scene.registry.engines.heartbeat("engine-0", "down")
    version = scene.candidate()
    await scene.swapper.tick()
    assert scene.state(version) == "candidate"

    scene.engine_is_ready()
    await scene.swapper.tick()

    assert scene.live() == version.digest


async def test_an_engine_that_dies_is_no_fault_of_the_candidate(scene: Scene) -> None:
    version = scene.candidate()
    await scene.fake.die()
    await scene.swapper.tick()
    await scene.swapper.tick()
    assert scene.state(version) == "candidate"
    assert scene.swaps("failed") == 1

    await scene.fake.start()
    await scene.swapper.tick()

    assert scene.live() == version.digest


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


async def test_how_long_a_candidate_has_failed_is_shown_until_it_is_live(scene: Scene) -> None:
    clock = Clock()
    swapper = scene.another_swapper(clock=clock)
    await swapper.startup()
    version = scene.candidate()
    await scene.fake.die()
    began = clock.now
    for _ in range(3):
        await swapper.tick()
        assert scene.gauge("swap_failing_timestamp_seconds") == began
        clock.now += 600.0
    assert scene.swaps("failed") == 1

    scene.registry.engines.heartbeat("engine-0", "down")
    await swapper.tick()
    assert scene.gauge("swap_failing_timestamp_seconds") == began, "an engine that flaps, too"

    await scene.fake.start()
    scene.engine_is_ready()
    await swapper.tick()
    assert scene.live() == version.digest
    assert scene.gauge("swap_failing_timestamp_seconds") == 0
    await swapper.shutdown()


async def test_a_failing_candidate_that_a_person_rejects_fails_no_longer(scene: Scene) -> None:
    version = scene.candidate()
    await scene.fake.die()
    await scene.swapper.tick()
    assert scene.gauge("swap_failing_timestamp_seconds") > 0

    scene.registry.versions.move(version.digest, "rejected", {"summary": "not wanted"})
    await scene.swapper.tick()

    assert scene.gauge("swap_failing_timestamp_seconds") == 0


async def test_a_trial_that_can_not_be_checked_is_shown_as_failing(scene: Scene) -> None:
    version = scene.candidate()
    scene.registry.aliases.update("acme", "triage", canary=version.digest, canary_weight=0.1)
    await scene.fake.die()

    await scene.swapper.tick()
    await scene.swapper.tick()

    assert scene.swaps("failed") == 1
    assert scene.gauge("swap_failing_timestamp_seconds") > 0
    await scene.fake.start()
    await scene.swapper.tick()
    assert scene.gauge("swap_failing_timestamp_seconds") == 0


async def test_when_the_swapper_last_looked_is_shown_and_a_look_that_fails_is_none(
    scene: Scene,
) -> None:
    clock = Clock()
    swapper = scene.another_swapper(clock=clock)
    await swapper.startup()
    assert scene.gauge("last_swap_tick_timestamp_seconds") == clock.now, "before its first look"
    clock.now += 10.0
    await swapper.tick()
    looked = clock.now
    assert scene.gauge("last_swap_tick_timestamp_seconds") == looked

    clock.now += 10.0
    with scene.registry.database.write() as session:
        session.execute(text("ALTER TABLE aliases RENAME TO gone"))
    with pytest.raises(DatabaseUnavailable):
        await swapper.tick()
    assert scene.gauge("last_swap_tick_timestamp_seconds") == looked


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_an_engine_in_trouble_is_no_fault_of_the_candidate(scene: Scene, status: int) -> None:
    version = scene.candidate()
    scene.fake.fail_with = status

    await scene.swapper.tick()

    assert scene.state(version) == "candidate"


# Engines that come and go


async def test_what_is_live_is_loaded_into_an_engine_that_restarted(scene: Scene) -> None:
    version = scene.candidate()
    await scene.swapper.tick()
    await scene.fake.die()
    await scene.fake.start()
    scene.engine_is_ready()

    await scene.swapper.tick()

    assert scene.fake.loaded == [version.served_name]
    (placement,) = scene.registry.engines.placements(version.digest)
    assert placement.state == "warm"


async def test_a_live_version_that_an_engine_refuses_is_marked_and_tried_again_later(
    scene: Scene,
) -> None:
    version = scene.candidate()
    await scene.swapper.tick()
    scene.fake.loaded.clear()
    scene.fake.adapters.clear()
    scene.engine_is_ready()
    asked = len(scene.fake.asked("/v1/completions"))

    await scene.swapper.tick()
    await scene.swapper.tick()

    assert len(scene.fake.asked("/v1/completions")) == asked + 1
    (placement,) = scene.registry.engines.placements(version.digest)
    assert placement.state == "failed"
    assert scene.live() == version.digest


async def test_a_warm_version_is_not_asked_for_again(scene: Scene) -> None:
    scene.candidate()
    await scene.swapper.tick()
    asked = len(scene.fake.requests)

    await scene.swapper.tick()

    assert len(scene.fake.requests) == asked


# Killed half-way, and two at once


async def test_two_swappers_flip_once(scene: Scene) -> None:
    version = scene.candidate()
    other = scene.another_swapper()

    await asyncio.gather(scene.swapper.tick(), other.tick())

    assert scene.live() == version.digest
    assert scene.decisions("promote") == 1
    assert scene.swaps("promoted") == 1
    await other.shutdown()


@pytest.mark.parametrize(
    "step",
    ["store.fetch", "engines.place", "versions.certify", "versions.move", "aliases.flip",
     "decisions.record"],
)  # fmt: skip
async def test_a_swapper_killed_at_any_step_is_carried_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Stopped just before and just after each step; the next swapper ends in the same state."""
    for after in (False, True):
        version = scene.candidate()
        noun, verb = step.split(".")
        with monkeypatch.context() as patch:
            target = getattr(scene.registry, noun)
            patch.setattr(target, verb, _dying(getattr(target, verb), after))
            with pytest.raises(Killed):
                await scene.swapper.tick()
        latest = scene.registry.versions.get(version.digest).state_at
        other = scene.another_swapper(clock=lambda at=latest: at + GRACE_S + 1)

        await other.tick()
        await other.tick()

        assert (scene.state(version), scene.live()) == ("live", version.digest)
        assert scene.registry.versions.get(version.digest).certificate["flip"] == "done"
        assert _receipts(scene, version) == ["promote"]
        await other.shutdown()


@pytest.mark.parametrize("step", ["versions.move", "decisions.record"])
async def test_a_swapper_killed_as_it_rejects_leaves_one_receipt(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for after in (False, True):
        version = scene.candidate(verdict="reject")
        noun, verb = step.split(".")
        with monkeypatch.context() as patch:
            target = getattr(scene.registry, noun)
            patch.setattr(target, verb, _dying(getattr(target, verb), after))
            with pytest.raises(Killed):
                await scene.swapper.tick()
        await scene.swapper.tick()
        assert scene.state(version) == "rejected"
        assert _receipts(scene, version) == ["reject"]


def _receipts(scene: Scene, version: Version) -> list[str]:
    return [d.kind for d in scene.registry.decisions.all("acme") if d.digest == version.digest]


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def _dying(call: Callable[..., Any], after: bool) -> Callable[..., Any]:
    def die(*arguments: Any, **named: Any) -> Any:
        if after:
            call(*arguments, **named)
        raise Killed

    return die


async def test_a_pending_flip_of_a_swapper_at_work_is_left_alone(scene: Scene) -> None:
    version = scene.candidate()
    scene.registry.versions.certify(version.digest, {"flip": "pending"})
    scene.registry.versions.move(version.digest, "live")

    await scene.swapper.tick()

    assert scene.live() is None
    assert scene.state(version) == "live"
