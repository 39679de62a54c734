"""Following a job: its events as lines and its progress as a bar, until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cli import jobs, render
from cli.errors import JobFailed

if TYPE_CHECKING:
    from registry import Registry
    from registry.job import Job

NO_WORKER_AFTER_S = 5.0


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Takes what a training process says, and shows it: events as lines, progress as a bar."""
    from rich.progress import Progress

    screen = render.console()
    with Progress(*_columns(), console=screen, disable=quiet or not screen.is_terminal) as progress:
        task = progress.add_task("starting", total=None, news="")

        def report(message: dict[str, Any]) -> None:
            if message["kind"] == "event" and not quiet:
                screen.print(message["message"], markup=False)
            elif message["kind"] == "progress":
                _advance(progress, task, message, "")

        yield report


def follow(registry: Registry, job_id: str, *, interval: float = 0.3) -> Job:
    """Show a job until it ends; returns it when it succeeded. Raises JobFailed."""
    job = show(registry, job_id, interval=interval)
    if job.state != "succeeded":
        raise JobFailed(jobs.failure(job))
    return job


def show(registry: Registry, job_id: str, *, interval: float = 0.3) -> Job:
    """Show a job until it ends, however it does: events as lines, and on a terminal a live one
    with step, loss, tokens/s and the time left."""
    from rich.progress import Progress

    screen = render.console()
    with Progress(*_columns(), console=screen, disable=not screen.is_terminal) as progress:
        task = progress.add_task("waiting", total=None, news="")

        def on_event(text: str) -> None:
            screen.print(text, markup=False)

        def on_progress(job: Job) -> None:
            _advance(progress, task, job.progress, job.state)

        return watch(registry, job_id, on_event, on_progress, interval)


def watch(
    registry: Registry,
    job_id: str,
    on_event: Callable[[str], None],
    on_progress: Callable[[Job], None],
    interval: float = 0.3,
) -> Job:
    """Call back for every event and every look at the job, until it has ended."""
    from registry.job import FINAL

    after, began, warned = 0, time.monotonic(), False
    while True:
        job = registry.jobs.get(job_id)
        for event in registry.jobs.events(job_id, after):
            after = event.number
            on_event(jobs.line(event))
        on_progress(job)
        if job.state in FINAL:
            return job
        if job.state == "queued" and not warned and time.monotonic() - began > NO_WORKER_AFTER_S:
            warned = True
            if not any(other.state == "running" for other in registry.jobs.all(active=True)):
                on_event(
                    "no worker has taken the job yet: start one with `switchyard up` or "
                    "`switchyard worker run`"
                )
        time.sleep(interval)


def _columns() -> list[Any]:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

    return [
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[news]}"),
        TimeElapsedColumn(),
    ]


def _advance(progress: Any, task: Any, news: dict[str, Any], state: str) -> None:
    progress.update(
        task,
        description=str(news.get("phase") or state),
        completed=float(news.get("step") or 0),
        total=float(news["steps"]) if news.get("steps") else None,
        news=jobs.news({**news, "phase": None}, None),
    )
