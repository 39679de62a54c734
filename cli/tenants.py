"""`switchyard tenant …`: who is served, and within which limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import render
from cli.invocation import AsJson, opened

if TYPE_CHECKING:
    from registry.tenants import Tenant

tenant = typer.Typer(no_args_is_help=True, help="Tenants: create, look at, change, delete.")

Name = Annotated[str, typer.Argument(help="The tenant's name: a–z, 0–9 and '-'.")]
PerMinute = Annotated[int | None, typer.Option("--requests-per-minute", min=0, help="0: no limit.")]
Tokens = Annotated[int | None, typer.Option("--tokens-per-minute", min=0, help="0: no limit.")]
PerDay = Annotated[
    int | None, typer.Option("--tokens-per-day", min=0, help="From midnight UTC; 0: no limit.")
]
Concurrent = Annotated[int | None, typer.Option("--max-concurrent", min=0, help="0: no limit.")]
LIMITS = ("requests_per_minute", "tokens_per_minute", "tokens_per_day", "max_concurrent")
StoreText = typer.Option(
    help="Keep prompts and answers: retraining from feedback needs them.", show_default=True
)
AutoPromote = typer.Option(help="Put a version live by itself when its gate says so.")
Rollout = typer.Option(
    help="How what was retrained by itself takes over: staged (shadow, canary) or direct."
)
AutoRetrain = typer.Option(help="Train again by itself when traffic drifted.")
ControlShare = typer.Option(
    help="Share of conversations that the base answers, to see whether adapters still help.",
    min=0.0,
    max=0.5,
)


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(tenant, name="tenant")


@tenant.command()
def create(
    context: typer.Context,
    name: Name,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: Tokens = None,
    tokens_per_day: PerDay = None,
    max_concurrent: Concurrent = None,
    weight: Annotated[float, typer.Option(help="Share of a busy engine.", min=0.01)] = 1.0,
    store_text: Annotated[bool, StoreText] = False,
    auto_promote: Annotated[bool, AutoPromote] = True,
    auto_retrain: Annotated[bool, AutoRetrain] = True,
    rollout: Annotated[str, Rollout] = "staged",
    control_share: Annotated[float, ControlShare] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Create a tenant (and the registry, if this home has none yet)."""
    with opened(context, migrate=True) as registry:
        made = registry.tenants.create(
            name,
            requests_per_minute=requests_per_minute or None,
            tokens_per_minute=tokens_per_minute or None,
            tokens_per_day=tokens_per_day or None,
            max_concurrent=max_concurrent or None,
            weight=weight,
            store_text=store_text,
            auto_promote=auto_promote,
            auto_retrain=auto_retrain,
            rollout=rollout,
            control_share=control_share,
        )
    if as_json:
        render.emit(shown(made))
    else:
        print(f"created tenant {name}; its first key: `switchyard key create {name}`")


@tenant.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """List the tenants."""
    with opened(context) as registry:
        values = [shown(found) for found in registry.tenants.all()]
    render.rows(
        values,
        ["name", "default_alias", "requests_per_minute", "tokens_per_minute", "store_text"],
        as_json=as_json,
        empty="no tenants yet: `switchyard tenant create NAME`",
    )


@tenant.command()
def show(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Show one tenant with its aliases and how many keys open it."""
    with opened(context) as registry:
        value: dict[str, Any] = shown(registry.tenants.get(name))
        value["aliases"] = {
            alias.name: alias.live[:12] if alias.live else None
            for alias in registry.aliases.all(name)
        }
        value["keys"] = sum(key.revoked_at is None for key in registry.tenants.keys(name))
    render.record(value, as_json=as_json)


@tenant.command()
def update(
    context: typer.Context,
    name: Name,
    requests_per_minute: PerMinute = None,
    tokens_per_minute: Tokens = None,
    tokens_per_day: PerDay = None,
    max_concurrent: Concurrent = None,
    weight: Annotated[float | None, typer.Option(min=0.01)] = None,
    store_text: Annotated[bool | None, StoreText] = None,
    auto_promote: Annotated[bool | None, AutoPromote] = None,
    auto_retrain: Annotated[bool | None, AutoRetrain] = None,
    rollout: Annotated[str | None, Rollout] = None,
    control_share: Annotated[float | None, ControlShare] = None,
    default_alias: Annotated[
        str | None, typer.Option(help="What a request without `model` means.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what the options name; the rest stays."""
    given = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "max_concurrent": max_concurrent,
        "weight": weight,
        "store_text": store_text,
        "auto_promote": auto_promote,
        "auto_retrain": auto_retrain,
        "rollout": rollout,
        "control_share": control_share,
        "default_alias": default_alias,
    }
    changes = {
        field: None if field in LIMITS and value == 0 else value
        for field, value in given.items()
        if value is not None
    }
    if not changes:
        raise typer.BadParameter("nothing to change: give at least one option")
    with opened(context) as registry:
        changed = registry.tenants.update(name, **changes)
    if as_json:
        render.emit(shown(changed))
    else:
        print(f"changed tenant {name}: {', '.join(sorted(changes))}")


@tenant.command()
def delete(
    context: typer.Context,
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete a tenant with its keys, adapters, versions, jobs and exchanges."""
    with opened(context) as registry:
        registry.tenants.get(name)
        if not yes:
            typer.confirm(f"Delete {name} with its keys, adapters and history?", abort=True)
        registry.tenants.delete(name)
    print(f"deleted tenant {name}")


@tenant.command()
def forget(
    context: typer.Context,
    name: Name,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="Signals and ratings stay, the text goes.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a tenant's exchanges and feedback, or only the text in them."""
    with opened(context) as registry:
        registry.tenants.get(name)
        if not yes:
            what = "the text of all exchanges and feedback" if text_only else "all exchanges"
            typer.confirm(f"Delete {what} of {name}?", abort=True)
        gone = registry.retention.forget(name, text_only=text_only)
    if as_json:
        render.emit({"name": name, "exchanges": gone.exchanges, "feedback": gone.feedback})
    else:
        what = "the text of " if text_only else ""
        print(f"deleted {what}{gone.exchanges} exchanges of {name}, feedback on {gone.feedback}")


def shown(found: Tenant) -> dict[str, Any]:
    """A tenant without its cache salt, which is nobody's business."""
    return render.fields(found, without=["cache_salt"])
