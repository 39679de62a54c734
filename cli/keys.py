"""`switchyard key …`: what opens the router for a tenant. A secret is shown once, at birth."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from cli import moments, render
from cli.invocation import AnyTenant, AsJson, opened

key = typer.Typer(no_args_is_help=True, help="Keys: create, list, rotate, revoke.")

Expires = Annotated[
    str | None,
    typer.Option(help="When it ends: 90d, 12h, or a date such as 2027-01-31 [never]."),
]


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(key, name="key")


@key.command()
def create(
    context: typer.Context,
    tenant: Annotated[str, typer.Argument(help="Whose key it is.")],
    name: Annotated[str, typer.Option(help="A name for people, such as the service's.")] = "",
    days: Annotated[float | None, typer.Option(help="Ends after so many days.", min=0.0)] = None,
    expires: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and show its secret: the only time that it can be read."""
    if days is not None and expires is not None:
        raise typer.BadParameter("--days and --expires both say when it ends: give one")
    expires_at = _end(expires) if days is None else time.time() + days * 86400
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
            shown = render.fields(found, without=["hash"])
            values.append({**shown, "state": found.state(now)})
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
def rotate(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The id (`key-…`), not the secret.")],
    grace: Annotated[
        str, typer.Option(help="How long the old key opens still; 0s for one that leaked.")
    ] = "1h",
    expires: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Make a key in another's place and show its secret; the old one ends after the grace."""
    try:
        grace_s = moments.seconds(grace)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with opened(context) as registry:
        new, old = registry.tenants.rotate_key(key_id, grace_s, _end(expires))
    if as_json:
        render.emit(
            {
                "id": new.id,
                "tenant": new.tenant,
                "secret": new.secret,
                "expires_at": new.expires_at,
                "replaced": {"id": old.id, "expires_at": old.expires_at},
            }
        )
        return
    print(new.secret)
    render.console(stderr=True).print(
        f"{new.id} for {new.tenant}: the secret is shown this once; {old.id} ends "
        + (f"in {grace}" if grace_s else "now")
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


def _end(expires: str | None) -> float | None:
    try:
        return None if expires is None else moments.end(expires, time.time())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
