"""Fields that several nouns share: names, moments, versions, and lists with their cursors.

Bodies are strict, so that `"5"` is no number and an unknown field is an error and not a silent
default. Moments are whole seconds since the epoch, as everywhere in OpenAI's API.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Generic, Literal, TypeVar

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from registry.errors import InvalidValue
from registry.ranges import LATEST

ItemType = TypeVar("ItemType")
RowType = TypeVar("RowType")

NAME = r"^[a-z0-9][a-z0-9-]{0,62}$"
_ID = r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,199}$"
_VERSION = r"^([a-z0-9][a-z0-9-]{0,62}@)?[0-9a-f]{6,64}$"

TenantName = Annotated[str, Path(pattern=NAME, description="The tenant's name.", examples=["acme"])]
AliasName = Annotated[str, Path(pattern=NAME, description="The alias's name.", examples=["triage"])]
VersionName = Annotated[
    str,
    Path(
        pattern=_VERSION,
        description="Served name, digest, or at least its first six digits.",
        examples=["triage@0123456789ab"],
    ),
]
KeyId = Annotated[
    str,
    Path(pattern=_ID, description="The key's id.", examples=["key-0123456789abcdef01234567"]),
]
EngineId = Annotated[str, Path(pattern=_ID, description="The engine's id.", examples=["engine-0"])]

Name = Annotated[
    str,
    Field(pattern=NAME, description="1–63 of a–z, 0–9 and '-'.", examples=["acme"]),
]
VersionRef = Annotated[
    str,
    Field(
        pattern=_VERSION,
        description="A version: served name, digest, or at least its first six digits.",
        examples=["triage@0123456789ab"],
    ),
]


def _whole_number(value: object) -> object:
    """JSON has one kind of number: 5.0 is as whole as 5 (JSON Schema, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


IsWhole = BeforeValidator(_whole_number)
"""For the end of an Annotated whole number: in front of its range the schema would lose that."""
Moment = Annotated[
    int,
    Field(ge=0, le=LATEST, description="Seconds since the epoch.", examples=[1893456000]),
    IsWhole,
]

Limit = Annotated[int, Query(ge=1, le=100, description="How many at most.")]
AfterId = Annotated[
    str | None,
    Query(pattern=_ID, description="The `last_id` of the page before: what comes behind it."),
]
AfterName = Annotated[
    str | None,
    Query(pattern=NAME, description="The `last_id` of the page before: what comes behind it."),
]


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Shape(BaseModel):
    """A resource as it is shown."""

    model_config = ConfigDict(ser_json_inf_nan="null", extra="forbid")


class Page(Shape, Generic[ItemType]):
    """A part of a list. `last_id`, given as `after`, leads to the next part."""

    object: Literal["list"] = "list"
    data: list[ItemType]
    first_id: str | None = Field(description="Of the first item here.")
    last_id: str | None = Field(description="Of the last item here.")
    has_more: bool = Field(description="Whether there is more behind the last one.")


class Deleted(Shape):
    """What is no more."""

    id: str
    object: str
    deleted: Literal[True] = True


def left_out() -> Any:
    """Stands for a field that a change doesn't name; `model_fields_set` tells which it does."""
    return None


def whole(moment: float) -> int:
    """A moment in whole seconds."""
    return int(moment)


def whole_or_none(moment: float | None) -> int | None:
    """A moment in whole seconds, where there is one."""
    return None if moment is None else int(moment)


def by_name(
    rows: Iterable[RowType], name: Callable[[RowType], str], after: str | None, limit: int
) -> tuple[list[RowType], list[str], bool]:
    """A part of a list by name: rows, their names, whether there is more.

    The row named `after` may be gone meanwhile.
    """
    behind = sorted((row for row in rows if after is None or name(row) > after), key=name)
    part = behind[:limit]
    return part, [name(row) for row in part], len(behind) > limit


def by_place(
    rows: Sequence[RowType], identity: Callable[[RowType], str], after: str | None, limit: int
) -> tuple[list[RowType], list[str], bool]:
    """A part of a list in the order that it has: rows, their ids, whether there is more.

    Raises InvalidValue where no row has the id `after`: none of these is ever taken away.
    """
    ids = [identity(row) for row in rows]
    start = 0
    if after is not None:
        if after not in ids:
            raise no_such_cursor(after)
        start = ids.index(after) + 1
    end = start + limit
    return [*rows[start:end]], ids[start:end], len(rows) > end


def no_such_cursor(after: str) -> InvalidValue:
    """What a list says to an `after` that is none of its ids."""
    return InvalidValue("after", after, "the `last_id` of a page of this list")


def ends(ids: Sequence[str]) -> tuple[str | None, str | None]:
    """(first, last) of a page's ids."""
    return (ids[0], ids[-1]) if ids else (None, None)
