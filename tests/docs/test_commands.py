"""Every command that the documentation shows exists and takes the options shown."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

from cli.main import app

# typer.BadParameter's own base: which click typer brings along is its business.
USAGE = typer.BadParameter.__mro__[1]
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples/README.md"]
CODE = re.compile(r"```(?:bash|sh|console)\n(.*?)```", re.S)


def shown(program: str) -> list[tuple[str, str]]:
    """(page, command line) of every line of a shell block that calls a program."""
    found = []
    for page in PAGES:
        for block in CODE.findall(page.read_text("utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.strip().removeprefix("$ ")
                if words.split(" ")[0] in (program, f".venv/bin/{program}"):
                    found.append((str(page.relative_to(ROOT)), words))
    return found


def parse(line: str) -> None:
    """Let typer parse a command line, without running it. Raises typer's UsageError."""
    words = shlex.split(line, comments=True)[1:]
    command: Any = typer.main.get_command(app)
    context = command.make_context("switchyard", words)
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(("page", "line"), shown("switchyard"))
def test_a_switchyard_command_that_is_shown_parses(page: str, line: str) -> None:
    parse(line)


def test_a_command_that_does_not_exist_would_be_noticed() -> None:
    with pytest.raises(USAGE):
        parse("switchyard adapter polish tickets")
    with pytest.raises(USAGE):
        parse("switchyard status --colour")


def test_the_make_targets_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {line.split()[1] for _, line in shown("make")}
    assert {"demo", "up", "test"} <= named <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
