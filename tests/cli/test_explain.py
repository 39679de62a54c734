"""`switchyard explain`: what it says of an adapter at each point of its life."""

from __future__ import annotations

import getpass
import itertools
import time
from typing import Any

import pytest

from cli.home import Home
from monitoring.controller import Controller
from monitoring.metrics import Metrics
from monitoring.settings import ControllerSettings
from registry import Registry
from registry.exchanges import Exchange
from tests.cli.conftest import Switchyard
from tests.monitoring.world import Asked, questions

LIVE = "a" * 64


def _live(registry: Registry, settings: ControllerSettings | None = None) -> Controller:
    """acme/support with a version that is live."""
    registry.tenants.create("acme")
    registry.adapters.create("acme", "support", "tiny")
    registry.aliases.ensure("acme", "support", "support")
    file = registry.upload("acme", "train.jsonl", b"{}")
    job = registry.jobs.enqueue("acme", "support", file, trigger="cli")
    registry.versions.publish(
        "acme", "support", LIVE, manifest={}, evaluation={}, verdict="promote", job_id=job.id
    )
    assert registry.jobs.lease("worker-1") is not None
    registry.jobs.succeed(job.id, "worker-1", LIVE)
    registry.aliases.flip("acme", "support", LIVE)
    return Controller(registry, settings or ControllerSettings(), Metrics())


_numbers = itertools.count()


def _send(
    registry: Registry,
    questions: tuple[Asked, ...],
    count: int,
    client: str = "OpenAI/Python 2.3.0",
) -> None:
    registry.exchanges.add(
        [
            Exchange(
                id=f"chatcmpl-{next(_numbers)}",
                tenant="acme",
                alias="support",
                adapter="support",
                digest=LIVE,
                served="adapter",
                role="live",
                status=200,
                latency_ms=5.0,
                created_at=time.time(),
                valid=True,
                refused=False,
                sketch=asked.sketch,
                layout=asked.layout,
                client=client,
            )
            for asked in questions[:count]
        ]
    )


def _said(switchyard: Switchyard) -> dict[str, Any]:
    (found,) = switchyard.json("explain", "acme")
    assert isinstance(found, dict)
    return found


