"""The command `switchyard`: collects the commands, and turns every error into one clear line.

Exit codes: 0 done, 1 an error (one line on stderr, a traceback only with --debug), 2 wrong usage,
78 a process that can't start and needn't be tried again, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cli import (
    adapters,
    aliases,
    base,
    data,
    decisions,
    evaluate,
    evaluations,
    explanations,
    jobs,
    keys,
    processes,
    registry_commands,
    status,
    tenants,
    training,
    up,
)
from cli.demo import command as demo
from cli.home import Home
from cli.invocation import Invocation
from cli.report import command as report


class OneLineErrors(TyperGroup):
    """The group at the top: the edge where an exception ends and a message begins."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command. Raises typer.Exit where it failed, after saying why."""
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, BrokenPipeError):
            raise  # the command line's own signals
        except Exception as error:
            invocation = ctx.find_object(Invocation)
            if invocation is None or invocation.debug:
                raise
            print(f"switchyard: {explain(error)}", file=sys.stderr)
            raise typer.Exit(getattr(error, "exit_code", 1)) from None


def explain(error: Exception) -> str:
    """What went wrong, for a person."""
    if type(error).__module__.partition(".")[0] in _ROOMS:
        return str(error)  # ours are written for people: what, where, expected, what to do next
    if isinstance(error, ModuleNotFoundError):
        return (
            f"this command needs {error.name!r}, which is not installed here: install the extra "
            "that has it, for example `pip install 'switchyard[router]'`"
        )
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}"
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        return f"the registry's database gave an error: {error.orig}"
    return f"{type(error).__name__}: {error} (--debug shows where)"


_ROOMS = frozenset({"cli", "registry", "monitoring", "train", "serve", "router"})

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, serve and switch LoRA adapters per tenant on one base model.",
)


@app.callback()
def options(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option("--home", help="The home folder [SWITCHYARD_HOME, else .switchyard]."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Options that come before the command."""
    context.obj = Invocation(Home.find(home, os.environ), debug)


up.attach(app)
demo.attach(app)
tenants.attach(app)
keys.attach(app)
adapters.attach(app)
evaluations.attach(app)
evaluate.attach(app)
aliases.attach(app)
jobs.attach(app)
decisions.attach(app)
base.attach(app)
data.attach(app)
training.attach(app)
status.attach(app)
explanations.attach(app)
report.attach(app)
registry_commands.attach(app)
processes.attach(app)


def main() -> None:
    """The console script."""
    app()


if __name__ == "__main__":
    main()
