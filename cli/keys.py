"""`switchyard key …`: what opens the router for a tenant. A secret is shown once, at birth."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cli import render
from cli.invocation import AnyTenant, AsJson, opened

key = typer.Typer(no_args_is_help=True, help="Keys: create, list, revoke.")


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(key, name="key")


@key.command()
def create(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose key it is.")],
    name: Annotated[str, typer.Option(help="A name for people, such as the service's.")] = "",
    days: Annotated[float | None, typer.Option(help="Ends after so many days.", min=0.0)] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and show its secret: the only time that it can be read."""
    expires_at = None if days is None else time.time() + days * 86400
    with opened(context) as registry:
        made = registry.tenants.create_key(tenant, name, expires_at)
    if as_json:
        render.emit(
            {"id": made.id, "tenant": tenant, "secret": made.secret, "expires_at": expires_at}
        )
        return
    print(made.secret)
    render.console(stderr=True).print(
        f"{made.id} for {tenant}: the secret is shown this once; keep it now"
    )


@key.command("list")
def list_(context: typer.Context, tenant: AnyTenant = None, as_json: AsJson = False) -> None:
    """List keys by what may be seen of them."""
    now = time.time()
    with opened(context) as registry:
        if tenant is not None:
            registry.tenants.get(tenant)
        values = []
        for found in registry.tenants.keys(tenant):
            expired = found.expires_at is not None and found.expires_at <= now
            state = "revoked" if found.revoked_at else "expired" if expired else "valid"
            values.append({**render.fields(found, without=["hash"]), "state": state})
    if not as_json:
        for value in values:
            value["created"] = render.ago(value["created_at"])
    render.rows(
        values,
        ["id", "tenant", "name", "hint", "state", "created"],
        as_json=as_json,
        empty="no keys yet: `switchyard key create TENANT`",
    )


@key.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The id (`key-…`), not the secret.")],
) -> None:
    """Revoke a key: from the router's next snapshot on (about a second) it opens nothing."""
    with opened(context) as registry:
        registry.tenants.revoke_key(key_id)
    print(f"revoked {key_id}")
