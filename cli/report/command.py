"""The command `switchyard report`: the account of a time, from the registry alone."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from cli import moments, render, room_settings
from cli.errors import NoPictures
from cli.invocation import AnyTenant, AsJson, Invocation, opened


def attach(app: typer.Typer) -> None:
    """Put the command under `app`."""
    app.command()(report)


def report(
    context: typer.Context,
    tenant: AnyTenant = None,
    html: Annotated[
        Path | None, typer.Option(help="Write it as one HTML page, with pictures; -: to stdout.")
    ] = None,
    since: Annotated[
        str, typer.Option(help="How far back: a number with s, m, h, d or w.", show_default=True)
    ] = "7d",
    price: Annotated[
        float | None, typer.Option(help="Of a million tokens, for the cost.", min=0.0)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what was served, how well and what was decided, from the registry alone."""
    from cli.report import evidence, fleet
    from monitoring import account

    try:
        back = moments.seconds(since)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--since") from None
    if html is not None and find_spec("matplotlib") is None:
        raise NoPictures
    now = time.time()
    with opened(context) as registry:
        told = account.gather(registry, now - back, now, tenant, price)
        settings, told["settings"] = room_settings.deciding(Invocation.of(context).home, registry)
        evidence.add(registry, told, settings)
        if tenant is None:
            fleet.add(registry, told)
    if html is not None:
        from cli.report.page import page

        text = page(told)
        if str(html) == "-":
            print(text)
            return
        html.write_text(text, encoding="utf-8")
    if as_json:
        render.emit(told)
        return
    show(told)
    if told["settings"] == room_settings.OWN:
        print(room_settings.NO_CONTROLLER)
    if html is not None:
        print(f"{html} has it as a page")


def show(told: dict[str, Any]) -> None:
    """The figures of each tenant in a line, then what was decided."""
    lines = [
        {
            "tenant": found["tenant"],
            "requests": found["requests"],
            "errors": found["errors"],
            "budget left": _left(found["error_budget"]["left"]),
            "fallbacks": sum(found["fallbacks"].values()),
            "p50 ms": _at(found["latency_ms"], "p50"),
            "p95 ms": _at(found["latency_ms"], "p95"),
            "tokens": sum(found["tokens"].values()),
            "cost": found["cost"],
            "called good": _quality(found["quality"]),
        }
        for found in told["tenants"]
    ]
    if lines:
        columns = [name for name in lines[0] if name != "cost" or told["price_per_million"]]
        render.rows(lines, columns, as_json=False)
    else:
        print("no tenants yet")
    decisions = [
        {**decision, "when": render.ago(decision["at"], told["until"]), "tenant": found["tenant"]}
        for found in told["tenants"]
        for decision in found["decisions"]
    ]
    decisions.sort(key=lambda decision: -decision["at"])
    columns = ["when", "tenant", "adapter", "kind", "words"]
    render.rows(decisions, columns, as_json=False, empty="nothing was decided")


def _at(found: dict[str, float] | None, name: str) -> str:
    return "" if found is None else f"{found[name]:.0f}"


def _left(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def _quality(found: dict[str, Any]) -> str:
    if found["share"] is None:
        return ""
    low, high = found["interval"]
    return f"{found['share']:.0%} of {found['judged']} ({low:.0%} to {high:.0%})"
