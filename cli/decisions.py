"""`switchyard decision …`: the receipts of what the platform decided by itself, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import render
from cli.invocation import AnyTenant, AsJson, opened

decision = typer.Typer(no_args_is_help=True, help="Decisions: the receipts of the loop.")


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(decision, name="decision")


@decision.command("list")
def list_(
    context: typer.Context,
    tenant: AnyTenant = None,
    adapter: Annotated[str | None, typer.Option("--adapter", "-a")] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            help="promote, reject, retrain, hold, rollback, watch, shadow, canary or ask."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1)] = 30,
    as_json: AsJson = False,
) -> None:
    """List decisions, the newest first."""
    with opened(context) as registry:
        found = registry.decisions.all(tenant, adapter, kind)[:limit]
        values = [render.fields(row) for row in found]
    if not as_json:
        for value in values:
            value["when"] = render.ago(value["created_at"])
            value["version"] = (value["digest"] or "")[:12]
    render.rows(
        values,
        ["when", "tenant", "adapter", "kind", "rule", "by", "version", "evidence"],
        as_json=as_json,
    )