def test_before_anything_is_live_it_says_so(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    home_registry.tenants.create("acme")
    assert "acme has no adapter" in switchyard("explain", "acme").output
    home_registry.adapters.create("acme", "support", "tiny")
    assert _said(switchyard)["ruling"] is None
    assert "nothing yet" in switchyard("explain", "acme").output


def test_a_healthy_adapter_and_then_a_broken_client(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    controller = _live(home_registry)
    controller.tick()
    _send(home_registry, questions(False, False), 260)
    controller.tick()
    healthy = _said(switchyard)
    assert healthy["ruling"]["kind"] == "none"
    assert healthy["evidence"]["pipeline"] == "as usual"
    assert healthy["evidence"]["prompts"].startswith("as they were when the reference was taken")
    assert healthy["evidence"]["invalid answers"].startswith("0.0% of late, 0.0% after")
    assert healthy["evidence"]["dislike"] == "nobody has said anything of its answers"
    for row in home_registry.exchanges.since(0)[:50]:
        home_registry.exchanges.give_feedback("acme", row.id, rating=1.0)
    controller.tick()
    said = _said(switchyard)["evidence"]["dislike"]
    assert said.startswith("0.0% of answers (0% to ")
    assert said.endswith("50 words on 260 answers")
    home_registry.exchanges.give_feedback("acme", row.id, correction="other")
    assert _said(switchyard)["evidence"]["of no use"].startswith(
        "1 corrections can't be trained on (1: the prompt is not kept"
    )
    assert healthy["evidence"]["clients"] == "of late: OpenAI/Python 2.3.0 (100%)"
    _send(home_registry, questions(False, True), 60, "OpenAI/Python 3.0.0")
    controller.tick()
    broken = _said(switchyard)
    assert broken["ruling"]["rule"] == "pipeline-changed"
    assert "chat-template markers" in broken["evidence"]["pipeline"]
    cause = "since OpenAI/Python 2.3.0 → OpenAI/Python 3.0.0"
    assert broken["evidence"]["pipeline"].endswith(cause)
    (held,) = broken["history"]
    assert cause in held["said"], "the receipt keeps it"
    assert held["said"].startswith("no retraining: messages are built in another way")
    shown = switchyard("explain", "acme", "--adapter", "support").output
    assert "acme/support" in shown
    assert "hold: messages are built in another way than usual" in shown


def test_a_wish_is_said_until_the_controller_took_it_up(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    controller = _live(home_registry)
    controller.tick()
    accepted = switchyard("adapter", "accept", "support", "--tenant", "acme").output
    assert "takes new references" in accepted
    assert "asked for" in switchyard("adapter", "retrain", "support", "--tenant", "acme").output
    found = _said(switchyard)
    assert (found["ruling"]["kind"], found["ruling"]["rule"]) == ("retrain", "asked")
    assert found["history"][0]["said"].endswith("asked for a retraining")


def test_a_version_that_waits_for_a_person_is_named_with_what_to_type(
    switchyard: Switchyard, home_registry: Registry
) -> None:
    controller = _live(home_registry)
    home_registry.tenants.update("acme", auto_promote=False, rollout="direct")
    file = home_registry.upload("acme", "more.jsonl", b"{}")
    job = home_registry.jobs.enqueue("acme", "support", file, trigger="controller")
    version = home_registry.versions.publish(
        "acme", "support", "b" * 64, manifest={}, evaluation={}, verdict="promote", job_id=job.id
    )
    controller.tick()
    yes, no = (f"switchyard adapter {word} {version.served_name} --tenant acme"
               for word in ("promote", "reject"))  # fmt: skip
    assert _said(switchyard)["evidence"]["candidate"].endswith(f"`{yes}`, or `{no}`")
    home_registry.versions.force(version.digest, "ada")
    assert _said(switchyard)["evidence"]["candidate"].endswith("on its way to traffic")
    said_no = switchyard(*no.split()[1:], "--because", "too terse").output
    assert f"{version.served_name} is rejected, and gets no traffic" in said_no
    again = switchyard(*no.split()[1:]).output
    assert "is rejected already: a person declined it: too terse" in again
    live = switchyard("adapter", "reject", LIVE, "--tenant", "acme", code=1)
    assert "`switchyard adapter rollback` takes it back" in live.stderr
    said = _said(switchyard)
    assert "candidate" not in said["evidence"]
    told = f"{version.served_name} gets no traffic: {getpass.getuser()} declined it: too terse"
    assert said["history"][0]["said"] == told


def test_it_speaks_with_the_settings_of_the_controller_that_runs_elsewhere(
    switchyard: Switchyard, home_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWITCHYARD_CONTROLLER_REFERENCE", "60")
    controller = _live(home_registry, ControllerSettings(reference=300, poll_s=0.5))
    controller.tick()
    own = _said(switchyard)
    assert own["settings"] == "own"
    assert own["evidence"]["prompts"] == "0 of 60 for the reference have come"
    said = "no controller has started yet: figures follow the settings of this command"
    assert said in switchyard("explain", "acme").output
    assert said in switchyard("report").output
    assert switchyard.json("report")["settings"] == "own"
    controller.startup()
    theirs = _said(switchyard)
    assert theirs["settings"] == "controller"
    assert theirs["evidence"]["prompts"] == "0 of 300 for the reference have come"
    assert said not in switchyard("explain", "acme").output
    assert said not in switchyard("report").output
    assert switchyard.json("report")["settings"] == "controller"
    (alias,) = switchyard.json("status")["aliases"]
    assert alias["drift_text"] == "reference 0/300"


def test_a_wrong_setting_of_its_own_is_no_matter_where_a_controller_has_started(
    switchyard: Switchyard, home_registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    _live(home_registry).startup()
    monkeypatch.setenv("SWITCHYARD_CONTROLLER_REFERENCE", "many")
    assert _said(switchyard)["settings"] == "controller"


def test_what_is_not_there_is_named(switchyard: Switchyard, home: Home) -> None:
    assert "tenant 'acme' does not exist" in switchyard("explain", "acme", code=1).stderr
    switchyard("tenant", "create", "acme")
    switchyard("explain", "acme", "--adapter", "support", code=1)
