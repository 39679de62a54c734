"""A live version that fails requests is taken back; the platform's own trouble takes none back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from monitoring.failing import Failing
from monitoring.quality import QualitySettings
from registry import Registry
from tests.monitoring.scene import Scene

SETTINGS = QualitySettings()


def _failing(before: int, failed: int) -> Failing:
    old = Failing(SETTINGS)
    for number in range(before):
        old.see(number < failed, float(number))
    return Failing(SETTINGS, before=old)


def test_a_version_that_fails_every_request_is_down_after_few() -> None:
    found = _failing(200, 1)
    for number in range(12):
        found.see(True, float(number))
    assert found.down
    assert found.window == (0.0, 11.0)


def test_what_failed_as_often_before_is_usual() -> None:
    found = _failing(200, 40)
    for number in range(2000):
        found.see(number % 5 == 0, float(number))
    assert not found.down


def test_failures_that_ended_are_no_reason_any_more() -> None:
    found = _failing(200, 1)
    for number in range(12):
        found.see(True, float(number))
    for number in range(200):
        found.see(False, 100.0 + number)
    assert not found.down


def test_it_goes_on_from_what_was_kept() -> None:
    found = _failing(200, 1)
    for number in range(30):
        found.see(number % 2 == 0, float(number))
    again = Failing(SETTINGS, found.dump())
    for one in (found, again):
        one.see(True, 99.0)
    assert again.dump() == found.dump()


@pytest.mark.parametrize(
    ("failed", "requests", "own", "said"),
    [
        (0, 50, True, "20 of its last 20 requests failed, and 0 of 50 of others' at the same time"),
        (1, 50, True, "20 of its last 20 requests failed, and 1 of 50 of others' at the same time"),
        (45, 50, False, "45 of 50 of others'"),
        (2, 2, True, "each of its 40 requests failed, from the first on"),
    ],
)
def test_whose_failures_they_are_is_seen_by_what_became_of_others(
    failed: int, requests: int, own: bool, said: str
) -> None:
    found = _failing(200, 1)
    for number in range(40):
        found.see(True, float(number))
    found.compare(failed, requests)
    assert (found.is_own, found.down) == (own, own)
    assert said in found.said


@pytest.mark.parametrize(("worked", "failed"), [(200, 40), (5, 7), (1, 30), (0, 12)])
def test_with_no_others_only_a_version_that_never_worked_is_at_fault(
    worked: int, failed: int
) -> None:
    found = _failing(200, 1)
    for number in range(worked + failed):
        found.see(number >= worked, float(number))
    found.compare(0, 0)
    assert found.down
    assert not found.is_own
    assert "whether it is the version or the platform" in found.said


@pytest.fixture
def scene(sqlite_registry: Registry) -> Scene:
    """`b` has just taken the place of `a`, which did well."""
    scene = Scene(sqlite_registry)
    scene.controller.tick()
    _serve(scene, "a", 100, lambda _: False)
    scene.controller.tick()
    for digest in ("a" * 64, "b" * 64):
        if digest[0] == "b":
            scene.registry.versions.publish(
                "acme", "support", digest, manifest={}, evaluation={}, verdict="promote"
            )
        scene.registry.versions.certify(digest, {"passed": True})
    scene.registry.aliases.flip("acme", "support", "b" * 64, at=scene.clock())
    scene.registry.aliases.retire("a" * 64)
    scene.controller.tick()
    return scene


def _serve(
    scene: Scene, digest: str, count: int, failed: Callable[[int], bool], tenant: str = "acme"
) -> None:
    """Traffic now, of the live version in its place; the base answers for nobody."""
    scene.registry.exchanges.add(
        [
            {
                "id": f"chatcmpl-{next(iter(scene.numbers))}", "tenant": tenant,
                "adapter": "support", "digest": digest * 64, "served": "adapter", "role": "live",
                "status": 502 if failed(number) else 200, "latency_ms": 5.0,
                "created_at": scene.clock(),
            }
            for number in range(count)
        ]
    )  # fmt: skip


def _live(scene: Scene) -> str | None:
    return scene.registry.aliases.get("acme", "support").live


def test_a_version_that_answers_5xx_is_rolled_back_with_a_receipt(scene: Scene) -> None:
    _serve(scene, "b", 30, lambda _: True)
    scene.controller.tick()
    (receipt,) = scene.receipts("rollback")
    assert receipt.rule == "slo-burn"
    assert receipt.evidence["failed"]["failed"] == 30
    assert receipt.evidence["reason"].startswith("each of its 30 requests failed")
    assert _live(scene) == "a" * 64
    scene.controller.tick()
    assert len(scene.receipts("rollback")) == 1


def test_a_version_that_could_not_answer_and_left_it_to_the_base_is_rolled_back(
    scene: Scene,
) -> None:
    scene.registry.tenants.create("lex")
    _serve(scene, "b", 60, lambda _: False)
    for _ in range(30):
        _leave_to_base(scene)
        _serve(scene, "c", 1, lambda _: False, tenant="lex")
    scene.controller.tick()
    (receipt,) = scene.receipts("rollback")
    assert receipt.rule == "slo-burn"
    said = "20 of its last 20 requests failed, and 0 of 19 of others' at the same time"
    assert receipt.evidence["reason"] == said


def _leave_to_base(scene: Scene, tenant: str = "acme", why: str = "engine-error") -> None:
    row = {"id": f"chatcmpl-{next(iter(scene.numbers))}", "tenant": tenant, "status": 200,
           "adapter": "support", "digest": None, "served": "base", "latency_ms": 5.0,
           "fallback": why, "created_at": scene.clock()}  # fmt: skip
    scene.registry.exchanges.add([row])


def test_an_overload_in_which_the_base_answers_everybody_takes_no_version_back(
    scene: Scene,
) -> None:
    scene.registry.tenants.create("lex")
    _serve(scene, "b", 60, lambda _: False)
    for _ in range(30):
        for tenant in ("acme", "lex"):
            _leave_to_base(scene, tenant, "deadline")
    scene.controller.tick()
    scene.controller.tick()
    assert scene.receipts("rollback") == []
    assert _live(scene) == "b" * 64


def test_an_outage_of_the_engine_of_a_lone_tenant_is_told_and_takes_no_version_back(
    scene: Scene,
) -> None:
    _serve(scene, "b", 5, lambda _: False)
    scene.controller.tick()
    _serve(scene, "b", 7, lambda _: True)
    scene.controller.tick()
    assert scene.receipts("rollback") == []
    (hold,) = scene.receipts("hold")
    assert hold.rule == "slo-burn"
    assert hold.evidence["reason"].startswith(
        "7 of its last 12 requests failed, and others had too few at the same time (0)"
    )
    assert _live(scene) == "b" * 64


def test_engines_that_fail_everyone_take_no_version_back(scene: Scene) -> None:
    scene.registry.tenants.create("lex")
    _serve(scene, "b", 15, lambda _: True)
    _serve(scene, "c", 30, lambda _: True, tenant="lex")
    _serve(scene, "b", 15, lambda _: True)
    scene.controller.tick()
    _serve(scene, "b", 15, lambda _: False)
    scene.controller.tick()
    assert scene.receipts("rollback") == []
    assert _live(scene) == "b" * 64


def test_what_a_person_took_back_is_not_put_back_by_itself(scene: Scene) -> None:
    scene.registry.roll_back("acme", "support", "olga")
    scene.registry.aliases.retire("b" * 64)
    scene.clock.now = scene.registry.aliases.get("acme", "support").updated_at + 1
    scene.controller.tick()
    _serve(scene, "a", 30, lambda _: True)
    scene.controller.tick()
    assert [receipt.by for receipt in scene.receipts("rollback")] == ["olga"]
    assert [hold.rule for hold in scene.receipts("hold")] == ["slo-burn"]
    assert _live(scene) == "a" * 64


def test_a_rollback_has_its_receipt_where_a_person_left_one_of_the_same_version_before(
    scene: Scene,
) -> None:
    record = scene.registry.decisions.record
    record("acme", "support", "rollback", "asked for", by="olga", digest="b" * 64, at=1.0)
    record("acme", "support", "promote", "effect-and-parity", digest="b" * 64, at=2.0)
    _serve(scene, "b", 30, lambda _: True)
    scene.controller.tick()
    assert _live(scene) == "a" * 64
    assert [receipt.by for receipt in scene.receipts("rollback")] == ["olga", "controller"]


def test_a_failing_version_with_none_before_it_is_told_and_stays(sqlite_registry: Registry) -> None:
    scene = Scene(sqlite_registry)
    scene.controller.tick()
    scene.clock.now = 2e9
    _serve(scene, "a", 30, lambda _: True)
    scene.controller.tick()
    assert [hold.rule for hold in scene.receipts("hold")] == ["slo-burn"]
    assert _live(scene) == "a" * 64
