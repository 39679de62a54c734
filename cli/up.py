"""`switchyard up`: the whole platform on one machine, supervised, until Ctrl-C drains it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.home import Home
from cli.invocation import Invocation


def attach(app: typer.Typer) -> None:
    """Put the command under `app`."""
    app.command()(up)


def up(
    context: typer.Context,
    base: Annotated[
        str | None, typer.Option(help="The base: a folder or a Hugging Face id [our own].")
    ] = None,
    port: Annotated[int | None, typer.Option(help="The router's port [8080].")] = None,
    engine_port: Annotated[int | None, typer.Option(help="vLLM's port [8100].")] = None,
    workers: Annotated[int | None, typer.Option(help="Training jobs at a time [1].")] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="In the demo's home, with its tenants and keys.")
    ] = False,
) -> None:
    """Start engine, router, worker and controller; restart what dies; Ctrl-C drains."""
    home = Invocation.of(context).home
    chosen = {
        "SWITCHYARD_ENGINE_BASE": base,
        "SWITCHYARD_WORKER_BASE": base,
        "SWITCHYARD_ROUTER_PORT": port,
        "SWITCHYARD_ENGINE_PORT": engine_port,
        "SWITCHYARD_UP_WORKERS": workers,
    }
    environ = {**home.environ, **{k: str(v) for k, v in chosen.items() if v is not None}}
    home = Home(home.folder, environ)
    if demo:
        from cli.demo.stage import MARK, home_of

        home = home_of(home)
        home.folder.mkdir(parents=True, exist_ok=True)
        (home.folder / MARK).touch()

    from cli import ports, upkeep
    from cli.lock import HomeLock
    from cli.platform import Platform

    platform = Platform.read(home)
    lock = HomeLock(home.folder)
    lock.acquire()
    try:
        ports.require_free(platform.ports())
        upkeep.run(home, platform, with_demo_tenants=demo)
    finally:
        lock.release()
