"""One invocation of the command: what the global options said. Commands get it from the context."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.home import Home

if TYPE_CHECKING:
    from registry import Registry

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]
TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name.")]
AnyTenant = Annotated[str | None, typer.Option("--tenant", "-t", help="Only this tenant's.")]


@dataclass(frozen=True)
class Invocation:
    """What --home and --debug said."""

    home: Home
    debug: bool = False

    @classmethod
    def of(cls, context: typer.Context) -> Invocation:
        """The one that the main callback left in the context."""
        found = context.find_object(cls)
        assert found is not None, "the main callback sets it before any command runs"
        return found


@contextmanager
def opened(context: typer.Context, *, migrate: bool = False) -> Iterator[Registry]:
    """The home folder's registry for the length of a command."""
    registry = Invocation.of(context).home.open_registry(migrate=migrate)
    try:
        yield registry
    finally:
        registry.close()
