"""`switchyard adapter …`: adapters, their versions, and who decides which one is live."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli import render
from cli.errors import CliError
from cli.invocation import AnyTenant, AsJson, Invocation, TenantOption, opened

if TYPE_CHECKING:
    from registry import Registry
    from registry.versions import Version

adapter = typer.Typer(no_args_is_help=True, help="Adapters: list, show, promote, roll back.")

Name = Annotated[str, typer.Argument(help="The adapter's name.")]


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(adapter, name="adapter")


@adapter.command("list")
def list_(context: typer.Context, tenant: AnyTenant = None, as_json: AsJson = False) -> None:
    """List adapters with what each alias serves."""
    with opened(context) as registry:
        if tenant is not None:
            registry.tenants.get(tenant)
        values = []
        for found in registry.adapters.all(tenant):
            aliases = registry.aliases.of_adapter(found.tenant, found.name)
            versions = registry.versions.all(found.tenant, found.name)
            values.append(
                {
                    "tenant": found.tenant,
                    "adapter": found.name,
                    "base": found.base,
                    "live": {a.name: a.live[:12] if a.live else None for a in aliases},
                    "versions": len(versions),
                    "candidates": sum(v.state == "candidate" for v in versions),
                }
            )
    if not as_json:
        for value in values:
            live = value["live"]
            assert isinstance(live, dict)
            value["live"] = ", ".join(f"{name} → {at or 'none'}" for name, at in live.items())
    render.rows(
        values,
        ["tenant", "adapter", "base", "live", "versions", "candidates"],
        as_json=as_json,
        empty="no adapters: `switchyard train DATA --tenant T --adapter A` makes one",
    )


@adapter.command()
def show(context: typer.Context, name: Name, tenant: TenantOption, as_json: AsJson = False) -> None:
    """Show an adapter's lineage: files → job → evaluation → certificate → decisions → traffic."""
    from cli import lineage, story

    with opened(context) as registry:
        value = lineage.of_adapter(registry, tenant, name)
    if as_json:
        render.emit(value)
        return
    print(f"{tenant}/{name} on {value['base']}")
    for alias in value["aliases"]:
        live, previous = (_short(alias[key]) for key in ("live", "previous"))
        print(f"  alias {alias['name']}: live {live}, before it {previous}", end="")
        print(f", fallback {alias['fallback']}")
    for version in value["versions"]:
        for label, text in story.of_version(version):
            print(f"{label:>14}  {text}")
    for label, text in story.traffic(value["in_its_stead"]):
        print(f"{label:>14}  the base in its stead: {text}")


