"""Settings: the environment, read once, into a frozen dataclass; every error reported together.

A room declares a frozen dataclass and calls `load(RouterSettings, "SWITCHYARD_ROUTER_", environ)`:
field `port` is `SWITCHYARD_ROUTER_PORT`. Keys with the prefix that name no field are refused, so
that a typing error is not a silent default. The value of a field that is named like a secret never
shows in an error.

    SWITCHYARD_ROUTER_PORT='x': expected a whole number
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

SettingsType = TypeVar("SettingsType")

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_SECRET_WORDS = ("key", "secret", "password", "token", "database_url", "redis_url")


class SettingsError(Exception):
    """One or more settings are wrong; `errors` has a line for each."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def load(cls: type[SettingsType], prefix: str, environ: Mapping[str, str]) -> SettingsType:
    """Read `cls` from the environment. Raises SettingsError.

    Field types: str, int, float, bool, Path, each also `| None` (an empty value is None). A field
    with metadata `{"range": (low, high)}` or `{"choices": (...)}` is held to it. A ValueError from
    `__post_init__` becomes one of the errors.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    errors = [
        f"{key}: no such setting; expected one of "
        + ", ".join(prefix + name.upper() for name in sorted(fields))
        for key in sorted(environ)
        if key.startswith(prefix) and key.removeprefix(prefix).lower() not in fields
    ]
    values: dict[str, Any] = {}
    for name, field in fields.items():
        key = prefix + name.upper()
        raw = environ.get(key)
        if raw is None:
            no_default = field.default is dataclasses.MISSING
            if no_default and field.default_factory is dataclasses.MISSING:
                errors.append(f"{key} is not set: it has no default")
            continue
        shown = "…" if any(word in name for word in _SECRET_WORDS) else repr(raw)
        try:
            value = _parse(raw, hints[name])
            _check(value, field.metadata)
        except ValueError as error:
            errors.append(f"{key}={shown}: {error}")
        else:
            values[name] = value
    if not errors:
        try:
            return cls(**values)
        except ValueError as error:
            errors.append(f"{prefix}*: {error}")
    raise SettingsError(errors)


def _parse(raw: str, hint: Any) -> Any:
    options = typing.get_args(hint)
    if isinstance(hint, types.UnionType) and type(None) in options:
        if raw == "":
            return None
        hint = next(option for option in options if option is not type(None))
    if hint is bool:
        if raw.lower() in _TRUE | _FALSE:
            return raw.lower() in _TRUE
        raise ValueError("expected true or false")
    if hint is int:
        try:
            return int(raw)
        except ValueError:
            raise ValueError("expected a whole number") from None
    if hint is float:
        try:
            return float(raw)
        except ValueError:
            raise ValueError("expected a number") from None
    return Path(raw) if hint is Path else raw


def _check(value: Any, metadata: Mapping[str, Any]) -> None:
    if value is None:
        return
    if "range" in metadata:
        low, high = metadata["range"]
        if not low <= value <= high:
            raise ValueError(f"expected a number from {low} to {high}")
    if "choices" in metadata and value not in metadata["choices"]:
        raise ValueError(f"expected one of {', '.join(map(str, metadata['choices']))}")
