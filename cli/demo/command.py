"""`switchyard demo`: options in, a story out, and an exit code that says how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from cli.invocation import Invocation


def attach(app: typer.Typer) -> None:
    """Put the command under `app`."""
    app.command()(demo)


def demo(
    context: typer.Context,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all figures to this file.")
    ] = None,
    rows: Annotated[int, typer.Option(help="Held-out rows a tenant.", min=20)] = 150,
    clients: Annotated[int, typer.Option(help="Clients at a time.", min=8)] = 12,
    epochs: Annotated[
        float | None, typer.Option(help="Epochs of the tenants' jobs [the trainer's].")
    ] = None,
    examples: Annotated[
        Path | None, typer.Option(help="The tenants' data [the repository's examples/].")
    ] = None,
) -> None:
    """Tell the whole story on real parts: train, swap, kill, drift, retrain. Minutes, not hours."""
    from cli.demo import cast
    from cli.demo.show import Show
    from cli.demo.stage import Stage, home_of
    from cli.demo.story import Story
    from cli.errors import StepFailed

    home = home_of(Invocation.of(context).home)
    story = Story()
    stage = Stage(home)
    show = Show(
        stage,
        story,
        examples or cast.examples_folder(),
        rows,
        clients,
        {} if epochs is None else {"epochs": epochs},
    )
    failure: StepFailed | None = None
    try:
        show.tell()
    except StepFailed as error:
        failure = error
    finally:
        story.say("\n[dim]draining the platform[/]")
        stage.close()
    story.ending()
    if json_file is not None:
        figures = story.json()
        figures["failed_step"] = failure.step if failure else None
        json_file.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")
    if failure is not None:
        raise failure
    if story.failed:
        first = story.failed[0]
        raise StepFailed(first.step, f"{first.promise}: {first.found}")
    story.say("[green]everything that was promised was seen[/]; `make up` leaves it running")
