"""`switchyard base …`: the base model that every adapter sits on."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import render
from cli.errors import CliError
from cli.invocation import AsJson

if TYPE_CHECKING:
    from registry import Registry

base = typer.Typer(no_args_is_help=True, help="The base model: build it, look at it.")

DEFAULT = "switchyard-tiny"
ENGINE_BASE = "SWITCHYARD_ENGINE_BASE"


def attach(app: typer.Typer) -> None:
    """Put these commands under `app`."""
    app.add_typer(base, name="base")


def default_folder() -> Path:
    """Where the project's own base lies."""
    import train.base

    return Path(next(iter(train.base.__path__))) / DEFAULT


def chosen() -> str:
    """The base that the environment names, else the project's own: a folder or a hub's id."""
    return os.environ.get(ENGINE_BASE) or str(default_folder())


def name_of(source: str) -> str:
    """What a base is called where it is served: a folder's last part; a hub's id as it is."""
    return Path(source).name if Path(source).exists() or source.startswith((".", "/")) else source


def served_base(registry: Registry) -> str:
    """The base that adapters are trained for: the environment's, a registered engine's, our own."""
    named = os.environ.get(ENGINE_BASE)
    if named:
        return name_of(named)
    engines = registry.engines.all()
    return engines[0].base if engines else DEFAULT


@base.command()
def build(
    folder: Annotated[
        Path | None, typer.Argument(help="Where it goes [the project's own place].")
    ] = None,
    minutes: Annotated[float, typer.Option(help="How long to train.", min=0.01)] = 60.0,
    seed: Annotated[int, typer.Option()] = 7,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 2,
    as_json: AsJson = False,
) -> None:
    """Train the project's own small base model from nothing, on text that the project makes."""
    from train.base import recipe

    where = folder or default_folder()

    def tell(progress: recipe.Progress) -> None:
        if not as_json:
            print(
                f"step {progress.step:6}  loss {progress.loss:.3f}  "
                f"{progress.tokens / max(progress.seconds, 1e-9):,.0f} tokens/s  "
                f"{progress.eta / 60:.1f} min left",
                flush=True,
            )

    report = recipe.build(where, minutes, seed, threads, on_progress=tell)
    value = {
        "folder": str(report.folder),
        "parameters": report.parameters,
        "steps": report.steps,
        "tokens": report.tokens,
        "seconds": round(report.seconds, 1),
        "first_loss": report.first_loss,
        "final_loss": report.final_loss,
    }
    render.record(value, as_json=as_json)


@base.command()
def show(
    source: Annotated[
        str | None, typer.Option("--base", help="A folder [SWITCHYARD_ENGINE_BASE, else our own].")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what the base is: its shape, its files and their digests."""
    import json

    from registry.store import folder_manifest

    where = source or chosen()
    folder = Path(where)
    if not (folder / "config.json").is_file():
        raise CliError(
            f"{where} is not a folder with a base model: expected config.json in it; "
            "`switchyard base build` makes the project's own"
        )
    config = json.loads((folder / "config.json").read_text())
    value = {
        "name": name_of(where),
        "folder": str(folder),
        "architecture": ", ".join(config.get("architectures", [])),
        "layers": config.get("num_hidden_layers"),
        "width": config.get("hidden_size"),
        "vocabulary": config.get("vocab_size"),
        "context_tokens": config.get("max_position_embeddings"),
        "weight_bytes": sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        "files": folder_manifest(folder),
    }
    if as_json:
        render.emit(value)
        return
    files = value.pop("files")
    render.record(value, as_json=False)
    assert isinstance(files, dict)
    for name, digest in files.items():
        print(f"  {digest[:16]}…  {name}")
