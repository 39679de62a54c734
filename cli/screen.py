"""What a person sees of `switchyard up`: a live table on a terminal, plain lines elsewhere; and the
run file, from which `switchyard status` reads."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from cli import render
from cli.home import Home, write_private
from cli.platform import Platform
from cli.supervisor import Supervisor

if TYPE_CHECKING:
    from rich.table import Table


class Screen:
    """Drawn by whoever supervises, after each tick."""

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
