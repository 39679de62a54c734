"""Each room's settings, read from the environment with what the home folder fills in.

The one place that knows which settings follow from the home: URLs, the engine's key, folders for
staging and logs, and that engine and worker mean the same base. A value that the environment gives
wins. Imports of a room happen only when its settings are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.home import Home

if TYPE_CHECKING:
    from monitoring.settings import ControllerSettings
    from registry import Registry
    from router.settings import RouterSettings
    from serve.settings import EngineSettings, SwapSettings
    from train.settings import WorkerSettings

ENGINE = "SWITCHYARD_ENGINE_"
SWAP = "SWITCHYARD_SWAP_"
ROUTER = "SWITCHYARD_ROUTER_"
WORKER = "SWITCHYARD_WORKER_"
CONTROLLER = "SWITCHYARD_CONTROLLER_"
UP = "SWITCHYARD_UP_"
SHARED_KEY = "SWITCHYARD_ENGINE_API_KEY"
RUNNING, OWN = "controller", "own"
NO_CONTROLLER = "no controller has started yet: figures follow the settings of this command"


@dataclass(frozen=True)
class UpSettings:
    """What `up` itself can be told."""

    workers: int = field(default=1, metadata={"range": (1, 64)})
    """Training jobs at a time, a process each; the n-th shows its metrics n - 1 ports further."""


def up(home: Home) -> UpSettings:
    """Raises SettingsError."""
    from registry.settings import load

    return load(UpSettings, UP, home.environ)


def engine(home: Home) -> EngineSettings:
    """Raises SettingsError."""
    from registry.settings import load
    from serve.settings import EngineSettings
    from train.settings import SHIPPED_BASE

    filled = {
        "BASE": str(SHIPPED_BASE),
        "STORE_URL": home.urls()[1],
        "STAGING": str(home.folder / "staging" / "engine"),
        "LOG_FILE": str(home.logs / "vllm.log"),
        "ENGINE_API_KEY": home.engine_key(),
    }
    return load(EngineSettings, ENGINE, _with(home.environ, ENGINE, filled))


def swap(home: Home) -> SwapSettings:
    """Raises SettingsError."""
    from registry.settings import load
    from serve.settings import SwapSettings
    from train.settings import SHIPPED_BASE

    filled = {
        "STAGING": str(home.folder / "staging" / "swap"),
        "ENGINE_API_KEY": home.engine_key(),
    }
    base = home.environ.get(ENGINE + "BASE") or str(SHIPPED_BASE)
    if Path(base).is_dir():  # then a rejection can say what of a foreign base differs
        filled["BASE"] = base
    return load(SwapSettings, SWAP, _with(home.environ, SWAP, filled))


def router(home: Home) -> RouterSettings:
    """Raises SettingsError."""
    from registry.settings import load
    from router.settings import RouterSettings

    filled = {"ENGINE_API_KEY": home.engine_key()}
    collector = home.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    if collector:
        filled["OTLP_ENDPOINT"] = collector
    return load(RouterSettings, ROUTER, _with(home.environ, ROUTER, filled))


def worker(home: Home) -> WorkerSettings:
    """Raises SettingsError."""
    from registry.settings import load
    from train.settings import SHIPPED_BASE, WorkerSettings

    filled = {
        "BASE": home.environ.get(ENGINE + "BASE") or str(SHIPPED_BASE),
        "SCRATCH": str(home.folder / "scratch"),
        "ENGINE_API_KEY": home.engine_key(),
    }
    return load(WorkerSettings, WORKER, _with(home.environ, WORKER, filled))


def controller(home: Home) -> ControllerSettings:
    """Raises SettingsError."""
    from monitoring.settings import ControllerSettings
    from registry.settings import load

    return load(ControllerSettings, CONTROLLER, home.environ)


def deciding(home: Home, registry: Registry) -> tuple[ControllerSettings, str]:
    """What the controller that started last decides by, maybe on another machine, and RUNNING;
    where none ever has, what one of this home would, and OWN. Raises SettingsError."""
    from monitoring.settings import ControllerSettings
    from registry.rooms import CONTROLLER as ROOM

    room = registry.rooms.get(ROOM)
    if room is None:
        return controller(home), OWN
    return ControllerSettings.of_json(room.settings), RUNNING


def everything(home: Home) -> dict[str, Any]:
    """All of them, so that `up` refuses wrong ones together, before it starts anything.

    Raises SettingsError with the errors of all rooms.
    """
    from registry.settings import SettingsError

    readers: dict[str, Callable[[Home], Any]] = {
        "engine": engine,
        "router": router,
        "worker": worker,
        "controller": controller,
        "swap": swap,
        "up": up,
    }
    found: dict[str, Any] = {}
    errors: list[str] = []
    for name, read in readers.items():
        try:
            found[name] = read(home)
        except SettingsError as error:
            errors += error.errors
    if errors:
        raise SettingsError(errors)
    return found


def _with(environ: Mapping[str, str], prefix: str, filled: Mapping[str, str]) -> dict[str, str]:
    """The environment, with `filled` where it says nothing, without the shared key's own name."""
    values = {prefix + name: value for name, value in filled.items()}
    # SWITCHYARD_ENGINE_API_KEY has the engine's prefix, but is the three rooms' shared key, which
    # `filled` carries: a field of that name doesn't exist.
    return values | {name: value for name, value in environ.items() if name != SHARED_KEY}
