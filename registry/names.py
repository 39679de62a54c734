"""Names that are safe everywhere they go: URLs, paths, metric labels, engine model names."""

from __future__ import annotations

import re
import secrets

from registry.errors import InvalidName

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SERVED = re.compile(r"([a-z0-9][a-z0-9-]{0,62})@([0-9a-f]{12})")


def check_name(noun: str, name: str) -> str:
    """The name itself, or InvalidName."""
    if not _NAME.fullmatch(name):
        raise InvalidName(noun, name)
    return name


def served_name(adapter: str, digest: str) -> str:
    """What the engine calls a version: `<adapter>@<first 12 hex of digest>`."""
    return f"{adapter}@{digest[:12]}"


def parse_served_name(name: str) -> tuple[str, str] | None:
    """(adapter, digest prefix) of a served name, or None for anything else."""
    match = _SERVED.fullmatch(name)
    return (match[1], match[2]) if match else None


def new_id(prefix: str) -> str:
    """An identifier such as `ftjob-3f…`: 24 random hex digits behind the prefix."""
    return f"{prefix}{secrets.token_hex(12)}"
