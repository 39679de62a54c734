"""Adapters at rest: what a look at an idle fleet costs, and what wakes one of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event

from registry import Registry
from tests.monitoring.scene import Scene
from tests.monitoring.tickets import stream


@pytest.fixture
def scene(sqlite_registry: Registry) -> Scene:
    return Scene(sqlite_registry)


@contextmanager
def _statements(registry: Registry) -> Iterator[list[str]]:
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(registry.database.engine, "before_cursor_execute", note)
    yield found
    event.remove(registry.database.engine, "before_cursor_execute", note)


def _tenants(registry: Registry, first: int, count: int) -> None:
    for number in range(first, first + count):
        name, digest = f"idle{number}", f"{number:012x}" + "0" * 52
        registry.tenants.create(name)
        registry.adapters.create(name, "support", "tiny")
        registry.aliases.ensure(name, "support", "support")
        registry.versions.publish(
            name, "support", digest, manifest={}, evaluation={}, verdict="promote"
        )
        registry.aliases.flip(name, "support", digest)


def _cost(scene: Scene) -> list[str]:
    with _statements(scene.registry) as found:
        scene.controller.tick()
    return found


def test_a_tick_asks_the_database_no_more_often_for_more_idle_tenants(scene: Scene) -> None:
    scene.send(stream(1, 20))
    for _ in range(2):
        scene.controller.tick()
    few = len(_cost(scene))
    _tenants(scene.registry, 1, 12)
    looked_at = len(_cost(scene))
    for _ in range(2):
        scene.controller.tick()
    assert len(_cost(scene)) == few
    assert looked_at > few + 12, "and yet everyone is looked at once"


def test_a_tick_reads_no_text_of_what_people_said_or_asked(scene: Scene) -> None:
    scene.correct(3)
    scene.send(stream(1, 20))
    statements = _cost(scene) + _cost(scene)
    for text in ("exchanges.messages", "exchanges.answer", "feedback.correction"):
        asked_for = [re.split("FROM|WHERE", s)[0] for s in statements]
        read = [s for s in asked_for if re.search(rf"{text}\b(?! IS NOT NULL)", s)]
        assert not read
    assert scene.gauge("corrections_pending", tenant="acme") == 3


def _looks(scene: Scene) -> bool:
    return any("FROM exchanges" in s and "LIMIT" in s for s in _cost(scene))


def test_what_is_new_wakes_an_adapter(scene: Scene) -> None:
    registry = scene.registry
    scene.controller.tick()
    scene.controller.tick()
    assert not _looks(scene)
    scene.send(stream(1, 20))
    assert _looks(scene)
    assert not _looks(scene)
    registry.exchanges.give_feedback("acme", "chatcmpl-1", rating=-1.0)
    assert _looks(scene)
    assert not _looks(scene)
    registry.versions.certify("a" * 64, {"again": {"passed": False, "reason": "other answers"}})
    assert _looks(scene)
    assert scene.gauge("artifact_changed", tenant="acme") == 1
    assert _looks(scene), "what is wrong is looked at until it is mended"
    registry.versions.certify("a" * 64, {"again": {"passed": True}})
    assert _looks(scene)
    assert not _looks(scene)


def test_a_wish_keeps_an_adapter_awake_until_it_is_done(scene: Scene) -> None:
    scene.controller.tick()
    scene.controller.tick()
    scene.correct(6)
    wish = scene.registry.decisions.record
    wish("acme", "support", "ask", "asked", by="kim", at=scene.clock())
    scene.controller.tick()
    assert len(scene.receipts("retrain")) == 1
    assert _looks(scene)
    assert _looks(scene), "what comes of it is to be told"
    (job,) = scene.registry.jobs.all("acme", "support", active=True)
    scene.registry.jobs.cancel(job.id)
    scene.controller.tick()
    assert scene.receipts("retrain")[0].realised == {"outcome": "job-cancelled", "code": None}
    assert not _looks(scene)