@adapter.command()
def reproduce(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Served name, digest or its first digits.")],
    tenant: TenantOption,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads [as many as it was made with].", min=1)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a version anew from its job's files and options, and compare the bytes."""
    from cli import room_settings
    from cli.follow import shown
    from train.errors import TrainingError
    from train.reproduce import reproduce as again

    settings = room_settings.worker(Invocation.of(context).home)
    with opened(context) as registry, shown(quiet=as_json) as report:
        found = registry.versions.find(tenant, version)
        try:
            came = again(registry, settings, found, report=report, threads=threads)
        except TrainingError as error:
            raise CliError(error.message) from None
    if as_json:
        render.emit({"version": found.served_name, "same": came.same, **vars(came)})
    elif came.same:
        print(f"reproduced: same digest {came.digest}")
    else:
        print(f"not reproduced: {came.expected[:12]} was trained, now {came.digest[:12]}")
        for name, how in came.files.items():
            print(f"  {name}: {how}")
        apart = "can't be compared" if came.weights is None else f"{came.weights:.3g}"
        print(f"  largest difference between two weights: {apart}")
        for reason in came.reasons:
            print(f"  likely because: {reason}")
    if not came.same:
        raise typer.Exit(1)


@adapter.command()
def promote(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Served name, digest or its first digits.")],
    tenant: TenantOption,
    wait: Annotated[bool, typer.Option(help="Wait until it is live or rejected.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds to wait.", min=1)] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Ask for a version to go live. The engine's effect and parity check still decides."""
    from cli import lineage

    with opened(context) as registry:
        found = registry.versions.find(tenant, version)
        started = time.monotonic()
        if found.state != "live":
            found = registry.versions.force(found.digest, getpass.getuser())
            if wait:
                found = settled(registry, found.digest, timeout)
        value = lineage.of_version(registry, found)
    value["seconds"] = round(time.monotonic() - started, 2)
    if as_json:
        render.emit(value)
    elif found.state == "live":
        print(f"{found.served_name} is live")
    elif not wait:
        print(f"{found.served_name} is asked for; the controller swaps it in after its checks")
    if found.state == "rejected":
        raise CliError(f"{found.served_name} was rejected: {lineage.summary(found.reasons)}")


@adapter.command()
def reject(
    context: typer.Context,
    version: Annotated[str, typer.Argument(help="Served name, digest or its first digits.")],
    tenant: TenantOption,
    because: Annotated[str, typer.Option(help="Why, for its receipt.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Decline a version on its way to traffic: it is rejected, and off its traffic at once."""
    from cli import lineage

    with opened(context) as registry:
        found = registry.versions.find(tenant, version)
        before = found.state
        found = registry.decline(found.digest, getpass.getuser(), because)
        value = lineage.of_version(registry, found)
    if as_json:
        render.emit(value)
    elif before == "rejected":
        print(f"{found.served_name} is rejected already: {lineage.summary(found.reasons)}")
    else:
        print(f"{found.served_name} is rejected, and gets no traffic")


@adapter.command()
def retrain(
    context: typer.Context, name: Name, tenant: TenantOption, as_json: AsJson = False
) -> None:
    """Ask for a retraining with the corrections there are. The controller takes it up."""
    with opened(context) as registry:
        registry.adapters.get(tenant, name)
        receipt = registry.decisions.record(tenant, name, "ask", "asked", by=getpass.getuser())
        value = render.fields(receipt)
    if as_json:
        render.emit(value)
    else:
        print(f"asked for; `switchyard explain {tenant}` says what comes of it")


@adapter.command()
def accept(
    context: typer.Context, name: Name, tenant: TenantOption, as_json: AsJson = False
) -> None:
    """Let traffic, answers and how messages are built, as they are now, count as usual.

    The controller takes new references: drift and worse answers are over with that.
    """
    from registry.decisions import ACCEPT

    with opened(context) as registry:
        registry.adapters.get(tenant, name)
        receipt = registry.decisions.record(tenant, name, "ask", ACCEPT, by=getpass.getuser())
        value = render.fields(receipt)
    if as_json:
        render.emit(value)
    else:
        print(f"the controller takes new references; `switchyard explain {tenant}` says when")


@adapter.command()
def rollback(
    context: typer.Context,
    name: Name,
    tenant: TenantOption,
    to: Annotated[
        str | None, typer.Option(help="The version to go back to [the one that was live before].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put the version that was live before back, in one step."""
    with opened(context) as registry:
        registry.adapters.get(tenant, name)
        digest = registry.versions.find(tenant, to).digest if to else None
        flipped = [
            registry.roll_back(tenant, alias.name, getpass.getuser(), digest)
            for alias in registry.aliases.of_adapter(tenant, name)
        ]
    if not flipped:
        raise CliError(f"{tenant}/{name} has no alias, so nothing of it is live")
    if as_json:
        render.emit(flipped)
        return
    for flip in flipped:
        print(f"alias {flip['alias']}: {_short(flip['from'])} → {_short(flip['to'])}")


def settled(registry: Registry, digest: str, timeout: float) -> Version:
    """Wait for a version to become live or rejected. Raises CliError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        version = registry.versions.get(digest)
        if version.state in ("live", "rejected"):
            return version
        time.sleep(0.25)
    ready = len(registry.engines.ready())
    raise CliError(
        f"{version.served_name} is still {version.state!r} after {timeout:.0f} s; engines that "
        f"are ready: {ready}. The controller swaps versions; `switchyard status` tells if it runs"
    )


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "none"
