"""What the registry holds is what the gauges say; what nobody knows is not said."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from monitoring.metrics import Metrics
from registry import Registry
from tests.monitoring.scene import Scene


@pytest.fixture
def scene(sqlite_registry: Registry) -> Iterator[Scene]:
    found = Scene(sqlite_registry)
    found.clock.now = 2e9  # feedback is of now, which is within 7 days of nothing before
    yield found


def test_versions_verdicts_and_receipts_are_counted(scene: Scene) -> None:
    scene.registry.decisions.record("acme", "support", "hold", "cooldown")
    scene.controller.tick()
    assert scene.gauge("versions", tenant="acme", state="live") == 1
    assert scene.gauge("versions", tenant="acme", state="rejected") == 0
    assert scene.gauge("verdicts", tenant="acme", verdict="promote") == 1
    assert scene.gauge("receipts", tenant="acme", kind="hold") == 1
    assert scene.gauge("receipts", tenant="acme", kind="rollback") == 0


def test_the_live_version_shows_since_when_and_the_one_before_is_gone(scene: Scene) -> None:
    scene.controller.tick()
    first = scene.registry.versions.get("a" * 64)
    labels = {"tenant": "acme", "alias": "support", "version": first.served_name}
    assert scene.gauge("version_live_timestamp_seconds", **labels) == first.state_at
    scene.registry.versions.publish(
        "acme", "support", "b" * 64, manifest={}, evaluation={}, verdict="promote"
    )
    scene.promote("b" * 64)
    scene.controller.tick()
    second = scene.registry.versions.get("b" * 64)
    assert scene.gauge("version_live_timestamp_seconds", **labels) is None
    labels["version"] = second.served_name
    assert scene.gauge("version_live_timestamp_seconds", **labels) == second.state_at


def test_what_waits_for_a_person_is_counted_until_somebody_says_yes(scene: Scene) -> None:
    scene.registry.tenants.update("acme", auto_promote=False, rollout="direct")
    file = scene.registry.upload("acme", "more.jsonl", b"{}")
    job = scene.registry.jobs.enqueue("acme", "support", file, trigger="controller")
    scene.finish(job, "b" * 64)
    scene.controller.tick()
    assert scene.gauge("rollouts_waiting", tenant="acme") == 1
    scene.registry.versions.force("b" * 64, "ada")
    scene.controller.tick()
    assert scene.gauge("rollouts_waiting", tenant="acme") == 0


def test_quality_has_an_interval_and_is_absent_while_nobody_judged(scene: Scene) -> None:
    scene.clock.now = 1_000.0
    scene.controller.tick()
    assert scene.gauge("judged_answers", tenant="acme") == 0
    assert scene.gauge("quality_ratio", tenant="acme", bound="estimate") is None
    scene.correct(3)
    scene.controller.tick()
    assert scene.gauge("judged_answers", tenant="acme") == 3
    assert scene.gauge("quality_ratio", tenant="acme", bound="estimate") == 0
    assert scene.gauge("quality_ratio", tenant="acme", bound="high") == pytest.approx(
        0.561, abs=1e-3
    )


def test_judgements_older_than_a_week_are_no_longer_counted(scene: Scene) -> None:
    scene.correct(3)
    scene.controller.tick()
    assert scene.gauge("judged_answers", tenant="acme") == 0


def test_the_last_scored_retraining_shows_what_it_expected_and_what_came(scene: Scene) -> None:
    record, realise = scene.registry.decisions.record, scene.registry.decisions.realise
    for expected, gain in ((0.9, 0.1), (0.6, 0.35)):
        receipt = record("acme", "support", "retrain", "r", expected={"gain_at_most": expected})
        realise(receipt.id, {"outcome": "promoted", "gain": gain})
    record("acme", "support", "retrain", "r", expected={"gain_at_most": 1.0})
    scene.controller.tick()
    assert scene.gauge("retrain_gain_expected_ratio", tenant="acme") == 0.6
    assert scene.gauge("retrain_gain_realised_ratio", tenant="acme") == 0.35


def test_an_engine_shows_what_sits_in_it_until_it_is_gone(scene: Scene) -> None:
    engines = scene.registry.engines
    engines.register("e1", "http://127.0.0.1:1", "tiny", max_loras=4, max_lora_rank=8)
    engines.place("e1", "a" * 64, "warm")
    engines.place("e1", "b" * 64, "failed")
    scene.controller.tick()
    assert scene.gauge("engine_warm_versions", engine="e1") == 1
    assert scene.gauge("engine_adapter_slots", engine="e1") == 4
    engines.remove("e1")
    scene.controller.tick()
    assert scene.gauge("engine_warm_versions", engine="e1") is None


def test_of_tenants_beyond_the_cap_the_gauges_show_the_worst(sqlite_registry: Registry) -> None:
    scene = Scene(sqlite_registry, metrics=Metrics(tenant_cap=1))
    scene.clock.now = time.time()
    for name, rating in (("bad", -1.0), ("good", 1.0), ("zed", 1.0)):
        _second(scene, name, rating)
    for _ in range(2):
        scene.controller.tick()
        scene.registry.versions.certify(
            f"{'bad':b<64}", {"again": {"passed": False, "reason": "other answers"}}
        )
    assert scene.gauge("artifact_changed", tenant="acme") == 0
    assert scene.gauge("artifact_changed", tenant="other") == 1, "`zed` comes last and is well"
    assert scene.gauge("judged_answers", tenant="other") == 40
    high = scene.gauge("quality_ratio", tenant="other", bound="high")
    assert high is not None
    assert high < 0.2
    for name in ("bad", "good", "zed"):
        scene.registry.tenants.delete(name)
    scene.controller.tick()
    assert scene.gauge("artifact_changed", tenant="other") is None, "nobody is beyond the cap now"
    assert scene.gauge("quality_ratio", tenant="other", bound="high") is None


def _second(scene: Scene, name: str, rating: float) -> None:
    registry, digest = scene.registry, f"{name:b<64}"
    registry.tenants.create(name)
    registry.adapters.create(name, "support", "tiny")
    registry.aliases.ensure(name, "support", "support")
    registry.versions.publish(
        name, "support", digest, manifest={}, evaluation={}, verdict="promote"
    )
    registry.aliases.flip(name, "support", digest)
    asked = [f"{name}-{n}" for n in range(40)]
    registry.exchanges.add(
        [
            {"id": one, "tenant": name, "adapter": "support", "served": "adapter", "digest": digest,
             "status": 200, "latency_ms": 5.0}
            for one in asked
        ]
    )  # fmt: skip
    for one in asked:
        registry.exchanges.give_feedback(name, one, rating=rating)
