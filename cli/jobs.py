"""`switchyard job …`: the training queue."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render
from cli.invocation import AnyTenant, AsJson, opened

if TYPE_CHECKING:
    from registry.job import Job, JobEvent

job = typer.Typer(no_args_is_help=True, help="Training jobs: list, show, cancel, events.")

JobId = Annotated[str, typer.Argument(help="The id (`ftjob-…`).")]


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(job, name="job")


@job.command("list")
def list_(
    context: typer.Context,
    tenant: AnyTenant = None,
    adapter: Annotated[str | None, typer.Option("--adapter", "-a")] = None,
    active: Annotated[bool, typer.Option("--active", help="Only those not ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    with opened(context) as registry:
        values = [render.fields(found) for found in registry.jobs.all(tenant, adapter, active)]
    if not as_json:
        for value in values:
            value["created"] = render.ago(value["created_at"])
            value["news"] = news(value["progress"], value["error"])
            value["version"] = (value["digest"] or "")[:12]
    render.rows(
        values,
        ["id", "tenant", "adapter", "state", "trigger", "created", "news", "version"],
        as_json=as_json,
        empty="no jobs: `switchyard train DATA --tenant T --adapter A` makes one",
    )


@job.command()
def show(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show one job: what was asked, how far it is, what came of it, the search's trials."""
    with opened(context) as registry:
        found = registry.jobs.get(job_id)
    value = render.fields(found)
    trials = (found.result.get("search") or {}).get("trials", [])
    if not as_json:
        value["result"] = {
            n: v for n, v in found.result.items() if n not in ("search", "evaluation")
        }
    render.record(value, as_json=as_json)
    if trials and not as_json:
        render.rows(trials, [*trials[0]], as_json=False)


@job.command()
def cancel(context: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Ask a job to end: at once when nobody works on it, else at the worker's next step."""
    with opened(context) as registry:
        found = registry.jobs.cancel(job_id)
    if as_json:
        render.emit(render.fields(found))
    elif found.state == "cancelled":
        print(f"{job_id} is cancelled")
    else:
        print(f"{job_id} was asked to stop; its worker ends it at the next step")


@job.command()
def events(
    context: typer.Context,
    job_id: JobId,
    follow: Annotated[bool, typer.Option(help="Go on until the job ends.")] = False,
    as_json: AsJson = False,
) -> None:
    """Tell a job's story, the oldest event first."""
    from registry.job import FINAL

    with opened(context) as registry:
        if follow and not as_json and render.console().is_terminal:
            from cli.follow import show

            show(registry, job_id)
            return
        after = 0
        values: list[dict[str, Any]] = []
        while True:
            ended = registry.jobs.get(job_id).state in FINAL  # asked first: no event is missed
            for found in registry.jobs.events(job_id, after):
                after = found.number
                if as_json:
                    values.append(render.fields(found))
                else:
                    print(line(found), flush=True)
            if ended or not follow:
                break
            time.sleep(0.5)
    if as_json:
        render.emit(values)


def line(event: JobEvent) -> str:
    """An event on one line."""
    at = time.strftime("%H:%M:%S", time.localtime(event.created_at))
    return f"{at}  {event.level:5}  {event.message}"


def news(progress: dict[str, Any], error: dict[str, Any] | None) -> str:
    """The latest of a job, short."""
    if error:
        return str(error.get("message", ""))
    parts = [str(progress["phase"])] if progress.get("phase") else []
    if progress.get("trials"):
        parts.append(f"trial {progress.get('trial', 0)}/{progress['trials']}")
    if progress.get("steps"):
        parts.append(f"step {progress.get('step', 0)}/{progress['steps']}")
    if isinstance(progress.get("loss"), int | float):
        parts.append(f"loss {progress['loss']:.3f}")
    if isinstance(progress.get("tokens_per_s"), int | float):
        parts.append(f"{progress['tokens_per_s']:.0f} tokens/s")
    if isinstance(progress.get("eta_s"), int | float):
        parts.append(f"{progress['eta_s']:.0f} s left")
    return ", ".join(parts)


def failure(found: Job) -> str:
    """Why a job did not succeed, for a person."""
    if found.state == "cancelled":
        return f"job {found.id} was cancelled"
    error = found.error or {}
    return f"job {found.id} failed ({error.get('code')}): {error.get('message')}"
