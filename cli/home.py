"""The home folder: where one Switchyard keeps what it knows, and how a command opens it.

Knows paths, URLs and the engine's key; nothing about processes. Layout:

    registry.db    the registry, unless SWITCHYARD_REGISTRY_DATABASE_URL names another
    store/         adapter files, unless SWITCHYARD_REGISTRY_STORE_URL names another
    engine.key     the key that engine, router and controller share (mode 600)
    demo-keys.json the keys of the demo's tenants (mode 600), only where the demo ran
    logs/          one log for each process of `switchyard up`
    run/           what runs now: up.lock, up.json
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import NoRegistry

if TYPE_CHECKING:
    from registry import Registry

DEFAULT_HOME = ".switchyard"
_ENGINE_KEY = "SWITCHYARD_ENGINE_API_KEY"


@dataclass(frozen=True)
class RegistrySettings:
    """`SWITCHYARD_REGISTRY_*`: both URLs default to places in the home folder."""

    database_url: str | None = None
    store_url: str | None = None


@dataclass(frozen=True)
class Home:
    """A home folder (absolute) and the environment that commands read their settings from."""

    folder: Path
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def find(cls, option: Path | None, environ: Mapping[str, str]) -> Home:
        """--home, else SWITCHYARD_HOME, else `.switchyard` in the working folder."""
        folder = option or Path(environ.get("SWITCHYARD_HOME") or DEFAULT_HOME)
        return cls(folder.expanduser().absolute(), environ)

    @property
    def logs(self) -> Path:
        """Logs of the processes."""
        return self.folder / "logs"

    @property
    def run(self) -> Path:
        """What is true only while something runs."""
        return self.folder / "run"

    @property
    def demo(self) -> Path:
        """The demo's own home, so that it never touches the tenants of this one."""
        return self.folder / "demo"

    def urls(self) -> tuple[str, str]:
        """(database URL, store URL). Raises SettingsError."""
        from registry.settings import load

        settings = load(RegistrySettings, "SWITCHYARD_REGISTRY_", self.environ)
        return (
            settings.database_url or f"sqlite:///{self.folder / 'registry.db'}",
            settings.store_url or f"file://{self.folder / 'store'}",
        )

    def open_registry(self, *, migrate: bool = False) -> Registry:
        """The registry; with `migrate` made or brought up to date first.

        Raises NoRegistry, SchemaOutdated, SettingsError.
        """
        from registry import Registry

        database, store = self.urls()
        file = Path(database.removeprefix("sqlite:///"))
        if not migrate and database.startswith("sqlite:///") and not file.exists():
            raise NoRegistry(self.folder)  # SQLite would make an empty one
        return Registry.open(database, store, migrate=migrate)

    def engine_key(self) -> str:
        """The key between router and engine: the environment's, else the file's, made once."""
        given = self.environ.get(_ENGINE_KEY)
        if given:
            return given
        path = self.folder / "engine.key"
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return path.read_text().strip()
        with os.fdopen(handle, "w") as file:
            key = secrets.token_hex(24)
            file.write(key + "\n")
        return key

    def demo_tenants(self) -> dict[str, dict[str, Any]]:
        """{tenant: {"key", "messages"}} of the demo's tenants; empty where the demo never ran."""
        return read_json(self.folder / "demo-keys.json")

    def save_demo_tenants(self, tenants: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep their keys, and a prompt for each, readable by this user only."""
        text = json.dumps(tenants, indent=2, ensure_ascii=False)
        write_private(self.folder / "demo-keys.json", text + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file in one step, mode 600."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(scratch, path)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; empty when there is no such file."""
    try:
        value: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return value
