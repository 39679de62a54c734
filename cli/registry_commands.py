"""`switchyard registry …` and `switchyard dashboards …`: upkeep that needs no running process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import render
from cli.invocation import AsJson, opened

registry_app = typer.Typer(no_args_is_help=True, help="The registry's upkeep.")
dashboards = typer.Typer(no_args_is_help=True, help="Grafana dashboards and alert rules.")


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(registry_app, name="registry")
    app.add_typer(dashboards, name="dashboards")


@registry_app.command()
def migrate(context: typer.Context, as_json: AsJson = False) -> None:
    """Make the registry, or bring its schema to this version's; safe to run again."""
    from sqlalchemy.engine import make_url

    with opened(context, migrate=True) as registry:
        where = make_url(registry.database.url).render_as_string(hide_password=True)
        store = registry.store.url
    if as_json:
        render.emit({"database": where, "store": store, "current": True})
    else:
        print(f"{where} is at this version's schema; adapters are kept in {store}")


@dashboards.command()
def write(
    folder: Annotated[
        Path | None, typer.Argument(help="Where the files go [monitoring/generated].")
    ] = None,
    runbook: Annotated[
        str | None, typer.Option(help="Address of the runbook that alerts link to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what code generates: dashboards, rules, Prometheus's and Alertmanager's files."""
    from monitoring import configuration, rules

    target = folder or Path(configuration.__file__).parent / "generated"
    made = configuration.write(target, runbook=runbook or rules.RUNBOOK)
    written = [str(path) for path in made]
    if as_json:
        render.emit(written)
    else:
        print("\n".join(written))
