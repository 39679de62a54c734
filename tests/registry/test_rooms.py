"""Rooms: what a running process decides by, told to the others."""

from __future__ import annotations

from registry import Registry


def test_the_process_that_started_last_is_told(registry: Registry) -> None:
    assert registry.rooms.get("controller") is None
    registry.rooms.start("controller", {"reference": 200, "rollout_weights": "0.1"}, at=10.0)
    registry.rooms.start("controller", {"reference": 300}, at=20.0)
    room = registry.rooms.get("controller")
    assert room is not None
    assert (room.settings, room.started_at) == ({"reference": 300}, 20.0)


def test_what_routers_follow_does_not_move_with_it(registry: Registry) -> None:
    before = registry.revision()
    registry.rooms.start("controller", {"reference": 200})
    assert registry.revision() == before
