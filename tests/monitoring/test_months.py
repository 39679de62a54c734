"""Ten months of seven tenants in compressed time: is every decision the right one?"""

from __future__ import annotations

import pytest

from monitoring.settings import ControllerSettings
from registry import Registry
from tests.monitoring.world import DAY_S, MONTH, Player, Skill, World

SETTINGS = ControllerSettings(
    reference=60,
    false_alarms_per_week=0.02,  # one a year, of all seven together
    min_corrections=20,
    cooldown_s=2 * DAY_S,
    pipeline_patience_s=30 * DAY_S,
    rollout_shadow=20,
    rollout_shadow_share=1.0,
    rollout_requests=20,
    rollout_patience_s=2 * DAY_S,
)
BAD = Skill(ordinary=0.95, new=0.9, form=0.4)


def _players() -> list[Player]:
    return [
        Player("early", new=lambda day: 0.6 if day >= 45 else 0.0),
        Player("middle", new=lambda day: 0.6 if day >= 110 else 0.0),
        Player("late", new=lambda day: 0.6 if day >= 200 else 0.0),
        Player("broken", broken=lambda day: 80 <= day < 92),
        Player(
            "unlucky",
            new=lambda day: 0.6 if day >= 60 else 0.0,
            learns=[BAD, Skill(new=0.9)],
        ),
        Player("bursty", requests=lambda day: 40 if day % 9 == 0 else 6),
        Player("silent", new=lambda day: 0.6 if day >= 70 else 0.0, says=0.0),
    ]


@pytest.mark.slow
def test_over_ten_months_every_decision_is_the_right_one(sqlite_registry: Registry) -> None:
    world = World(sqlite_registry, _players(), SETTINGS)
    alarmed: list[int] = []

    def look(now: World) -> None:
        if now.day % 40 == 39:
            now.restart()  # killed now and then: nothing is lost, nothing done twice
        if now.gauge("pipeline_changed", "broken"):
            alarmed.append(now.day)

    world.live(10 * MONTH, look)

    for tenant, began in (("early", 45), ("middle", 110), ("late", 200)):
        (retrained,) = world.days(tenant, "retrain")
        assert began < retrained <= began + 25, f"{tenant} was retrained on day {retrained}"
        kinds = [receipt.kind for receipt in world.receipts(tenant) if receipt.kind != "watch"]
        assert kinds[-1] == "promote"
        assert kinds.count("canary") == 3
        (receipt,) = world.receipts(tenant, "retrain")
        assert receipt.rule == "sustained-drift-with-corrections"
        assert receipt.realised is not None
        assert receipt.realised["outcome"] == "promoted"
        assert receipt.realised["gain"] == pytest.approx(0.7)

    holds = world.receipts("broken", "hold")
    assert [hold.rule for hold in holds] == ["pipeline-changed"]
    assert "chat-template markers" in holds[0].evidence["reason"]
    assert 80 <= world.days("broken", "hold")[0] <= 92
    assert alarmed
    assert set(alarmed) <= set(range(80, 100)), "the alert ends when the client is mended"
    assert world.receipts("broken", "retrain", "rollback", "promote", "reject") == []

    kinds = [
        r.kind for r in world.receipts("unlucky") if r.kind in ("retrain", "reject", "promote")
    ]
    assert kinds == ["retrain", "reject", "retrain", "promote"]
    (reject,) = world.receipts("unlucky", "reject")
    assert reject.rule == "shadow-harm:invalid"
    month = world.days("unlucky", "reject")[0] // MONTH
    assert world.served["unlucky"][month, "harmed"] == 0, "no client saw the bad one"
    first, second = world.receipts("unlucky", "retrain")
    assert first.realised is not None and first.realised["outcome"] == "rejected"
    assert second.created_at - first.created_at >= 4 * DAY_S, "a failure doubles the wait"

    kinds = [receipt.kind for receipt in world.receipts("bursty")]
    assert kinds in ([], ["watch"]), "a false alarm is within the budget; a retraining is not"

    moved = ("early", "middle", "late", "unlucky", "silent")
    false = sum(len(world.receipts(tenant, "watch")) for tenant in world.players) - len(moved)
    assert 0 <= false <= 1, "43 weeks at one false alarm a year, and two days' part at the start"

    silent = world.receipts("silent")
    assert [(r.kind, r.rule) for r in silent] == [
        ("watch", "drift-crossed-threshold"),
        ("hold", "waiting-for-corrections"),
    ]


