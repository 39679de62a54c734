"""A home folder with a real registry, and a way to run commands in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.home import Home
from cli.main import app
from registry import Registry


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own settings reaches a command, and tables are wide."""
    import os

    for name in [name for name in os.environ if name.startswith("SWITCHYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def home(tmp_path: Path, sqlite_template: Path) -> Home:
    """A home folder whose registry is empty."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(sqlite_template, folder / "registry.db")
    return Home(folder)


@pytest.fixture
def home_registry(home: Home) -> Iterator[Registry]:
    """The registry in it."""
    opened = home.open_registry()
    yield opened
    opened.close()


@dataclass(frozen=True)
class Switchyard:
    """Runs `switchyard --home HOME …` in this process."""

    folder: Path

    def __call__(self, *arguments: object, code: int = 0, input: str | None = None) -> Result:
        words = ["--home", str(self.folder), *map(str, arguments)]
        result = CliRunner().invoke(app, words, input=input)
        assert result.exit_code == code, f"{words}: {result.exit_code}\n{result.output}"
        return result

    def json(self, *arguments: object) -> Any:
        """What a command prints with --json."""
        return json.loads(self(*arguments, "--json").stdout)


@pytest.fixture
def switchyard(home: Home) -> Callable[..., Result]:
    """The command, in the home folder."""
    return Switchyard(home.folder)
