"""The controller on a real registry: what it decides, once each, and where it goes on."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from monitoring.settings import ControllerSettings
from monitoring.sketch import sketch
from registry import Registry
from registry.decisions import DriftState
from registry.errors import Superseded
from registry.job import Job
from registry.settings import SettingsError, load
from registry.versions import Version
from tests.monitoring.scene import SETTINGS, Scene
from tests.monitoring.tickets import prompt, stream


@pytest.fixture
def scene(sqlite_registry: Registry) -> Scene:
    return Scene(sqlite_registry)


def _drifted(scene: Scene, corrections: int = 0) -> Scene:
    scene.controller.tick()
    scene.send(stream(1, 160))
    scene.controller.tick()
    scene.send(stream(2, 150, share=0.8))
    scene.correct(corrections)
    return scene


def test_ordinary_traffic_leads_to_no_decision(scene: Scene) -> None:
    scene.controller.tick()
    scene.send(stream(1, 300))
    scene.controller.tick()
    assert scene.registry.decisions.all() == []
    assert scene.gauge("drift_active", tenant="acme") == 0
    assert scene.gauge("drift_reference_prompts", tenant="acme") == 60


def test_drift_is_watched_once_and_held_until_corrections_came(scene: Scene) -> None:
    _drifted(scene)
    for _ in range(3):
        scene.controller.tick()
    assert len(scene.receipts("watch")) == 1
    (hold,) = scene.receipts("hold")
    assert hold.rule == "waiting-for-corrections"
    assert "0 of 5" in hold.evidence["reason"]
    assert scene.gauge("drift_active", tenant="acme") == 1
    statistic = scene.gauge("drift_statistic", tenant="acme")
    threshold = scene.gauge("drift_threshold", tenant="acme")
    assert statistic is not None and threshold is not None
    assert statistic >= threshold


def test_what_a_person_accepts_is_usual_from_then_on(scene: Scene) -> None:
    _drifted(scene)
    scene.controller.tick()
    watcher = scene.controller._watchers["acme", "support"]
    spent = watcher.detector.purse.spent
    scene.registry.decisions.record("acme", "support", "ask", "accept", by="ada")
    for _ in range(2):
        scene.new_controller().tick()
    assert scene.gauge("drift_active", tenant="acme") == 0
    assert scene.gauge("drift_statistic", tenant="acme") == 0
    crossed, accepted = scene.receipts("watch")
    assert (crossed.rule, accepted.rule) == ("drift-crossed-threshold", "accepted")
    assert accepted.evidence["statistic"] >= accepted.evidence["threshold"], "what was accepted"
    assert accepted.evidence["reason"] == "ada asked for it"
    assert scene.receipts("retrain") == [], "that is another wish"
    state = scene.registry.decisions.drift_state("acme", "support")
    assert state is not None
    assert state.state["detector"]["purse"]["spent"] == spent, "what was staked is staked"

    scene.send(stream(5, 160, share=0.8))
    scene.controller = scene.new_controller()
    scene.controller.tick()
    assert scene.gauge("drift_active", tenant="acme") == 0, "it is ordinary now"
    words = ("где", "мой", "заказ", "когда", "придёт", "не работает", "почему", "счёт", "деньги")
    new = itertools.islice(itertools.permutations(words, 4), 0, 3000, 37)
    scene.send([sketch(prompt(" ".join(some))) for some in new])
    scene.controller.tick()
    rules = [receipt.rule for receipt in scene.receipts("watch")]
    assert rules == ["drift-crossed-threshold", "accepted", "drift-crossed-threshold"]


def test_enough_corrections_show_by_themselves_what_was_learned_and_a_golden_set_goes_along(
    scene: Scene,
) -> None:
    golden = scene.registry.upload("acme", "golden.jsonl", b"{}")
    with scene.registry.database.write() as session:
        session.execute(update(Job).values(validation_file=golden))
    _drifted(scene, corrections=44)
    for _ in range(2):
        scene.controller.tick()
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    assert job.spec["gain_on"] == "corrected-0"
    assert job.validation_file == golden
    (receipt,) = scene.receipts("retrain")
    assert receipt.evidence["rows"]["held_out"] == 11
    scene.finish(job, "b" * 64, exact=0.91, before=0.9)
    learned = {"slice": "corrected-0", "against_parent": {"gain": 0.75}}
    with scene.registry.database.write() as session:
        session.execute(
            update(Version).where(Version.digest == "b" * 64).values(reasons={"gain_on": learned})
        )
    scene.promote("b" * 64)
    scene.controller.tick()
    (receipt,) = scene.receipts("retrain")
    assert receipt.realised is not None
    assert receipt.realised["gain"] == 0.75, "on what it was to learn"


def test_an_adapter_without_options_of_its_own_is_trained_as_its_live_version_was(
    scene: Scene,
) -> None:
    scene.registry.adapters.update("acme", "support", training={})
    spec = {"objective": "sft", "rank": 4, "seed": 7, "suffix": "x", "parent": "c" * 64}
    with scene.registry.database.write() as session:
        session.execute(update(Job).values(spec=spec))
    _drifted(scene, corrections=6)
    for _ in range(2):
        scene.controller.tick()
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    kept = {"objective": "sft", "rank": 4}
    assert job.spec == {**kept, "parent": "a" * 64, "keep_good_rows": True}


def test_corrections_that_its_objective_cannot_learn_from_hold_it(scene: Scene) -> None:
    scene.registry.adapters.update("acme", "support", training={"objective": "pretrain"})
    _drifted(scene, corrections=6)
    for _ in range(2):
        scene.controller.tick()
    assert scene.registry.jobs.all("acme", "support", active=True) == []
    assert [hold.rule for hold in scene.receipts("hold")] == ["corrections-unfit"]
    scene.registry.decisions.record("acme", "support", "ask", "asked", by="ada")
    scene.new_controller().tick()
    assert [receipt.rule for receipt in scene.receipts("retrain")] == ["asked"], "of the old rows"


def test_drift_is_not_answered_by_what_was_corrected_before_it_but_learns_from_that_too(
    scene: Scene,
) -> None:
    scene.correct(6)
    _drifted(scene, corrections=4)
    for _ in range(2):
        scene.controller.tick()
    (hold,) = scene.receipts("hold")
    assert "4 of 5 corrected examples of prompts since drift began" in hold.evidence["reason"]
    scene.correct(1)
    scene.new_controller().tick()
    (receipt,) = scene.receipts("retrain")
    assert receipt.rule == "sustained-drift-with-corrections"
    assert receipt.evidence["rows"]["corrected"] == 11


def test_drift_with_corrections_enqueues_one_retraining_with_a_receipt(scene: Scene) -> None:
    _drifted(scene, corrections=6)
    for _ in range(3):
        scene.controller.tick()
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    assert job.trigger == "controller"
    assert job.idempotency_key == "retrain:acme:support:0"
    assert job.spec == {"rank": 8, "parent": "a" * 64, "keep_good_rows": True}
    (receipt,) = scene.receipts("retrain")
    assert receipt.job_id == job.id
    assert receipt.evidence["rows"] == {
        "replayed": 20, "corrected": 6, "superseded": 0, "unreadable": 2, "held_out": 0, "unfit": 0,
    }  # fmt: skip
    assert receipt.expected == {"compared": 6, "exact_on_corrected": 0.0, "gain_at_most": 1.0}
    rows = [
        json.loads(line) for line in scene.registry.content("acme", job.training_file).splitlines()
    ]
    assert len(rows) == 26
    assert rows[-1]["messages"][-1] == {"role": "assistant", "content": "smart-home"}
    assert scene.registry.corrections.of("acme", "support") == []
    assert scene.gauge("corrections_pending", tenant="acme") == 0
    assert scene.gauge("jobs", state="queued") == 1


def test_a_promotion_starts_a_new_reference_and_scores_the_receipt(scene: Scene) -> None:
    _drifted(scene, corrections=6)
    scene.controller.tick()
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    scene.finish(job, "b" * 64, exact=0.92, before=0.55)
    scene.controller.tick()
    assert scene.receipts("retrain")[0].realised is None
    scene.promote("b" * 64)
    scene.controller.tick()
    realised = scene.receipts("retrain")[0].realised
    assert realised is not None
    assert (realised["outcome"], realised["gain"]) == ("promoted", 0.37)
    state = scene.registry.decisions.drift_state("acme", "support")
    assert state is not None
    assert state.epoch == 1
    assert scene.gauge("drift_active", tenant="acme") == 0
    assert scene.gauge("drift_reference_prompts", tenant="acme") == 0
    scene.send(stream(9, 200, share=0.8))
    scene.controller.tick()
    assert scene.gauge("drift_active", tenant="acme") == 0, "what it was retrained for is ordinary"


def test_a_rejected_retraining_is_scored_and_tried_again_after_twice_the_cooldown(
    scene: Scene,
) -> None:
    _drifted(scene, corrections=6)
    scene.controller.tick()
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    scene.finish(job, "b" * 64, exact=0.4, before=0.55)
    scene.registry.versions.move("b" * 64, "rejected", {"summary": "worse than its parent"})
    scene.correct(6)
    scene.controller.tick()
    realised = scene.receipts("retrain")[0].realised
    assert realised is not None
    assert realised["outcome"] == "rejected"
    assert scene.receipts("hold")[-1].rule == "cooldown"
    scene.clock.now += 1001
    scene.controller.tick()
    assert scene.registry.jobs.all("acme", "support", active=True) == []
    scene.clock.now += 1000
    scene.controller.tick()
    (again,) = scene.registry.jobs.all("acme", "support", active=True)
    assert again.idempotency_key == "retrain:acme:support:0:2"


def test_a_declined_version_waits_no_more_and_counts_as_a_retraining_in_vain(
    scene: Scene,
) -> None:
    scene.registry.tenants.update("acme", auto_promote=False, rollout="direct")
    _drifted(scene, corrections=6)
    scene.controller.tick()
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    scene.finish(job, "b" * 64, exact=0.92, before=0.55)
    scene.controller.tick()
    assert scene.gauge("rollouts_waiting", tenant="acme") == 1
    scene.registry.decline("b" * 64, "ada", "too terse")
    scene.controller.tick()
    assert scene.gauge("rollouts_waiting", tenant="acme") == 0
    realised = scene.receipts("retrain")[0].realised
    assert realised is not None
    assert realised["outcome"] == "rejected"
    assert len(scene.registry.corrections.of("acme", "support")) == 6, "they wait again"
    hold = scene.receipts("hold")[-1]
    assert (hold.rule, "2000 s are wanted, after 1 in vain" in hold.evidence["reason"]) == (
        "cooldown", True
    )  # fmt: skip
    assert [d.by for d in scene.receipts("reject")] == ["ada"], "one receipt, the person's"


def test_an_alerts_wish_waits_for_corrections_and_a_persons_does_not(scene: Scene) -> None:
    scene.controller.tick()
    decisions = scene.registry.decisions
    asked = decisions.record("acme", "support", "ask", "alert", by="alert AnswersBad")
    scene.clock.now = asked.created_at + 1
    scene.controller.tick()
    assert [hold.rule for hold in scene.receipts("hold")] == ["waiting-for-corrections"]
    scene.correct(5)
    scene.controller.tick()
    (receipt,) = scene.receipts("retrain")
    assert receipt.rule == "alerted"
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    scene.registry.jobs.cancel(job.id)
    decisions.record("acme", "support", "ask", "asked", by="ada", at=scene.clock())
    scene.controller.tick()
    assert [r.rule for r in scene.receipts("retrain")] == ["alerted", "asked"]


def test_an_alert_from_before_the_promotion_asks_for_nothing(scene: Scene) -> None:
    scene.correct(5)
    scene.registry.decisions.record("acme", "support", "ask", "alert", by="alert X", at=1.0)
    scene.controller.tick()
    scene.controller.tick()
    assert scene.receipts("retrain") == []


@pytest.mark.parametrize("end", ["failed", "rejected", "rolled-back"])
def test_corrections_of_a_retraining_that_came_to_nothing_wait_again(
    scene: Scene, end: str
) -> None:
    _drifted(scene, corrections=6)
    scene.controller.tick()
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    if end == "failed":
        leased = scene.registry.jobs.lease("worker-1")
        assert leased is not None
        scene.registry.jobs.fail(job.id, "worker-1", "out_of_memory", "no room")
    else:
        scene.finish(job, "b" * 64)
        if end == "rejected":
            scene.registry.versions.move("b" * 64, "rejected", {"summary": "worse"})
        else:
            scene.promote("b" * 64)
            scene.controller.tick()
            assert scene.gauge("corrections_pending", tenant="acme") == 0, "they were learnt"
            watcher = scene.controller._watchers["acme", "support"]
            scene.registry.versions.certify("a" * 64, {"passed": True})
            why = {"rule": "worse", "evidence": {"reason": "worse"}}
            watcher.memory["back"] = {"digest": "b" * 64, **why}
            watcher.save()
            scene.controller = scene.new_controller()  # which looks at everyone once
    scene.controller.tick()
    assert scene.gauge("corrections_pending", tenant="acme") == 6
    scene.correct(6)
    scene.clock.now += 3000
    scene.send(stream(4, 200, share=0.8))
    scene.controller.tick()
    if end != "rolled-back":  # the drift that the first was for is still there
        (again,) = scene.registry.jobs.all("acme", "support", active=True)
        assert scene.receipts("retrain")[-1].evidence["rows"]["corrected"] == 12
        assert len(scene.registry.content("acme", again.training_file).splitlines()) == 32


def test_what_the_budget_holds_costs_no_reading_of_texts(
    sqlite_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(sqlite_registry, replace(SETTINGS, jobs_at_once=1))
    scene.registry.tenants.create("lex")
    scene.registry.adapters.create("lex", "briefs", "tiny")
    file = scene.registry.upload("lex", "train.jsonl", b"{}")
    under_way = scene.registry.jobs.enqueue("lex", "briefs", file, trigger="controller")
    _drifted(scene, corrections=6)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("texts were read")

    with monkeypatch.context() as patch:
        for name in ("of", "answers"):
            patch.setattr(scene.registry.corrections, name, read)
        patch.setattr(scene.registry, "content", read)
        for _ in range(2):
            scene.controller.tick()
    assert scene.gauge("tick_errors_total") == 0
    assert [hold.rule for hold in scene.receipts("hold")] == ["budget"]
    assert scene.gauge("jobs", state="queued") == 1
    scene.registry.jobs.cancel(under_way.id)
    scene.controller.tick()
    (receipt,) = scene.receipts("retrain")
    assert receipt.evidence["rows"]["corrected"] == 6
    assert receipt.expected["compared"] == 6


def test_the_tenant_can_say_no(scene: Scene) -> None:
    scene.registry.tenants.update("acme", auto_retrain=False)
    _drifted(scene, corrections=6)
    scene.controller.tick()
    assert [hold.rule for hold in scene.receipts("hold")] == ["tenant-policy"]
    assert scene.registry.jobs.all("acme", "support", active=True) == []


def test_a_lost_training_file_holds_and_says_so(scene: Scene) -> None:
    first = scene.registry.jobs.all("acme", "support")[0]
    scene.registry.files.delete("acme", first.training_file)
    _drifted(scene, corrections=6)
    scene.controller.tick()
    assert [hold.rule for hold in scene.receipts("hold")] == ["no-training-file"]


def test_a_new_reason_to_hold_is_a_new_receipt(scene: Scene) -> None:
    _drifted(scene)
    scene.controller.tick()
    scene.registry.tenants.update("acme", auto_retrain=False)
    scene.controller.tick()
    scene.controller.tick()
    assert [hold.rule for hold in scene.receipts("hold")] == [
        "waiting-for-corrections",
        "tenant-policy",
    ]


def test_refused_requests_are_no_prompts_but_fallbacks_are(scene: Scene) -> None:
    scene.controller.tick()
    scene.send(stream(1, 20), status=429)
    scene.send(stream(2, 10), fallback="deadline")
    scene.controller.tick()
    assert scene.gauge("drift_reference_prompts", tenant="acme") == 10


def test_copies_for_a_shadow_are_not_counted_twice(scene: Scene) -> None:
    scene.controller.tick()
    scene.send(stream(1, 10))
    scene.send(stream(1, 10), shadow_of="chatcmpl-0")
    scene.controller.tick()
    assert scene.gauge("drift_reference_prompts", tenant="acme") == 10


def test_a_restarted_controller_goes_on_where_it_stood(registry: Registry) -> None:
    scene = Scene(registry)  # on both databases: this is what the kept arrays are for
    traffic = [*stream(1, 160), *stream(2, 150, share=0.8)]
    scene.controller.tick()
    for start in range(0, len(traffic), 40):
        scene.send(traffic[start : start + 40])
        scene.new_controller().tick()
    assert len(scene.receipts("watch")) == 1
    assert [hold.rule for hold in scene.receipts("hold")] == ["waiting-for-corrections"]
    whole = scene.registry.decisions.drift_state("acme", "support")
    assert whole is not None
    assert whole.cursor == scene.registry.exchanges.last_number()


@pytest.mark.parametrize("broken", ["enqueue", "mark_used", "record"])
def test_killed_between_deciding_and_doing_it_loses_and_doubles_nothing(
    scene: Scene, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _drifted(scene, corrections=6)
    owner = {
        "enqueue": scene.registry.jobs,
        "mark_used": scene.registry.corrections,
        "record": scene.registry.decisions,
    }[broken]
    scene.registry.decisions.record(  # the watch receipt is there already, so `record` is retrain's
        "acme", "support", "watch", "drift-crossed-threshold", evidence={"epoch": 0}
    )

    def killed(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patch:
        patch.setattr(owner, broken, killed)
        with pytest.raises(SystemExit):
            scene.controller.tick()
    scene.controller = scene.new_controller()
    scene.controller.tick()
    scene.controller.tick()
    assert len(scene.registry.jobs.all("acme", "support", active=True)) == 1
    assert len(scene.receipts("retrain")) == 1
    assert scene.registry.corrections.of("acme", "support") == []


def test_of_two_controllers_that_decide_at_once_one_is_heard(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = scene.new_controller()
    _drifted(scene, corrections=6)
    spend = scene.controller._spend

    def late(proposals: list[Any]) -> None:
        other.tick()  # while this one has made up its mind
        spend(proposals)

    with monkeypatch.context() as patch:
        patch.setattr(scene.controller, "_spend", late)
        scene.controller.tick()
    for controller in (scene.controller, other, scene.controller):
        controller.tick()
    assert len(scene.registry.jobs.all("acme", "support", active=True)) == 1
    assert len(scene.receipts("retrain")) == 1
    assert len(scene.receipts("watch")) == 1
    names = [file.filename for file in scene.registry.files.all("acme")]
    assert names.count("retrain-support-0.jsonl") == 1, "what the other one made is gone"


def test_a_job_that_is_there_already_gets_no_second_receipt(scene: Scene) -> None:
    _drifted(scene, corrections=6)
    scene.controller.tick()
    (row,) = scene.registry.decisions.drift_states()
    (first,) = scene.receipts("retrain")
    plan = {
        "key": "retrain:acme:support:0", "file": "", "feedback": [], "rule": "asked", "at": 2.0,
        "spec": first.evidence | {"parent": "a" * 64}, "evidence": {}, "expected": {},
    }  # fmt: skip
    row.state = {**row.state, "memory": {**row.state["memory"], "pending": plan}}
    scene.registry.decisions.save_drift_state(row)  # as a backup would bring it back
    scene.new_controller().tick()
    assert scene.receipts("retrain")[0].id == first.id
    assert len(scene.receipts("retrain")) == 1


def test_one_adapters_trouble_leaves_the_others_be(scene: Scene) -> None:
    scene.registry.tenants.create("aaa")
    scene.registry.adapters.create("aaa", "first", "tiny")
    broken = DriftState(tenant="aaa", adapter="first", state={"memory": {"pending": {}}})
    scene.registry.decisions.save_drift_state(broken)
    _drifted(scene, corrections=6)
    scene.controller.tick()
    assert scene.gauge("tick_errors_total") == 3
    assert len(scene.receipts("retrain")) == 1


def test_a_first_look_that_never_ends_is_seen_to_get_old(scene: Scene) -> None:
    assert scene.gauge("last_tick_timestamp_seconds") == 0
    before = scene.clock()
    scene.controller.startup()
    assert before < (scene.gauge("last_tick_timestamp_seconds") or 0) < scene.clock()


def test_engines_and_versions_show(scene: Scene) -> None:
    scene.controller.startup()
    scene.registry.engines.register("e1", "http://x:1", "tiny", max_loras=4, max_lora_rank=16)
    scene.controller.tick()
    assert scene.gauge("engine_up", engine="e1") == 0
    scene.registry.engines.heartbeat("e1", "ready")
    scene.controller.tick()
    assert scene.gauge("engine_up", engine="e1") == 1
    assert scene.gauge("engine_restarts_total") == 0
    scene.registry.engines.register("e1", "http://x:1", "tiny", max_loras=4, max_lora_rank=16)
    scene.controller.tick()
    assert scene.gauge("engine_restarts_total") == 1
    served = f"support@{'a' * 12}"
    assert scene.gauge("version_info", tenant="acme", alias="support", version=served) == 1
    scene.controller.shutdown(timeout=1)


def test_the_budget_of_false_alarms_is_shared_by_the_adapters_that_are_live(scene: Scene) -> None:
    scene.controller.tick()
    scene.send(stream(1, 120))
    scene.controller.tick()
    assert _purse(scene)["share"] == 1.0
    scene.registry.adapters.create("acme", "other", "tiny")
    scene.registry.aliases.ensure("acme", "other", "other")
    scene.registry.versions.publish(
        "acme", "other", "b" * 64, manifest={}, evaluation={}, verdict="promote"
    )
    scene.registry.aliases.flip("acme", "other", "b" * 64)
    scene.send(stream(2, 20))
    scene.controller.tick()
    assert _purse(scene)["share"] == 0.5


def test_a_state_of_an_earlier_release_grants_no_new_budget_and_drift_is_told_again(
    scene: Scene,
) -> None:
    _drifted(scene)
    scene.controller.tick()
    (row,) = scene.registry.decisions.drift_states()
    assert row.state["memory"]["watched"]
    spent = row.state["detector"]["purse"]["spent"]
    earlier = {**row.state, "detector": {**row.state["detector"], "format": 3}}
    row.state, row.arrays = earlier, b"of another layout"
    scene.registry.decisions.save_drift_state(row)
    scene.controller = scene.new_controller()
    scene.controller.tick()
    detector = scene.controller._watchers["acme", "support"].detector
    assert not detector.watching
    assert detector.purse.spent == spent > 0
    scene.send(stream(5, 160))
    scene.controller.tick()
    scene.send(stream(6, 150, share=0.8))
    scene.controller.tick()
    assert len(scene.receipts("watch")) == 2


def test_a_promotion_grants_no_new_budget(scene: Scene) -> None:
    scene.controller.tick()
    scene.send(stream(1, 120))
    scene.controller.tick()
    before = _purse(scene)
    scene.registry.versions.publish(
        "acme", "support", "c" * 64, manifest={}, evaluation={}, verdict="promote"
    )
    scene.promote("c" * 64)
    scene.controller.tick()
    assert scene.gauge("drift_reference_prompts", tenant="acme") == 0
    assert before["spent"] > 0
    assert _purse(scene) == before


@pytest.mark.parametrize("mid_look", [False, True], ids=["between looks", "during a look"])
def test_a_tenant_of_the_same_name_inherits_nothing(scene: Scene, mid_look: bool) -> None:
    scene.controller.tick()
    scene.send(stream(1, 1000))
    scene.controller.tick()
    counted = scene.gauge("drift_control_promised_total")
    old = scene.controller._watchers["acme", "support"]
    assert counted is not None and counted > 0 and old.detector.reference_size > 0
    scene.registry.tenants.delete("acme")
    scene.registry.tenants.create("acme")
    scene.registry.adapters.create("acme", "support", "tiny")
    scene.registry.aliases.ensure("acme", "support", "support")
    scene.registry.versions.publish(
        "acme", "support", "a" * 64, manifest={}, evaluation={}, verdict="promote"
    )
    scene.promote("a" * 64)
    if mid_look:
        with pytest.raises(Superseded):
            old.save()
    scene.controller.tick()
    assert scene.gauge("drift_reference_prompts", tenant="acme") == 0
    scene.send(stream(2, 1000))
    scene.controller.tick()
    state = scene.registry.decisions.drift_state("acme", "support")
    assert state is not None
    theirs = state.state["control"]["promised"]
    assert theirs > 0
    assert scene.gauge("drift_control_promised_total") == pytest.approx(counted + theirs)


def test_a_stream_without_drift_runs_beside_and_is_counted(scene: Scene) -> None:
    scene.controller.tick()
    scene.send(stream(1, 1000))  # one control prompt for eight, and its reference comes first
    scene.controller.tick()
    promised = scene.gauge("drift_control_promised_total")
    assert promised is not None
    assert 0 < promised < 1
    assert scene.gauge("drift_control_alarms_total") == 0


def _purse(scene: Scene) -> dict[str, Any]:
    state = scene.registry.decisions.drift_state("acme", "support")
    assert state is not None
    purse: dict[str, Any] = state.state["detector"]["purse"]
    return purse


def test_settings_are_held_to_their_ranges() -> None:
    prefix = "SWITCHYARD_CONTROLLER_"
    assert load(ControllerSettings, prefix, {prefix + "REFERENCE": "150"}).drift.reference == 150
    with pytest.raises(SettingsError, match="REFERENCE='5': expected a number from 40 to 400"):
        load(ControllerSettings, prefix, {prefix + "REFERENCE": "5"})
