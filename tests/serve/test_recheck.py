"""Canary prompts: what is live is asked again, and what changed is told, whoever is at fault."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from monitoring.controller import Controller
from monitoring.explain import explain
from monitoring.metrics import Metrics
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.versions import Version
from serve.swap import Swapper
from tests.fake_engine import FakeEngine
from tests.monitoring.scene import Clock
from tests.serve.making import BASE, adapter_folder, candidate, engine, swap_settings, tenant

HOUR = 3600.0


class Scene:
    """A version that is live on one engine, and an hour that can pass."""

    def __init__(self, registry: Registry, folder: Path, fake: FakeEngine) -> None:
        self.registry, self.fake = registry, fake
        self.clock = Clock()
        self.metrics = Metrics()
        self.metrics.know_tenants(["acme"])
        tenant(registry)
        self.heartbeat()
        self.version = candidate(registry, adapter_folder(folder / "adapter"))
        fake.adapters.add(self.version.served_name)
        self.settings = swap_settings(folder, recheck_s=HOUR)
        self.swapper = self._another()
        self.controller = Controller(
            registry, ControllerSettings(), self.metrics, clock=lambda: self.clock.now
        )

    def _another(self) -> Swapper:
        return Swapper(self.registry, self.settings, self.metrics, clock=lambda: self.clock.now)

    async def restart(self, **changes: Any) -> None:
        """Another swapper in place of this one."""
        await self.swapper.shutdown()
        self.settings = dataclasses.replace(self.settings, **changes)
        self.swapper = self._another()

    def heartbeat(self) -> None:
        self.registry.engines.register(
            "engine-0", self.fake.url, BASE, max_loras=4, max_lora_rank=16
        )
        self.registry.engines.heartbeat("engine-0", "ready")

    async def hours(self, count: float) -> dict[str, Any] | None:
        """Time passes, and everybody looks; what was found when it was last asked again."""
        self.clock.now += count * HOUR
        await self.swapper.tick()
        self.controller.tick()
        found: dict[str, Any] | None = self.live().certificate.get("again")
        return found

    def live(self) -> Version:
        return self.registry.versions.get(self.version.digest)

    def gauge(self) -> float | None:
        return self.metrics.registry.get_sample_value(
            "switchyard_artifact_changed", {"tenant": "acme"}
        )

    def holds(self) -> list[str]:
        return [receipt.rule for receipt in self.registry.decisions.all("acme", kind="hold")]

    def said(self) -> str:
        tenant_row = self.registry.tenants.get("acme")
        (told,) = explain(self.registry, ControllerSettings(), tenant_row, self.clock.now)
        return told.json()["evidence"]["artifact"]


@pytest.fixture
async def scene(sqlite_registry: Registry, tmp_path: Path) -> AsyncIterator[Scene]:
    async with engine() as fake:
        scene = Scene(sqlite_registry, tmp_path, fake)
        await scene.swapper.tick()
        assert scene.live().state == "live"
        scene.fake.requests.clear()
        yield scene
        await scene.swapper.shutdown()


async def test_it_is_asked_again_after_an_hour_and_not_before(scene: Scene) -> None:
    assert await scene.hours(0.5) is None
    assert scene.fake.asked("/v1/completions") == []
    assert "not asked again" in scene.said()
    again = await scene.hours(0.6)
    assert again is not None
    assert again["passed"]
    assert again["engines"]["engine-0"]["parity_mean"] == 0.0
    asked = len(scene.fake.asked("/v1/completions"))
    assert asked == 32, "each of 16 probes, of the adapter and of the base"
    await scene.hours(0.5)
    assert len(scene.fake.asked("/v1/completions")) == asked
    assert scene.gauge() == 0.0
    assert "as when it was certified, 30 minutes ago" in scene.said()


async def test_other_answers_to_the_same_prompts_are_told_and_not_trained_for(scene: Scene) -> None:
    scene.fake.logprob = lambda model, ids, position: -2.0 if model == BASE else -1.7
    again = await scene.hours(1.1)
    assert again is not None
    assert not again["passed"]
    assert again["reason"].startswith("on engine-0: engine and trainer disagree")
    assert scene.gauge() == 1.0
    assert scene.holds() == ["artifact-changed"]
    (hold,) = scene.registry.decisions.all("acme", kind="hold")
    assert hold.evidence["changed"] == ["artifact"]
    assert "in another way, 0 minutes ago: on engine-0" in scene.said()
    assert scene.live().state == "live", "a person decides what becomes of it"
    assert scene.live().certificate["passed"], "what it was certified with is kept"

    scene.fake.logprob = engine().logprob
    again = await scene.hours(1.1)
    assert again is not None
    assert again["passed"]
    assert scene.gauge() == 0.0
    assert scene.registry.jobs.all() == []


async def test_a_file_that_was_damaged_in_the_store_is_found(scene: Scene, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (weights,) = store.rglob("*adapter_model.safetensors")
    weights.chmod(0o644)
    weights.write_bytes(b"rot")
    await scene.restart(staging=tmp_path / "elsewhere")
    again = await scene.hours(1.1)
    assert again is not None
    assert not again["passed"]
    assert again["engines"] == {}


async def test_an_engine_that_does_not_answer_says_nothing(scene: Scene) -> None:
    await scene.fake.die()
    assert await scene.hours(1.1) is None
    assert scene.gauge() == 0.0


async def test_after_a_restart_it_goes_on_where_it_stood(scene: Scene) -> None:
    first = await scene.hours(1.1)
    asked = len(scene.fake.asked("/v1/completions"))
    await scene.restart()
    assert await scene.hours(0.5) == first
    assert len(scene.fake.asked("/v1/completions")) == asked


async def test_nobody_is_asked_again_where_it_is_switched_off(scene: Scene) -> None:
    await scene.restart(recheck_s=0.0)
    assert await scene.hours(1000.0) is None
