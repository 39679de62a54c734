"""Rooms: what a running process decides by, so that another one can explain what it does.

One row for each kind of process. Of two that run at once the one that started last is told.
"""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Base, Database, JsonObject, now, queue

CONTROLLER = "controller"


class Room(Base):
    """`name` is the kind of process, `settings` what it decides by: no addresses, no secrets."""

    __tablename__ = "rooms"

    name: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[JsonObject] = mapped_column(default=dict)
    started_at: Mapped[float] = mapped_column(default=now)


class Rooms:
    """Rooms in the registry."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, name: str, settings: JsonObject, *, at: float | None = None) -> None:
        """Say what the process that starts decides by; `at` is the moment (seconds since the
        epoch), now if not given. What the one before it said is gone."""
        with self._database.write() as session:
            queue(session, "rooms")
            moment = now() if at is None else at
            session.merge(Room(name=name, settings=settings, started_at=moment))

    def get(self, name: str) -> Room | None:
        """None where no such process has ever started on this registry."""
        with self._database.read() as session:
            return session.get(Room, name)
