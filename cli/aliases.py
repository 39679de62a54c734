"""`switchyard alias …`: what each alias serves, and what happens when it can't."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render
from cli.invocation import AnyTenant, AsJson, TenantOption, opened

if TYPE_CHECKING:
    from registry import Registry
    from registry.aliases import Alias

alias = typer.Typer(no_args_is_help=True, help="Aliases: fallback, canary, shadow.")

Name = Annotated[str, typer.Argument(help="The alias's name.")]
Share = Annotated[float | None, typer.Option(help="Share of traffic, 0 to 1.", min=0, max=1)]
NONE = "none"


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(alias, name="alias")


@alias.command("list")
def list_(context: typer.Context, tenant: AnyTenant = None, as_json: AsJson = False) -> None:
    """List aliases with what they serve."""
    with opened(context) as registry:
        if tenant is not None:
            registry.tenants.get(tenant)
        defaults = {found.name: found.default_alias for found in registry.tenants.all()}
        values = [
            shown(found, defaults.get(found.tenant)) for found in registry.aliases.all(tenant)
        ]
    render.rows(
        values,
        ["tenant", "name", "live", "fallback", "canary", "canary_weight", "shadow", "default"],
        as_json=as_json,
        empty="no aliases yet: the first training of an adapter makes one",
    )


@alias.command()
def show(context: typer.Context, name: Name, tenant: TenantOption, as_json: AsJson = False) -> None:
    """Show one alias."""
    with opened(context) as registry:
        value = _shown(registry, tenant, name)
    render.record(value, as_json=as_json)


@alias.command("set")
def set_(
    context: typer.Context,
    name: Name,
    tenant: TenantOption,
    fallback: Annotated[
        str | None, typer.Option(help="When it can't be served: fail, wait, previous or base.")
    ] = None,
    wait_ms: Annotated[
        int | None, typer.Option(help="How long fallback `wait` tries, milliseconds.", min=0)
    ] = None,
    sticky: Annotated[
        str | None, typer.Option(help="What keeps to one side: conversation, user or none.")
    ] = None,
    canary: Annotated[
        str | None, typer.Option(help="The version that answers a share; `none` ends it.")
    ] = None,
    canary_weight: Share = None,
    shadow: Annotated[
        str | None, typer.Option(help="The version that gets copies; `none` ends it.")
    ] = None,
    shadow_share: Share = None,
    default: Annotated[
        bool, typer.Option("--default", help="A request without `model` means this alias.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change what the options name; the rest stays. Routed within a second."""
    given: dict[str, Any] = {
        "fallback": fallback,
        "wait_ms": wait_ms,
        "sticky": sticky,
        "canary": canary,
        "canary_weight": canary_weight,
        "shadow": shadow,
        "shadow_share": shadow_share,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    if not changes and not default:
        raise typer.BadParameter("nothing to change: give at least one option")
    with opened(context) as registry:
        for place in ("canary", "shadow"):
            if place in changes:
                changes[place] = _digest(registry, tenant, changes[place])
        if changes:
            registry.aliases.update(tenant, name, **changes)
        if default:
            registry.tenants.update(tenant, default_alias=name)
        value = _shown(registry, tenant, name)
    if as_json:
        render.emit(value)
    else:
        named = [*changes, *(["default"] if default else [])]
        print(f"changed alias {tenant}/{name}: {', '.join(sorted(named))}")


def shown(found: Alias, default: str | None) -> dict[str, Any]:
    """An alias with its versions as they are served, and whether it is its tenant's default."""
    from registry.names import served_name

    value = render.fields(found)
    for place in ("live", "previous", "canary", "shadow"):
        if value[place] is not None:
            value[place] = served_name(found.adapter, value[place])
    return {**value, "default": found.name == default}


def _shown(registry: Registry, tenant: str, name: str) -> dict[str, Any]:
    return shown(registry.aliases.get(tenant, name), registry.tenants.get(tenant).default_alias)


def _digest(registry: Registry, tenant: str, version: str) -> str | None:
    return None if version == NONE else registry.versions.find(tenant, version).digest
