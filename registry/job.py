"""A job and what belongs to it, as rows: its events, its checkpoints. Named and stated as in the
OpenAI fine-tuning API. How they change is the queue's business (registry/jobs.py)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from registry.database import Base, JsonObject, now
from registry.names import new_id

ACTIVE = ("validating_files", "queued", "running", "paused")
FINAL = ("succeeded", "failed", "cancelled")


class Job(Base):
    """One training job. `spec` holds its options, `progress` {step, steps, loss, eta_s, …} the
    latest news, `error` {code, message, param} why it failed, `digest` the version it made."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ftjob-"))
    tenant: Mapped[str] = mapped_column(ForeignKey("tenants.name", ondelete="CASCADE"), index=True)
    adapter: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued", index=True)
    trigger: Mapped[str] = mapped_column(default="cli")
    """Who asked: "cli", "api" or "controller"."""
    request: Mapped[JsonObject] = mapped_column(default=dict)
    """What an API client asked for, to be told back: model, method, suffix, seed, metadata …"""
    priority: Mapped[int] = mapped_column(default=0)
    """Higher goes first."""
    idempotency_key: Mapped[str | None] = mapped_column(unique=True)
    training_file: Mapped[str]
    validation_file: Mapped[str | None]
    spec: Mapped[JsonObject] = mapped_column(default=dict)
    progress: Mapped[JsonObject] = mapped_column(default=dict)
    result: Mapped[JsonObject] = mapped_column(default=dict)
    error: Mapped[JsonObject | None]
    digest: Mapped[str | None]
    created_at: Mapped[float] = mapped_column(default=now)
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    attempts: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None]
    lease_until: Mapped[float | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    pause_requested: Mapped[bool] = mapped_column(default=False)
    state_digest: Mapped[str | None]
    """The store's folder from which training goes on: the latest whole state, if there is one."""
    result_files: Mapped[list[Any]] = mapped_column(JSON, default=list)
    """Ids of files that the job made: the figures of every step."""


class JobEvent(Base):
    """One line of a job's story. `kind` is "message" or "metrics"; `data` goes with metrics."""

    __tablename__ = "job_events"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True, default=lambda: new_id("ftevent-"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float] = mapped_column(default=now)
    level: Mapped[str] = mapped_column(default="info")
    message: Mapped[str]
    kind: Mapped[str] = mapped_column(default="message")
    data: Mapped[JsonObject] = mapped_column(default=dict)


class Checkpoint(Base):
    """A point of a job that can be served or resumed from; `digest` is its content in the store."""

    __tablename__ = "checkpoints"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: new_id("ftckpt_"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    step: Mapped[int]
    digest: Mapped[str | None]
    metrics: Mapped[JsonObject] = mapped_column(default=dict)
    created_at: Mapped[float] = mapped_column(default=now)
