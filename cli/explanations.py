"""`switchyard explain TENANT`: why its adapters were, or were not, retrained."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli import render
from cli.invocation import AsJson, Invocation, opened


def attach(app: typer.Typer) -> None:
    """Put this command under `app`."""
    app.command()(explain)


def explain(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="The tenant's name.")],
    adapter: Annotated[str | None, typer.Option("--adapter", "-a", help="Only this one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say why a tenant's adapters were, or were not, retrained."""
    from cli import room_settings
    from monitoring import explain as explaining

    with opened(context) as registry:
        settings, whose = room_settings.deciding(Invocation.of(context).home, registry)
        owner = registry.tenants.get(tenant)
        if adapter is not None:
            registry.adapters.get(tenant, adapter)
        found = [
            each
            for each in explaining.explain(registry, settings, owner, time.time())
            if adapter in (None, each.adapter)
        ]
    if as_json:
        render.emit([{**each.json(), "settings": whose} for each in found])
        return
    if found and whose == room_settings.OWN:
        print(room_settings.NO_CONTROLLER)
    if not found:
        print(f"{tenant} has no adapter")
    console = Console(soft_wrap=True, highlight=False)
    for each in found:
        table = Table(box=None, show_header=False, pad_edge=False)
        for line in each.lines:
            table.add_row(Text(line.what), Text(line.said))
        if each.ruling is not None:
            table.add_row(Text("now"), Text(f"{each.ruling.kind}: {each.ruling.reason}"))
        console.print(Text(f"{tenant}/{each.adapter}", style="bold"))
        console.print(table)
        for at, said in each.history:
            console.print(Text(f"  {render.ago(at):>12}  {said}"))
