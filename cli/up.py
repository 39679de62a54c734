"""`switchyard up`: the whole platform on one machine, supervised, until Ctrl-C drains it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import curl, ports, render
from cli.home import Home, write_private
from cli.invocation import Invocation
from cli.lock import HomeLock
from cli.platform import DRAIN_ORDER, Platform
from cli.supervisor import Supervisor

if TYPE_CHECKING:
    from rich.table import Table

INTERVAL_S = 0.5


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
    }
    environ = {**home.environ, **{k: str(v) for k, v in chosen.items() if v is not None}}
    home = Home(home.demo if demo else home.folder, environ)
    platform = Platform.read(home)
    lock = HomeLock(home.folder)
    lock.acquire()
    try:
        ports.require_free(platform.ports())
        run(home, platform, with_demo_tenants=demo)
    finally:
        lock.release()


def run(home: Home, platform: Platform, *, with_demo_tenants: bool = False) -> None:
    """Supervise until SIGINT or SIGTERM, then drain; a second signal ends everything at once."""
    registry = home.open_registry(migrate=True)
    if with_demo_tenants:
        from cli.demo import cast

        cast.ensure(home, registry)
    screen = _Screen(home, platform)
    supervisor = Supervisor(
        platform.specs(registry), home.logs, DRAIN_ORDER, say=screen.say, clock=time.monotonic
    )
    signals = 0

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        nonlocal signals
        signals += 1
        supervisor.hurry = signals > 1

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        screen.say(f"starting in {home.folder}; logs are in {home.logs}")
        supervisor.startup()
        told = False
        while not signals:
            supervisor.tick()
            screen.show(supervisor)
            if supervisor.ready and not told:
                told = True
                screen.say("\n".join(curl.lines(home, registry, platform.url)))
            time.sleep(INTERVAL_S)
    finally:
        screen.close()
        supervisor.shutdown()
        (home.run / "up.json").unlink(missing_ok=True)
        registry.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    print("everything has ended")


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _Screen:
    """What a person sees: a live table on a terminal, plain lines elsewhere; and the run file."""

    def __init__(self, home: Home, platform: Platform) -> None:
        self._file = home.run / "up.json"
        self._url = platform.url
        self._ports = {
            port.what.removeprefix("the ").removesuffix("'s metrics"): port.number
            for port in reversed(platform.ports())
        }
        self._state: dict[str, Any] = {}
        self._console = render.console()
        self._live: Any = None
        if sys.stdout.isatty():
            from rich.live import Live

            # Drawn by this thread only: a second one and fork() don't go together.
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()

    def say(self, text: str) -> None:
        """A line above the table."""
        self._console.print(text, markup=False, soft_wrap=True)

    def show(self, supervisor: Supervisor) -> None:
        """Draw the table, and write the run file where something changed."""
        state = {
            "pid": os.getpid(),
            "url": self._url,
            "processes": [
                {
                    "name": name,
                    "pid": watched.child.pid,
                    "state": watched.state,
                    "restarts": watched.restarts,
                    "port": self._ports.get(name),
                    "note": watched.note,
                }
                for name, watched in supervisor.watched.items()
            ],
        }
        if state != self._state:
            self._state = state
            write_private(self._file, json.dumps(state, indent=2) + "\n")
        if self._live is not None:
            self._live.update(_table(state["processes"]), refresh=True)

    def close(self) -> None:
        """Leave the last table on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _table(processes: Any) -> Table:
    from rich import box
    from rich.table import Table

    table = Table("process", "pid", "state", "port", "restarts", "", box=box.SIMPLE_HEAD)
    colour = {"ready": "green", "starting": "yellow", "waiting": "red"}
    for process in processes:
        state = process["state"]
        table.add_row(
            process["name"],
            render.cell(process["pid"]),
            f"[{colour.get(state, 'white')}]{state}[/]",
            render.cell(process["port"]),
            str(process["restarts"]),
            process["note"],
        )
    return table