@pytest.mark.slow
def test_without_shadows_a_bad_version_is_stopped_as_a_canary_with_little_harm(
    sqlite_registry: Registry,
) -> None:
    unlucky = Player(
        "unlucky",
        requests=lambda _: 100,
        new=lambda day: 0.6 if day >= 5 else 0.0,
        learns=[BAD],
    )
    settings = ControllerSettings(
        reference=200,
        min_corrections=20,
        cooldown_s=100 * DAY_S,
        rollout_shadow=0,
        rollout_requests=20,
        rollout_patience_s=2 * DAY_S,
    )
    world = World(sqlite_registry, [unlucky], settings)
    world.live(MONTH)
    (reject,) = world.receipts("unlucky", "reject")
    assert reject.rule == "canary-harm:invalid"
    served = world.served["unlucky"]
    assert 0 < served[0, "harmed"] < 0.02 * served[0, "requests"]
    assert world.registry.aliases.get("unlucky", "support").canary is None


@pytest.mark.slow
def test_a_version_that_goes_bad_after_its_promotion_is_taken_back(
    sqlite_registry: Registry,
) -> None:
    player = Player("sour", requests=lambda _: 60, learns=[Skill()])
    world = World(sqlite_registry, [player], SETTINGS)
    old = world.registry.aliases.get("sour", "support").live
    world.live(10)
    world.registry.decisions.record("sour", "support", "ask", "asked", by="ada")
    world.live(12)
    (retrain,) = world.receipts("sour", "retrain")
    assert (retrain.rule, retrain.evidence["reason"][:9]) == ("asked", "ada asked")
    new = world.registry.aliases.get("sour", "support").live
    assert new is not None
    assert new != old
    world.skills[new] = Skill(form=0.3)
    world.live(4, lambda now: now.restart())
    (back,) = world.receipts("sour", "rollback")
    assert back.rule == "quality-down-after-promotion"
    assert back.evidence["quality"]["invalid"]["lately"] > 0.4
    assert world.registry.aliases.get("sour", "support").live == old
    assert world.registry.versions.get(new).state == "rejected"
    (retrain,) = world.receipts("sour", "retrain")
    assert retrain.realised is not None
    assert retrain.realised["outcome"] == "rolled-back"


def test_no_rollout_goes_on_and_no_alert_falls_silent_while_the_pipeline_is_broken(
    sqlite_registry: Registry,
) -> None:
    player = Player("bent", requests=lambda _: 60, learns=[Skill()], broken=lambda day: day >= 13)
    world = World(sqlite_registry, [player], SETTINGS)
    world.live(10)
    world.registry.decisions.record("bent", "support", "ask", "asked", by="ada")
    world.live(10)
    assert world.gauge("pipeline_changed", "bent") == 1
    assert all(day <= 13 for day in world.days("bent", "shadow", "canary"))
    assert world.receipts("bent", "promote") == []
    held = [receipt.rule for receipt in world.receipts("bent", "hold")]
    assert held.count("rollout-pipeline-changed") == 1

    way = world.registry.aliases.get("bent", "support").canary
    assert way is not None
    world.registry.aliases.flip("bent", "support", way)  # a person's promotion
    world.live(2, lambda now: now.restart())
    assert world.gauge("pipeline_changed", "bent") == 1, "a promotion mends no pipeline"

    world.players["bent"].broken = lambda _: False
    world.live(3)
    assert world.gauge("pipeline_changed", "bent") == 0
