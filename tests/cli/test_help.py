"""Every command with its options, held against a golden listing: a change of the command line is
a change that somebody meant. `python -m tests.cli.test_help` writes the listing anew."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from cli.main import app

GOLDEN = Path(__file__).with_name("commands.txt")


def listing() -> str:
    """A line for each command: its words, its arguments and options, what it says it does."""
    return "".join(f"{line}\n" for line in _lines(typer.main.get_command(app), ["switchyard"]))


def _lines(command: Any, path: list[str]) -> Iterator[str]:
    commands = getattr(command, "commands", None)
    if commands is None:
        parts = []
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                name = parameter.name.upper()
                parts.append(name if parameter.required else f"[{name}]")
            elif parameter.name != "help" and not parameter.hidden:
                name = "/".join([*parameter.opts[:1], *parameter.secondary_opts[:1]])
                parts.append(name if parameter.required else f"[{name}]")
        said = (command.help or "").splitlines()[0]
        yield f"{' '.join([*path, *parts])}\n    {said}"
        return
    for name in sorted(commands):
        yield from _lines(commands[name], [*path, name])


def test_the_commands_are_those_of_the_listing() -> None:
    assert listing() == GOLDEN.read_text()


def test_every_command_says_what_it_does() -> None:
    said = listing().splitlines()[1::2]
    assert len(said) > 25
    assert all(line.strip().endswith((".", ".)")) for line in said)


def test_help_and_lists_start_without_the_heavy_libraries() -> None:
    """Torch, vLLM, web frameworks and, for --help, the registry load only where they are needed."""
    code = (
        "import sys; from cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'vllm', 'fastapi', 'sqlalchemy', 'transformers', 'aiohttp', "
        "'openai', 'numpy', 'structlog'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stdout[-500:] + result.stderr[-500:]


if __name__ == "__main__":
    GOLDEN.write_text(listing())
