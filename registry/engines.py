"""Engines: the vLLM replicas there are, and which version sits warm in which of them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ForeignKey, delete, select, update
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Base, Database, bump, now, queue
from registry.errors import NotFound

ENGINE_STATES = ("starting", "ready", "draining", "down")


class Engine(Base):
    """A vLLM replica. `url` has no path (`http://127.0.0.1:8100`); `base` is its served name.

    `max_loras`: distinct adapters in one step. `max_cpu_loras`: adapters that it keeps in memory.
    `max_num_seqs`: requests that it works on at once; more wait inside it. `meaning`: SHA-256 of
    the blob with what the base's words mean (`monitoring.meaning`); None: not known (yet).
    """

    __tablename__ = "engines"

    id: Mapped[str] = mapped_column(primary_key=True)
    url: Mapped[str]
    base: Mapped[str]
    state: Mapped[str] = mapped_column(default="starting")
    max_loras: Mapped[int]
    max_lora_rank: Mapped[int]
    max_cpu_loras: Mapped[int] = mapped_column(default=64, server_default="64")
    max_num_seqs: Mapped[int] = mapped_column(default=64, server_default="64")
    started_at: Mapped[float] = mapped_column(default=now)
    heartbeat_at: Mapped[float] = mapped_column(default=now)
    meaning: Mapped[str | None]


class Placement(Base):
    """A version in an engine: "warm" (it answered from there) or "failed" with the reason."""

    __tablename__ = "placements"

    engine_id: Mapped[str] = mapped_column(
        ForeignKey("engines.id", ondelete="CASCADE"), primary_key=True
    )
    digest: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    reason: Mapped[str] = mapped_column(default="")
    load_ms: Mapped[float] = mapped_column(default=0.0)
    updated_at: Mapped[float] = mapped_column(default=now)


class Engines:
    """Engines and placements in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(
        self,
        engine_id: str,
        url: str,
        base: str,
        *,
        max_loras: int,
        max_lora_rank: int,
        max_cpu_loras: int = 64,
        max_num_seqs: int = 64,
    ) -> Engine:
        """A (re)started engine: state "starting", and nothing is placed in it any more. What its
        base's words mean is kept for as long as it is the same base."""
        with self._database.write() as session:
            session.execute(delete(Placement).where(Placement.engine_id == engine_id))
            before = session.get(Engine, engine_id)
            if before is not None and before.base != base:
                before.meaning = None
            engine = session.merge(
                Engine(
                    id=engine_id,
                    url=url.rstrip("/"),
                    base=base,
                    state="starting",
                    max_loras=max_loras,
                    max_lora_rank=max_lora_rank,
                    max_cpu_loras=max_cpu_loras,
                    max_num_seqs=max_num_seqs,
                    started_at=now(),
                    heartbeat_at=now(),
                )
            )
            bump(session)
        return engine

    def heartbeat(self, engine_id: str, state: str) -> Engine:
        """Say that the engine is alive, and in which state. Raises NotFound, ValueError."""
        if state not in ENGINE_STATES:
            raise ValueError(f"engine state {state!r}: expected one of {', '.join(ENGINE_STATES)}")
        with self._database.write() as session:
            engine = session.get(Engine, engine_id)
            if engine is None:
                raise NotFound("engine", engine_id)
            engine.heartbeat_at = now()
            if engine.state != state:
                engine.state = state
                if state == "down":
                    session.execute(delete(Placement).where(Placement.engine_id == engine_id))
                bump(session)
        return engine

    def set_meaning(self, base: str, digest: str) -> None:
        """Say which blob of the store holds what the words of a base mean, of all its engines."""
        with self._database.write() as session:
            queue(session, "contents")
            session.execute(update(Engine).where(Engine.base == base).values(meaning=digest))
            bump(session)

    def meaning(self, base: str) -> str | None:
        """Which blob of the store holds what the words of a base mean, as far as it was said."""
        return meanings(self.all()).get(base)

    def all(self) -> list[Engine]:
        """Every engine ever registered and not removed, by id."""
        with self._database.read() as session:
            return [*session.scalars(select(Engine).order_by(Engine.id))]

    def get(self, engine_id: str) -> Engine:
        """Raises NotFound."""
        with self._database.read() as session:
            engine = session.get(Engine, engine_id)
        if engine is None:
            raise NotFound("engine", engine_id)
        return engine

    def ready(self, max_age_s: float = 15.0) -> list[Engine]:
        """Engines that say they are ready and did so within `max_age_s` seconds."""
        oldest = now() - max_age_s
        return [e for e in self.all() if e.state == "ready" and e.heartbeat_at >= oldest]

    def remove(self, engine_id: str) -> None:
        """Forget an engine."""
        with self._database.write() as session:
            session.execute(delete(Engine).where(Engine.id == engine_id))
            bump(session)

    def place(
        self, engine_id: str, digest: str, state: str, *, reason: str = "", load_ms: float = 0.0
    ) -> None:
        """Record that a version is "warm" in an engine, or "failed" there and why.

        Raises NotFound (the engine).
        """
        with self._database.write() as session:
            if session.get(Engine, engine_id) is None:
                raise NotFound("engine", engine_id)
            session.merge(
                Placement(
                    engine_id=engine_id,
                    digest=digest,
                    state=state,
                    reason=reason,
                    load_ms=load_ms,
                    updated_at=now(),
                )
            )
            bump(session)

    def placements(self, digest: str | None = None) -> list[Placement]:
        """All placements; of one version if named."""
        query = select(Placement)
        if digest is not None:
            query = query.where(Placement.digest == digest)
        with self._database.read() as session:
            return [*session.scalars(query)]


def meanings(engines: Iterable[Engine]) -> dict[str, str]:
    """{base: digest of the blob with what its words mean}, of bases of which it was said."""
    return {engine.base: engine.meaning for engine in engines if engine.meaning is not None}
