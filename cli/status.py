"""`switchyard status`: processes, engines, what each alias serves, drift and jobs, right now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import typer

from cli import jobs, render, room_settings
from cli.drift import Drift
from cli.home import read_json
from cli.invocation import AsJson, Invocation, opened

if TYPE_CHECKING:
    from cli.home import Home
    from registry import Registry


def attach(app: typer.Typer) -> None:
    """Put the command under `app`."""
    app.command()(status)


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what runs, what is live, what drifts and what is being trained."""
    home = Invocation.of(context).home
    with opened(context) as registry:
        value = gather(home, registry)
    if as_json:
        render.emit(value)
    else:
        show(value)


def gather(home: Home, registry: Registry) -> dict[str, Any]:
    """Everything that the command shows, as plain values."""
    now = time.time()
    settings, _ = room_settings.deciding(home, registry)
    tenants = {found.name: found for found in registry.tenants.all()}
    drift = {(state.tenant, state.adapter): state for state in registry.decisions.drift_states()}
    placed = [p.digest for p in registry.engines.placements() if p.state == "warm"]
    aliases = []
    for alias in registry.aliases.all():
        found = Drift.of(drift.get((alias.tenant, alias.adapter)), settings)
        live = registry.versions.get(alias.live) if alias.live else None
        aliases.append(
            {
                "tenant": alias.tenant,
                "alias": alias.name,
                "live": live.served_name if live else None,
                "since": live.state_at if live else None,
                "warm_on": placed.count(alias.live) if alias.live else 0,
                "fallback": alias.fallback,
                "drift": found.json() if alias.live else None,
                "drift_text": str(found) if alias.live else None,
                "corrections_waiting": len(registry.corrections.of(alias.tenant, alias.adapter)),
            }
        )
    return {
        "home": str(home.folder),
        "processes": processes(home),
        "engines": [
            {**render.fields(engine), "heartbeat_age_s": round(now - engine.heartbeat_at, 1)}
            for engine in registry.engines.all()
        ],
        "tenants": sorted(tenants),
        "aliases": aliases,
        "jobs": [
            {
                **{name: getattr(job, name) for name in ("id", "tenant", "adapter", "state")},
                "progress": job.progress,
            }
            for job in registry.jobs.all(active=True)
        ],
    }


def processes(home: Home) -> list[dict[str, Any]]:
    """What the run file of `switchyard up` says, held against what really runs."""
    import psutil

    state = read_json(home.run / "up.json")
    pid = state.get("pid")
    if not isinstance(pid, int) or not psutil.pid_exists(pid):
        return []
    found = [{"name": "up", "pid": pid, "state": "running", "restarts": 0}]
    for process in state.get("processes", []):
        alive = process.get("pid") and psutil.pid_exists(process["pid"])
        found.append({**process, "state": process["state"] if alive else "down"})
    return found


def show(value: dict[str, Any]) -> None:
    """The same for people."""
    if value["processes"]:
        columns = ["name", "pid", "state", "restarts", "port"]
        render.rows(value["processes"], columns, as_json=False)
    else:
        print(f"`switchyard up` does not run in {value['home']}")
    engines = [
        {**engine, "heartbeat": f"{engine['heartbeat_age_s']:.0f} s ago"}
        for engine in value["engines"]
    ]
    render.rows(
        engines, ["id", "url", "base", "state", "heartbeat"], as_json=False, empty="no engines"
    )
    aliases = [
        {
            **alias,
            "since": render.ago(alias["since"]),
            "drift": alias["drift_text"],
        }
        for alias in value["aliases"]
    ]
    columns = ["tenant", "alias", "live", "since", "warm_on", "drift", "corrections_waiting"]
    render.rows(aliases, columns, as_json=False, empty="no aliases: nothing was trained yet")
    active = [{**job, "news": jobs.news(job["progress"], None)} for job in value["jobs"]]
    columns = ["id", "tenant", "adapter", "state", "news"]
    render.rows(active, columns, as_json=False, empty="no job waits or runs")
