"""Engines over HTTP: which there are, how they do, what sits in them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from registry import Registry
from registry.engines import Engine, Placement
from router.admin.errors import answers
from router.admin.fields import (
    AfterId,
    Deleted,
    EngineId,
    Limit,
    Page,
    Shape,
    by_name,
    ends,
    whole,
)
from router.errors import Conflict

_FRESH_S = 15.0


class Placed(Shape):
    """A version that sits in an engine ("warm"), or that it could not load ("failed")."""

    version: str = Field(description="Its digest.")
    state: str
    reason: str
    load_ms: float
    updated_at: int


class EngineShape(Shape):
    """A vLLM replica."""

    object: Literal["engine"] = "engine"
    id: str
    url: str
    base: str
    state: Literal["starting", "ready", "draining", "down"]
    started_at: int
    heartbeat_at: int
    heartbeat_age_s: float = Field(description="Routers leave one alone that is silent for long.")
    max_loras: int = Field(description="Slots: distinct adapters in one step.")
    max_lora_rank: int
    max_cpu_loras: int = Field(description="Adapters that it keeps in memory.")
    max_num_seqs: int = Field(description="Requests that it works on at once.")
    placements: list[Placed]


class EnginePage(Page[EngineShape]):
    """Engines, by id."""


def routes(registry: Registry) -> APIRouter:
    """The endpoints, on this registry."""
    router = APIRouter(prefix="/v1/engines", tags=["engines"])

    @router.get("", responses=answers(400, 404))
    def list_engines(after: AfterId = None, limit: Limit = 20) -> EnginePage:
        """List engines with the age of their heartbeat, their slots and what sits in them."""
        rows = registry.engines.all()
        shown, ids, more = by_name(rows, lambda row: row.id, after, limit)
        first, last = ends(ids)
        placements = registry.engines.placements()
        data = [_shape(row, placements) for row in shown]
        return EnginePage(data=data, first_id=first, last_id=last, has_more=more)

    @router.get("/{engine}", responses=answers(400, 404))
    def get_engine(engine: EngineId) -> EngineShape:
        """One engine."""
        return _shape(registry.engines.get(engine), registry.engines.placements())

    @router.delete("/{engine}", responses=answers(400, 404, 409))
    def remove_engine(engine: EngineId) -> Deleted:
        """Forget an engine that is gone.

        One that is alive is refused: it serves, and would not be routed to again before its next
        start.
        """
        found = registry.engines.get(engine)
        age = time.time() - found.heartbeat_at
        if found.state != "down" and age < _FRESH_S:
            raise Conflict(
                f"Engine {engine!r} is {found.state!r} and was heard of {age:.0f} s ago: stop it "
                f"first, or wait until it is silent for {_FRESH_S:.0f} s."
            )
        registry.engines.remove(engine)
        return Deleted(id=engine, object="engine.deleted")

    return router


def _shape(engine: Engine, placements: Sequence[Placement]) -> EngineShape:
    return EngineShape(
        id=engine.id,
        url=engine.url,
        base=engine.base,
        state=engine.state,  # type: ignore[arg-type]
        started_at=whole(engine.started_at),
        heartbeat_at=whole(engine.heartbeat_at),
        heartbeat_age_s=round(max(0.0, time.time() - engine.heartbeat_at), 1),
        max_loras=engine.max_loras,
        max_lora_rank=engine.max_lora_rank,
        max_cpu_loras=engine.max_cpu_loras,
        max_num_seqs=engine.max_num_seqs,
        placements=[
            Placed(
                version=row.digest,
                state=row.state,
                reason=row.reason,
                load_ms=row.load_ms,
                updated_at=whole(row.updated_at),
            )
            for row in placements
            if row.engine_id == engine.id
        ],
    )
